"""Readers of feature tables. `open_splits` and `open_source` pick one by the file's ending and content."""

from __future__ import annotations

from milvus_ichash.io.duplicate_ids import find_duplicate_ids as find_duplicate_ids
from milvus_ichash.io.feature_source import ColumnNames as ColumnNames
from milvus_ichash.io.feature_source import FeatureSource as FeatureSource
from milvus_ichash.io.feature_source import Holdout as Holdout
from milvus_ichash.io.feature_source import SourceInfo as SourceInfo
from milvus_ichash.io.splits import Splits as Splits
from milvus_ichash.io.splits import open_database as open_database
from milvus_ichash.io.splits import open_source as open_source
from milvus_ichash.io.splits import open_splits as open_splits

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
