"""HDF5: the data sets at the top of an `.h5` file, or of a MATLAB v7.3 file, which is HDF5 with reversed axes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from milvus_ichash.errors import InputError
from milvus_ichash.extras import import_extra
from milvus_ichash.io.feature_source import reading
from milvus_ichash.io.row_arrays import AnyArray, MemoryArray, TurnableArray, kind_of
from milvus_ichash.io.unpacking import check_unpacked

_HDF5 = ("HDF5", (OSError, RuntimeError, KeyError))
_CACHE_BYTES = 32 << 20
"""Cache per data set: compressed chunks span more rows than a batch, most of all in transposed files."""


@dataclass(frozen=True)
class H5Array:
    """One data set; rows are read from it as they are asked for.

    `shape` is as the caller sees it; with `reversed_axes` the file stores the axes in the opposite order.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    kind: str
    reversed_axes: bool
    itemsize: int = 8

    def chunks(self, size: int, start: int = 0) -> Iterator[AnyArray]:
        """Yield the rows from `start` on, `size` at a time."""
        with reading(self.path, *_HDF5), _h5py().File(self.path, "r", rdcc_nbytes=_CACHE_BYTES) as file:
            stored = file[self.name]
            if self.kind == "U" and stored.dtype.kind == "O":
                stored = stored.asstr()
            for begin in range(start, self.shape[0], size):
                rows = slice(begin, min(begin + size, self.shape[0]))
                yield np.asarray(stored[..., rows]).T if self.reversed_axes else np.asarray(stored[rows])

    def turned(self) -> TurnableArray:
        """Return the same data set, read with its axes the other way round."""
        return replace(self, shape=self.shape[::-1], reversed_axes=not self.reversed_axes)


def open_h5(path: Path, *, matlab: bool = False) -> dict[str, TurnableArray]:
    """Return the data sets at the top of the file, by name.

    In a MATLAB file axes are reversed and sparse matrices put together.

    Raises:
        InputError: not an HDF5 file.
        BackendMissingError: h5py is not installed.
    """
    h5py = _h5py()
    arrays: dict[str, TurnableArray] = {}
    with reading(path, *_HDF5), h5py.File(path, "r") as file:
        for name in file:
            if not isinstance(name, str):
                raise InputError(f"{path} cannot be read as HDF5: the name {name!r} is not UTF-8.")
            item = _inside(file, name)
            if isinstance(item, h5py.Dataset) and item.shape and not _is_odd(item):
                _check_chunk(item, path)
                # Objects that are not strings (lists of varying length, references) are of no kind that is read.
                kind = "U" if h5py.check_string_dtype(item.dtype) is not None else kind_of(item.dtype).replace("O", "V")
                shape = item.shape[::-1] if matlab else item.shape
                arrays[name] = H5Array(path, name, shape, kind, matlab, item.dtype.itemsize)
            elif isinstance(item, h5py.Group) and "MATLAB_sparse" in item.attrs:
                arrays[name] = MemoryArray(_sparse(item, path))
    return arrays


def _inside(group: Any, name: str) -> Any:
    """Return a member of a file or group.

    Raises:
        InputError: it is kept in another file, which the person who opens this one did not name.
    """
    h5py = _h5py()
    link = group.get(name, getlink=True)
    item = None if isinstance(link, h5py.ExternalLink) else group[name]
    if item is None or (isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)):
        raise InputError(f"'{name}' is kept in another file, which is not opened: copy it into this one.")
    return item


def _check_chunk(item: Any, path: Path) -> None:
    """Raise InputError where a compressed piece of a data set, which is unpacked whole, is far larger than the file."""
    check_unpacked(math.prod(item.chunks or ()) * item.dtype.itemsize, [path])


def _is_odd(item: Any) -> bool:
    """Return whether a data set is a MATLAB string (numbers, to HDF5), or stands for a matrix without elements."""
    return item.attrs.get("MATLAB_class") == b"char" or "MATLAB_empty" in item.attrs


def _sparse(group: Any, path: Path) -> Any:
    """Return a MATLAB sparse matrix: values by column (`data`), their rows (`ir`), where each column begins (`jc`)."""
    parts = {name: _inside(group, name) for name in ("data", "ir", "jc") if name in group}
    for part in parts.values():
        _check_chunk(part, path)
    rows = int(group.attrs["MATLAB_sparse"])
    check_unpacked(8 * rows + sum(8 * part.size for part in parts.values()), [path])
    sparse = import_extra("scipy.sparse", "reading sparse matrices", "files")
    begins = parts["jc"][:]
    values, places = (parts["data"][:], parts["ir"][:]) if "data" in parts else (np.zeros(0), np.zeros(0, np.int64))
    return sparse.csc_matrix((values, places, begins), shape=(rows, len(begins) - 1)).tocsr()


def _h5py() -> Any:
    return import_extra("h5py", "reading HDF5 (.h5, MATLAB v7.3)", "files")
