"""The compressed elements of a MATLAB v5 file: how large each is, before scipy unpacks it into memory.

What an array's header says of its size is checked elsewhere; scipy goes by the sizes of the elements inside it, which
may be others.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from milvus_ichash.io.unpacking import check_unpacked, unpacked_limit

_HEADER_BYTES = 128
_COMPRESSED = 15
_BEST_RATIO = 1032
"""zlib cannot make anything smaller than by this factor."""
_PIECE = 1 << 20


def check_elements(path: Path) -> None:
    """Check that no compressed element unpacks to more than a file of this size may.

    Elements that cannot reach the limit are passed over, so that only large files are read twice.

    Raises:
        InputError: one does.
    """
    limit = unpacked_limit(path)
    with path.open("rb") as stream:
        head = stream.read(_HEADER_BYTES)
        if 0 in head[:4]:
            return  # v4, which compresses nothing
        order = ">" if head[126:128] == b"MI" else "<"
        while len(tag := stream.read(8)) == 8:
            kind, size = struct.unpack(f"{order}II", tag)
            begin = stream.tell()
            if kind == _COMPRESSED and size * _BEST_RATIO > limit:
                _check_element(stream.read(size), limit, path)
            stream.seek(begin + size)


def _check_element(packed: bytes, limit: float, path: Path) -> None:
    unpacker, unpacked = zlib.decompressobj(), 0
    while packed and not unpacker.eof and unpacked <= limit:
        unpacked += len(unpacker.decompress(packed, _PIECE))
        packed = unpacker.unconsumed_tail
    check_unpacked(unpacked, [path])
