"""Sources that break off, or during which something else happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from milvus_ichash.features import FeatureTable, Ids
from milvus_ichash.io.feature_source import FeatureSource


class BreaksOff(FeatureSource):
    """A source that fails after some rows: an unreadable rest, or Ctrl-C."""

    def __init__(self, whole: FeatureSource, rows: int, error: BaseException) -> None:
        self.info, self.whole, self.rows, self.error = whole.info, whole, rows, error

    def ids(self) -> Iterator[Ids]:
        return self.whole.ids()

    def pieces(self, size: int, start: int) -> Iterator[FeatureTable]:
        for batch in self.whole.batches(size, start=start):
            if batch.first_row >= self.rows:
                raise self.error
            yield batch


class Meanwhile(FeatureSource):
    """A source during which something happens, when its batches up to some row are written or under way."""

    def __init__(self, whole: FeatureSource, rows: int, happens: Callable[[], object]) -> None:
        self.info, self.whole, self.rows, self.happens = whole.info, whole, rows, happens

    def ids(self) -> Iterator[Ids]:
        return self.whole.ids()

    def pieces(self, size: int, start: int) -> Iterator[FeatureTable]:
        for batch in self.whole.batches(size, start=start):
            if batch.first_row == self.rows:
                self.happens()
            yield batch
