"""numpy's `.npz` files: rows are streamed out of the zip member, compressed or not, without reading an array whole.

Arrays in Fortran order are the exception: their rows are scattered over the member, so such an array is read whole.
Arrays of Python objects are pickles, which can run code; they are refused by name and never loaded.
"""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from milvus_ichash.errors import InputError
from milvus_ichash.io.feature_source import reading
from milvus_ichash.io.row_arrays import AnyArray, MemoryArray, RowArray, kind_of

_SKIP_BYTES = 1 << 20
_MAGIC_BYTES = 12
"""Magic, version and the length of the header (two bytes of it in version 1, four in the others)."""
_HEADER_BYTES = 1 << 16
_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError),
    *(SyntaxError, ValueError, tokenize.TokenError),  # of a header, which is a Python literal
)


@dataclass(frozen=True)
class NpzArray:
    """One member of an `.npz` file; rows are read from it as they are asked for."""

    path: Path
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def kind(self) -> str:
        """One of the letters of `RowArray.kind`."""
        return kind_of(self.dtype)

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return self.dtype.itemsize

    def chunks(self, size: int, start: int = 0) -> Iterator[AnyArray]:
        """Yield the rows from `start` on, `size` at a time."""
        if start >= self.shape[0]:
            return
        if self.fortran:
            whole = next(self._rows(self.shape[::-1], max(1, self.shape[-1]), 0)).T
            yield from MemoryArray(whole).chunks(size, start)
        else:
            yield from self._rows(self.shape, size, start)

    def _rows(self, shape: tuple[int, ...], size: int, start: int) -> Iterator[AnyArray]:
        """Yield the rows of an array of this shape, stored row after row, from `start` on, `size` at a time."""
        row = math.prod(shape[1:]) * self.dtype.itemsize
        with (
            reading(self.path, _named(self.member), _ERRORS),
            zipfile.ZipFile(self.path) as archive,
            archive.open(self.member) as stream,
        ):
            _header(stream)
            _skip(stream, start * row)
            for begin in range(start, shape[0], size):
                count = min(size, shape[0] - begin)
                data = stream.read(count * row)
                if len(data) < count * row:
                    raise EOFError("it ends too early")
                yield np.frombuffer(data, self.dtype).reshape(count, *shape[1:])


def open_npz(path: Path) -> dict[str, RowArray]:
    """Return the arrays of an `.npz` file by name, in its order; only their headers are read.

    Raises:
        InputError: not a zip file, an invalid header, or an array of Python objects (named).
    """
    arrays: dict[str, RowArray] = {}
    with reading(path, ".npz", _ERRORS), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            name, dot, ending = member.rpartition(".")
            if not (dot and ending == "npy"):
                continue
            with reading(path, _named(member), _ERRORS), archive.open(member) as stream:
                shape, fortran, dtype = _header(stream)
            if dtype.hasobject:
                raise InputError(
                    f"{path}: the array '{name}' holds Python objects (a pickle), which are never loaded; "
                    "save it as an array of numbers or strings, such as np.asarray(values, dtype=str), or leave it out."
                )
            arrays[name] = NpzArray(path, member, shape, dtype, fortran and len(shape) > 1)
    return arrays


def _named(member: str) -> str:
    return f".npz (array {member!r})"


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read an array's header; numpy would read as many bytes as it claims to have, which can be 4 GB."""
    head = stream.read(_MAGIC_BYTES)
    first = np.lib.format.read_magic(io.BytesIO(head)) == (1, 0)
    begin = 10 if first else _MAGIC_BYTES
    length = int.from_bytes(head[8:begin], "little")
    if length > _HEADER_BYTES:
        raise ValueError(f"its header claims to have {length:,} bytes")
    header = io.BytesIO(head[8:] + stream.read(begin + length - len(head)))
    return np.lib.format.read_array_header_1_0(header) if first else np.lib.format.read_array_header_2_0(header)


def _skip(stream: IO[bytes], count: int) -> None:
    while count:
        done = len(stream.read(min(count, _SKIP_BYTES)))
        if not done:
            raise EOFError("it ends too early")
        count -= done
