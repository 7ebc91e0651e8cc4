"""Parquet files of items with gaps, as an ingest reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.exact import exact

from milvus_ichash.io import open_source
from milvus_ichash.io.feature_source import FeatureSource

Columns = dict[str, Any]


def gappy_columns(n: int, *, image: int = 6, text: int = 4, **more: Sequence[Any] | None) -> Columns:
    """Return n items with `exact` features of these sizes and a title; more columns are added, or replace these.

    Items 0, 4, 8 ... lack the image, items 1, 5, 9 ... the text.
    """
    rng = np.random.default_rng(0)
    features = {"image": exact(rng.standard_normal((n, image))), "text": exact(rng.standard_normal((n, text)))}
    return {
        "id": [f"k{i}" for i in range(n)],
        **{
            name: [None if i % 4 == lacking else row for i, row in enumerate(rows.tolist())]
            for lacking, (name, rows) in enumerate(features.items())
        },
        "title": [f"title {i}" for i in range(n)],
        **more,
    }


def label_lists(n: int) -> list[list[str] | None]:
    """Return labels a, b, c in turn; those of items 9, 19, 29 ... are unknown."""
    return [None if i % 10 == 9 else [["a", "b", "c"][i % 3]] for i in range(n)]


def write_parquet(path: Path, columns: Mapping[str, Sequence[Any] | None], **options: Any) -> FeatureSource:
    """Write columns into a file, and open it; columns that are None are left out."""
    there = {name: values for name, values in columns.items() if values is not None}
    pq.write_table(pa.table(there), path, **options)
    return open_source(path)
