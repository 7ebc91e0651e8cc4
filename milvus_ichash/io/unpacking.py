"""How much a file may unpack to: a few MB on disk can hold terabytes of zeros, which no memory takes.

What a file says of its own sizes is checked before its content is read. A file may unpack to 1 GB, or to a hundred
times its size on disk where that is more; real data stays far below. ICHASH_UNPACKED_GB raises the first number. An
item may have as many features as a batch of 4,096 items can have in that memory, 65,536 in all.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from milvus_ichash.errors import InputError

VARIABLE = "ICHASH_UNPACKED_GB"
BATCH_ROWS = 4096
_GB = 1 << 30
_RATIO = 100
_FLOAT_BYTES = 4


def check_unpacked(size: float, files: Collection[Path]) -> None:
    """Check what the content of one data set takes in memory.

    Args:
        size: bytes of the content.
        files: the files that hold it.

    Raises:
        InputError: it is more than files of their size may unpack to.
    """
    on_disk = sum(file.stat().st_size for file in files)
    if size > max(_allowed(), _RATIO * on_disk):
        raise InputError(
            f"{_bytes(on_disk)} on disk would unpack to {_bytes(size)}, which looks like a decompression bomb. If the "
            f"file is yours, raise the limit: {VARIABLE}={-(-int(size) // _GB)}."
        )


def unpacked_limit(file: Path) -> float:
    """Return the number of bytes that the content of a file may take."""
    return max(_allowed(), _RATIO * file.stat().st_size)


def check_width(dims: Mapping[str, int]) -> None:
    """Raise InputError where an item has more features than can be worked with."""
    features = sum(dims.values())
    needed = features * BATCH_ROWS * _FLOAT_BYTES
    if needed > _allowed():
        sizes = ", ".join(f"{name} {size:,}" for name, size in dims.items())
        raise InputError(
            f"an item has {features:,} features ({sizes}), more than can be worked with: take fewer, or raise the "
            f"limit with {VARIABLE}={-(-needed // _GB)}."
        )


def _allowed() -> float:
    text = os.environ.get(VARIABLE, "1")
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = -1
    if not 0 < gigabytes < float("inf"):
        raise InputError(f"{VARIABLE} is a number of GB, such as 8, and not '{text}'.")
    return gigabytes * _GB


def _bytes(size: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:,.4g} TB"
