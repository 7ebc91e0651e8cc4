"""A file of arrays (`.npz`, `.h5`, `.mat`, or several files of one data set) as one source for each of its splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from milvus_ichash.choices import Split
from milvus_ichash.errors import InputError
from milvus_ichash.io.array_roles import ArrayTable, Group, is_matrix
from milvus_ichash.io.feature_source import ColumnNames, FeatureSource, reading
from milvus_ichash.io.hdf5 import open_h5
from milvus_ichash.io.layouts import by_split, dcmh_files
from milvus_ichash.io.mat import open_mat
from milvus_ichash.io.npz import open_npz
from milvus_ichash.io.row_arrays import RowArray
from milvus_ichash.io.subsets import ChainedSource, SelectedSource

READERS: dict[str, Callable[[Path], Mapping[str, RowArray]]] = {
    ".npz": open_npz,
    ".mat": open_mat,
    ".h5": open_h5,
    ".hdf5": open_h5,
}
"""The formats that hold named arrays, by the ending of the file."""
_SCAN_ROWS = 65_536
_TIMES_EACH = 100
"""Row numbers may come several times, but not without end."""


def array_sources(path: Path, columns: ColumnNames) -> dict[Split, FeatureSource]:
    """Return the splits of a file, or of a folder of DCMH-style files, and "all"; only "all" where it is one table.

    Raises:
        InputError: as `open_splits`.
        BackendMissingError: the file needs h5py or scipy, and it is not installed.
    """
    arrays: Group = {}
    files = dcmh_files(path)
    for file in files:
        arrays.update(_open(file))
    if "FAll" in arrays:
        arrays.pop("IAll", None)
    with reading(path):
        groups = by_split(arrays, is_matrix)
        if not groups:
            table = ArrayTable.of(path, files, {"all": arrays}, arrays, columns)
            return {"all": table.source("all", "", 0)}
        table = ArrayTable.of(path, files, groups, arrays, columns)
        return _with_splits(table, arrays)


def _open(path: Path) -> Mapping[str, RowArray]:
    if not path.stat().st_size:
        raise InputError(f"{path} is empty.")
    return READERS[path.suffix.lower()](path)


def _with_splits(table: ArrayTable, arrays: Group) -> dict[Split, FeatureSource]:
    """Return the sources of a file with splits; without a retrieval split, the training split is used as it."""
    there = table.rows
    retrieval: Split = "retrieval" if "retrieval" in there else "train"
    sources: dict[Split, FeatureSource] = {"retrieval": table.source(retrieval, "retrieval", 0)}
    if "query" in there:
        sources["query"] = table.source("query", "query", there[retrieval])
    if retrieval == "retrieval" and "train" in there:
        sources["train"] = table.source("train", "train", there["retrieval"] + there.get("query", 0))
    elif retrieval == "retrieval" and "train" in arrays:
        sources["train"] = SelectedSource(sources["retrieval"], _training_rows(arrays["train"], there["retrieval"]))
    else:
        sources["train"] = sources["retrieval"]
    order: tuple[Split, ...] = ("retrieval", "query")
    return {"all": ChainedSource([sources[split] for split in order if split in sources]), **sources}


def _training_rows(array: RowArray, rows: int) -> npt.NDArray[np.int64]:
    """Return the row numbers of the retrieval split that train, rising, each once."""
    if len(array.shape) != 1 or array.kind not in "if" or not array.shape[0]:
        raise InputError(f"'train' has shape {array.shape}; row numbers of the retrieval split are wanted.")
    if array.shape[0] > _TIMES_EACH * rows:
        raise InputError(f"'train' has {array.shape[0]:,} row numbers for {rows:,} rows of the retrieval split.")
    numbers = np.concatenate(list(array.chunks(_SCAN_ROWS)))
    wrong = numbers[(numbers < 0) | (numbers >= rows) | (numbers != np.floor(numbers))]
    if len(wrong):
        raise InputError(f"'train' has the row number {wrong[0]}; the retrieval split has rows 0 to {rows - 1}.")
    return np.unique(numbers).astype(np.int64)
