"""A first pass over a source, before anything is written: ids, and the sizes of payload, without the features.

What stands in the features and labels is seen when their batch comes, and ends a run that may have written others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.features import row_name
from milvus_ichash.index.batch import check_size
from milvus_ichash.index.field_names import META_BYTES
from milvus_ichash.index.stored_ids import checked_ids
from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.ingestion.payload import PayloadCleaner
from milvus_ichash.io.duplicate_ids import find_duplicate_ids
from milvus_ichash.io.feature_source import FeatureSource

_ESCAPED, _NUMBER = 6, 32
"""Most bytes of JSON for a character, and for a number, a name's quotes and the like."""


def check_before(source: FeatureSource, options: IngestOptions, *, lite: bool) -> None:
    """Raise InputError where an id comes twice or cannot be stored, or an item has more payload than a server stores.

    Payload is looked at where the format gives it without the features, and not for Milvus Lite, which has no limit.
    """
    find_duplicate_ids(source, lambda ids: checked_ids(ids, source.info.id_kind, lite=lite, unique=False))
    fields = [name for name in source.info.payload if options.fields is None or name in options.fields]
    if fields and not lite:
        _check_payload(source, fields)


def _check_payload(source: FeatureSource, fields: Sequence[str]) -> None:
    for first, columns in source.payload_blocks(fields):
        # A quick sum that is never too small; the JSON itself is made only where that is beyond the limit.
        bounds = sum((_most_bytes(values) for values in columns.values()), np.zeros(1, np.int64))
        bounds = bounds + _ESCAPED * sum(map(len, fields))
        for row in np.flatnonzero(bounds > META_BYTES).tolist():
            item = PayloadCleaner()({name: values[row : row + 1] for name, values in columns.items()})
            check_size({name: values[0] for name, values in item.items()}, lambda: _name(source, first + row))  # noqa: B023


def _most_bytes(values: Sequence[Any]) -> npt.NDArray[np.int64]:
    """Return for each value at least as many bytes as its JSON has: int64 (n,)."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {int, float, bool}:
        longest = max((value.bit_length() for value in values if type(value) is int), default=0)
        return np.full(len(values), _NUMBER + longest // 3)
    if kinds == {str}:
        characters = [0 if value is None else len(value) for value in values]
        return _ESCAPED * np.array(characters, np.int64) + _NUMBER
    if kinds == {list}:
        flat = list(chain.from_iterable(value or () for value in values))
        ends = np.cumsum([0 if value is None else len(value) for value in values])
        sums = np.concatenate([[0], np.cumsum(_most_bytes(flat))]) if flat else np.zeros(1, np.int64)
        return np.asarray(np.diff(sums[np.concatenate([[0], ends])]) + _NUMBER)
    return np.array([_ESCAPED * len(repr(value)) + _NUMBER for value in values], np.int64)


def _name(source: FeatureSource, row: int) -> str:
    """Return how messages name a row of the source, whose ids are read again for it."""
    for first, ids in source.id_blocks():
        if row < first + len(ids):
            return row_name(row, ids[row - first])
    return f"row {row}"
