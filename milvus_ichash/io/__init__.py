"""Readers of feature tables. `open_source` picks one by the file's ending and content."""

from __future__ import annotations

from milvus_ichash.io.source import FeatureSource as FeatureSource
from milvus_ichash.io.source import SourceInfo as SourceInfo
from milvus_ichash.io.source import open_source as open_source

__all__ = ["FeatureSource", "SourceInfo", "open_source"]
