"""Readers of feature tables. `open_splits` and `open_source` pick one by the file's ending and content."""

from __future__ import annotations

from milvus_ichash.io.duplicate_ids import find_duplicate_ids
from milvus_ichash.io.feature_source import ColumnNames, FeatureSource, Holdout, SourceInfo
from milvus_ichash.io.splits import Splits, open_database, open_source, open_splits

__all__ = [
    "ColumnNames",
    "FeatureSource",
    "Holdout",
    "SourceInfo",
    "Splits",
    "find_duplicate_ids",
    "open_database",
    "open_source",
    "open_splits",
]
