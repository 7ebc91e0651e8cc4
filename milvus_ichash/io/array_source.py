"""One split of a file of arrays, one row per item along the first axis, as a stream of feature tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from milvus_ichash.features import FeatureTable, Ids
from milvus_ichash.io.feature_source import FeatureSource, SourceInfo, numbered_ids, reading
from milvus_ichash.io.label_rule import LabelRule
from milvus_ichash.io.row_arrays import RowArray, payload_values, to_ids

_ID_ROWS, _PAYLOAD_ROWS = 65_536, 4096


@dataclass(frozen=True)
class ArraySource(FeatureSource):
    """One split of a file of arrays as a stream of feature tables.

    Attributes:
        info: what can be said of the split; `info.rows` is N.
        name: the split, for messages; empty where the file is one table.
        features: modality -> (N, D).
        ids_array: (N,) strings or whole numbers; None: the rows are numbered from `first_id` on.
        labels: (N, C) multi-hot, or (N,) class numbers or names; None without labels.
        rule: how labels become multi-hot vectors; None without labels.
        present: (N, M or more), or None.
        present_columns: column of `present` for each of `features`.
        payload: name -> (N,).
    """

    info: SourceInfo
    name: str
    features: dict[str, RowArray]
    ids_array: RowArray | None = None
    labels: RowArray | None = None
    rule: LabelRule | None = None
    present: RowArray | None = None
    present_columns: tuple[int, ...] = ()
    payload: dict[str, RowArray] = field(default_factory=dict)
    first_id: int = 0

    def ids(self) -> Iterator[Ids]:
        """Yield the ids alone."""
        with reading(self._where):
            yield from self._ids(_ID_ROWS, 0)

    def payload_blocks(self, names: Sequence[str]) -> Iterator[tuple[int, dict[str, Sequence[Any]]]]:
        """Yield these payload columns alone."""
        columns = {name: self.payload[name].chunks(_PAYLOAD_ROWS, 0) for name in names}
        with reading(self._where):
            for start in range(0, self.info.rows, _PAYLOAD_ROWS):
                yield start, {name: payload_values(next(chunks)) for name, chunks in columns.items()}

    def pieces(self, size: int, start: int) -> Iterator[FeatureTable]:
        """Yield the rows from `start` on, `size` at a time."""
        features = {name: array.chunks(size, start) for name, array in self.features.items()}
        payload = {name: array.chunks(size, start) for name, array in self.payload.items()}
        present = None if self.present is None else self.present.chunks(size, start)
        labels = None if self.labels is None else self.labels.chunks(size, start)
        with reading(self._where):
            for ids in self._ids(size, start):
                vectors, labelled = (
                    (None, None) if labels is None or self.rule is None else self.rule.from_array(next(labels), start)
                )
                yield FeatureTable.build(
                    ids,
                    {name: next(chunks) for name, chunks in features.items()},
                    present=None if present is None else next(present)[:, self.present_columns].astype(np.bool_),
                    labels=vectors,
                    labelled=labelled,
                    label_names=self.info.label_names,
                    payload={name: payload_values(next(chunks)) for name, chunks in payload.items()},
                    first_row=start,
                )
                start += len(ids)

    @property
    def _where(self) -> str:
        return f"{self.info.path} ({self.name})" if self.name else str(self.info.path)

    def _ids(self, size: int, start: int) -> Iterator[Ids]:
        if self.ids_array is None:
            yield from numbered_ids(start, self.info.rows, size, self.first_id)
            return
        for chunk in self.ids_array.chunks(size, start):
            yield to_ids(chunk, start)
            start += len(chunk)
