"""Small data in three splits, and grids of cases over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from support.tiny import make_table

from ichash_export.compare.case import FULL, Case, Protocol
from ichash_export.compare.dataset import DataFile, Dataset
from milvus_ichash.io import ColumnNames


def write_splits(path: Path, *, missing: float = 0.0, items: int = 200, stored: int = 160, training: int = 120) -> Path:
    """Write items of 4 classes in two modalities, I and T.

    The first `stored` are searched, the first `training` of them train, the rest are queries.
    """
    table = make_table(items, missing=missing)
    assert table.labels is not None
    arrays = {"I": table.features["image"], "T": table.features["text"], "L": table.labels}
    splits = {
        f"{n}_{split}": x[rows]
        for n, x in arrays.items()
        for split, rows in (("db", slice(stored)), ("te", slice(stored, items)))
    }
    np.savez(path, train=np.arange(training), labels=np.array(table.label_names), **splits)
    return path


def data_file(path: Path, **options: Any) -> DataFile:
    return DataFile(path, path.stem, ColumnNames({"image": "I", "text": "T"}), **options)


def tiny_case(method: str = "tiny", *, bits: int = 16, seed: int = 0, variant: str = FULL, **protocol: Any) -> Case:
    return Case(method, variant, bits, seed, Protocol(**protocol))


def figures_of(line: dict[str, Any]) -> dict[str, Any]:
    """A line without what differs from one run to the next: how long it took."""
    return {name: value for name, value in line.items() if name not in ("seconds", "cpu_seconds")}


def dataset(path: Path, **options: Any) -> Dataset:
    return data_file(path, **options).read()
