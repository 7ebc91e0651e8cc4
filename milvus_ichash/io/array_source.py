"""One split of a file of arrays, one row per item along the first axis, as a stream of feature tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from milvus_ichash.features import FeatureTable, Ids
from milvus_ichash.io.feature_source import FeatureSource, SourceInfo, reading
from milvus_ichash.io.label_rule import LabelRule
from milvus_ichash.io.row_arrays import RowArray, payload_values, to_ids

_ID_ROWS = 65_536


@dataclass(frozen=True)
class SplitArrays:
    """The arrays of one split.

    Attributes:
        name: the split, for messages; empty where the file is one table.
        rows: N.
        features: modality -> (N, D).
        ids: (N,) strings or whole numbers; None: the rows are numbered from `first_id` on.
        labels: (N, C) multi-hot, or (N,) class numbers or names; None without labels.
        present: (N, M or more), or None.
        present_columns: column of `present` for each of `features`.
        payload: name -> (N,).
    """

    name: str
    rows: int
    features: dict[str, RowArray]
    ids: RowArray | None = None
    labels: RowArray | None = None
    present: RowArray | None = None
    present_columns: tuple[int, ...] = ()
    payload: dict[str, RowArray] = field(default_factory=dict)
    first_id: int = 0


class ArraySource(FeatureSource):
    """One split of a file of arrays as a stream of feature tables."""

    def __init__(self, info: SourceInfo, arrays: SplitArrays, rule: LabelRule | None) -> None:
        self.info = info
        self._arrays = arrays
        self._rule = rule
        self._where: Path | str = f"{info.path} ({arrays.name})" if arrays.name else info.path

    def ids(self) -> Iterator[Ids]:
        """The ids alone."""
        with reading(self._where):
            yield from self._ids(_ID_ROWS, 0)

    def batches(self, size: int, *, start: int = 0) -> Iterator[FeatureTable]:
        """The rows from `start` on, `size` at a time."""
        arrays = self._arrays
        features = {name: array.chunks(size, start) for name, array in arrays.features.items()}
        payload = {name: array.chunks(size, start) for name, array in arrays.payload.items()}
        present = None if arrays.present is None else arrays.present.chunks(size, start)
        labels = None if arrays.labels is None else arrays.labels.chunks(size, start)
        with reading(self._where):
            for ids in self._ids(size, start):
                vectors, labelled = (
                    (None, None) if labels is None or self._rule is None else self._rule.from_array(next(labels), start)
                )
                yield FeatureTable.build(
                    ids,
                    {name: next(chunks) for name, chunks in features.items()},
                    present=None if present is None else next(present)[:, arrays.present_columns].astype(np.bool_),
                    labels=vectors,
                    labelled=labelled,
                    label_names=self.info.label_names,
                    payload={name: payload_values(next(chunks)) for name, chunks in payload.items()},
                    first_row=start,
                )
                start += len(ids)

    def _ids(self, size: int, start: int) -> Iterator[Ids]:
        arrays = self._arrays
        if arrays.ids is None:
            for begin in range(start, arrays.rows, size):
                yield np.arange(begin, min(begin + size, arrays.rows), dtype=np.int64) + arrays.first_id
            return
        for chunk in arrays.ids.chunks(size, start):
            yield to_ids(chunk, start)
            start += len(chunk)
