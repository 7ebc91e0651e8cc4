"""MATLAB's `.mat` files: v5 through scipy, each array whole when it is first needed; v7.3 through h5py, streamed.

Matrices of one column hold one value per item, so they are read as (N,). Sparse matrices are written out by the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from milvus_ichash.extras import import_extra
from milvus_ichash.io.feature_source import reading
from milvus_ichash.io.hdf5 import open_h5
from milvus_ichash.io.mat_elements import check_elements
from milvus_ichash.io.row_arrays import AnyArray, ColumnArray, MemoryArray, RowArray, TurnableArray

# scipy lets every kind of exception out of a corrupt file.
_MATLAB = ("a MATLAB file", (Exception,))
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_KINDS = {"double": "f", "single": "f", "sparse": "f", "logical": "b", "char": "U", "cell": "O"} | {
    f"{sign}int{bits}": "i" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


@dataclass(frozen=True)
class MatFile:
    """A v5 file, with the arrays that were needed so far."""

    path: Path
    _arrays: dict[str, Any] = field(default_factory=dict)

    def load(self, name: str) -> Any:
        """Return an array, or a sparse matrix; it is read once."""
        if name not in self._arrays:
            with reading(self.path, *_MATLAB):
                values = _scipy_io().loadmat(str(self.path), variable_names=[name])[name]
            if values.dtype.kind == "O":
                values = np.array([str(cell.flat[0]) if cell.size else "" for cell in values.flat]).reshape(
                    values.shape
                )
            elif values.dtype.kind == "U":
                # MATLAB fills the rows of a string matrix up with blanks.
                values = np.strings.rstrip(values)
            self._arrays[name] = values
        return self._arrays[name]


@dataclass(frozen=True)
class MatArray:
    """One array of a v5 file, known by its header until its rows are asked for."""

    file: MatFile
    name: str
    shape: tuple[int, ...]
    kind: str
    transposed: bool = False
    itemsize: int = 8

    def chunks(self, size: int, start: int = 0) -> Iterator[AnyArray]:
        """Yield the rows from `start` on, `size` at a time."""
        values = self.file.load(self.name)
        yield from MemoryArray(values.T if self.transposed else values).chunks(size, start)

    def turned(self) -> TurnableArray:
        """Return the transposed array."""
        return replace(self, shape=self.shape[::-1], transposed=not self.transposed)


def open_mat(path: Path) -> dict[str, RowArray]:
    """Return the arrays of a `.mat` file by name, in its order; only their headers are read.

    Raises:
        InputError: not a MATLAB file.
        BackendMissingError: scipy (v5) or h5py (v7.3) is not installed.
    """
    with reading(path, *_MATLAB), path.open("rb") as stream:
        head = stream.read(512 + len(_HDF5_MAGIC))
    arrays: Mapping[str, TurnableArray]
    if head.startswith(_HDF5_MAGIC) or head.endswith(_HDF5_MAGIC):
        arrays = open_h5(path, matlab=True)
    else:
        scipy_io, file = _scipy_io(), MatFile(path)
        with reading(path, *_MATLAB):
            check_elements(path)
            content = scipy_io.whosmat(str(path))
        arrays = {name: MatArray(file, name, shape, _KINDS[kind]) for name, shape, kind in content if kind in _KINDS}
    return {name: _column(array) for name, array in arrays.items()}


def _column(array: TurnableArray) -> RowArray:
    if len(array.shape) == 2 and array.kind in "UO" and array.shape[0] == 1:
        array = array.turned()
    return ColumnArray(array) if len(array.shape) == 2 and array.shape[1] == 1 and array.shape[0] != 1 else array


def _scipy_io() -> Any:
    return import_extra("scipy.io", "reading MATLAB v5 files", "files")
