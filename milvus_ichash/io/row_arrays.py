"""Arrays that are read by rows, as the readers of `.npz`, `.h5` and `.mat` files hand them out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from milvus_ichash.errors import InputError
from milvus_ichash.features import Ids

AnyArray = npt.NDArray[Any]


class RowArray(Protocol):
    """An array in a file, read by rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first."""

    @property
    def kind(self) -> str:
        """`i` for whole numbers, `f` for floats, `b` for booleans, `U` for strings, `M` for points in time.

        Nothing else is read."""

    @property
    def itemsize(self) -> int:
        """Bytes that one value takes in memory, as far as the file tells."""

    def chunks(self, size: int, start: int = 0) -> Iterator[AnyArray]:
        """Yield the rows from `start` on, `size` at a time (the last ones fewer)."""


@runtime_checkable
class TurnableArray(RowArray, Protocol):
    """An array that may lie on its side, as matrices in MATLAB and HDF5 files do."""

    def turned(self) -> TurnableArray:
        """Return the same array with its axes in the opposite order."""


@dataclass(frozen=True)
class MemoryArray:
    """An array in memory, or a sparse matrix of scipy, whose rows are written out as they are asked for."""

    values: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first."""
        return tuple(map(int, self.values.shape))

    @property
    def kind(self) -> str:
        """One of the letters of `RowArray.kind`."""
        return kind_of(self.values.dtype)

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return int(self.values.dtype.itemsize)

    def chunks(self, size: int, start: int = 0) -> Iterator[AnyArray]:
        """Yield the rows from `start` on, `size` at a time, dense."""
        sparse = hasattr(self.values, "tocsr")
        rows = self.values.tocsr() if sparse else self.values
        for begin in range(start, self.shape[0], size):
            chunk = rows[begin : begin + size]
            yield chunk.toarray() if sparse else chunk

    def turned(self) -> TurnableArray:
        """Return the transposed array."""
        return MemoryArray(self.values.T)


def absent(rows: int, size: int) -> RowArray:
    """Return features or labels that one split of a file lacks where the others have them: rows of NaN."""
    return MemoryArray(np.broadcast_to(np.float32(np.nan), (rows, size)))


@dataclass(frozen=True)
class ColumnArray:
    """An array of one column, (N, 1), seen as (N,): MATLAB has no other way to hold one value per item."""

    array: RowArray

    @property
    def shape(self) -> tuple[int, ...]:
        """The rows."""
        return self.array.shape[:1]

    @property
    def kind(self) -> str:
        """One of the letters of `RowArray.kind`."""
        return self.array.kind

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return self.array.itemsize

    def chunks(self, size: int, start: int = 0) -> Iterator[AnyArray]:
        """Yield the values from `start` on, `size` at a time."""
        return (chunk.reshape(-1) for chunk in self.array.chunks(size, start))


def kind_of(dtype: np.dtype[Any]) -> str:
    """Return the letter of `RowArray.kind` for a numpy type: `u` counts as `i`, and byte strings are strings."""
    return {"u": "i", "S": "U"}.get(dtype.kind, dtype.kind)


def to_ids(chunk: AnyArray, first_row: int) -> Ids:
    """Return ids as int64 (n,) or object (n,) of str, from numbers of any type (MATLAB's are floats) or strings.

    Raises:
        InputError: names the row whose id is no whole number.
    """
    if kind_of(chunk.dtype) in "UO":
        return np.array(strings(chunk), dtype=object)
    with np.errstate(invalid="ignore"):
        ids = chunk.astype(np.int64)
    wrong = np.flatnonzero(ids != chunk)
    if len(wrong):
        raise InputError(f"row {first_row + wrong[0]} has the id {chunk[wrong[0]]}; ids are strings or whole numbers.")
    return ids


def strings(chunk: AnyArray) -> list[str]:
    """Return the strings of an array of strings, byte strings, or objects that are strings."""
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in chunk.tolist()]


def payload_values(chunk: AnyArray) -> list[Any]:
    """Return Python values as JSON knows them, but for NaN and infinity: points in time as ISO 8601, None for NaT."""
    if kind_of(chunk.dtype) in "UO":
        return strings(chunk)
    if chunk.dtype.kind == "M":
        return [None if text == "NaT" else text for text in np.datetime_as_string(chunk).tolist()]
    values: list[Any] = chunk.astype(np.float64).tolist() if chunk.dtype == np.longdouble else chunk.tolist()
    return values
