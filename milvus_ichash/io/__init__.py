"""Readers of feature tables. `open_source` picks one by the file's ending and content."""

from __future__ import annotations

from milvus_ichash.io.duplicate_ids import find_duplicate_ids as find_duplicate_ids
from milvus_ichash.io.feature_source import ColumnNames as ColumnNames
from milvus_ichash.io.feature_source import FeatureSource as FeatureSource
from milvus_ichash.io.feature_source import Holdout as Holdout
from milvus_ichash.io.feature_source import SourceInfo as SourceInfo
from milvus_ichash.io.feature_source import open_source as open_source

__all__ = ["Columns", "FeatureSource", "Holdout", "SourceInfo", "find_duplicate_ids", "open_source"]
