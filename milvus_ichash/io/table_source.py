"""TableSource: a feature table that is in memory already, for what takes a source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from milvus_ichash.features import FeatureTable, Ids
from milvus_ichash.io.feature_source import FeatureSource, SourceInfo


class TableSource(FeatureSource):
    """A table in memory, as a source."""

    def __init__(self, path: Path, table: FeatureTable) -> None:
        kind = "int64" if table.ids.dtype.kind == "i" else "str"
        classes = None if table.labels is None else table.labels.shape[1]
        self.info = SourceInfo(path, len(table), table.dims, kind, classes, table.label_names, ())  # type: ignore[arg-type]
        self._table = table

    def ids(self) -> Iterator[Ids]:
        """Yield all ids at once."""
        yield self._table.ids

    def pieces(self, size: int, start: int) -> Iterator[FeatureTable]:
        """Yield the rows from `start` on in one table."""
        yield self._table.rows(start, len(self._table))
