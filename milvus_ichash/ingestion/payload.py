"""What of a source's further columns goes into Milvus: values that JSON does not have, and columns that stay out.

Nothing is left out without a word: `notes_before` names columns, `PayloadCleaner.notes` counts values.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.io.column_rules import listing
from milvus_ichash.io.feature_source import SourceInfo

_LARGEST = 2**63 - 1
_PLAIN = {str, bool, type(None)}


class PayloadCleaner:
    """Makes values fit for Milvus, and counts by column those that had to change."""

    def __init__(self) -> None:
        self._not_finite: Counter[str] = Counter()
        self._too_large: Counter[str] = Counter()

    def __call__(self, payload: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """Return the columns with null for NaN and infinity, and whole numbers beyond 64 bits as text."""
        return {name: values if _fit(values) else self._cleaned(name, values) for name, values in payload.items()}

    def notes(self) -> Iterator[str]:
        """Yield a sentence for each kind of change that there was."""
        if self._not_finite:
            yield f"NaN and infinity cannot be stored, and are null now: {_counts(self._not_finite)}."
        if self._too_large:
            yield f"whole numbers beyond 64 bits are stored as text: {_counts(self._too_large)}."

    def _cleaned(self, name: str, values: Sequence[Any]) -> Sequence[Any]:
        return [self._clean(name, value) for value in values]

    def _clean(self, name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._clean(name, each) for each in value]
        if isinstance(value, dict):
            return {key: self._clean(name, each) for key, each in value.items()}
        if isinstance(value, float) and not math.isfinite(value):
            self._not_finite[name] += 1
            return None
        if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
            self._too_large[name] += 1
            return str(value)
        return value


def notes_before(info: SourceInfo, options: IngestOptions) -> Iterator[str]:
    """Yield a sentence on ids that are row numbers, and one on the columns of a source that are not stored."""
    if options.row_ids:
        yield (
            "Ids are row numbers: another file that is ingested into the same collection with --row-ids replaces "
            "these rows."
        )
    if info.left_out and options.fields is None:
        named = [f"{name} ({why})" for name, why in info.left_out.items()]
        yield f"Columns of {info.path} that cannot be stored and are left out: {listing(named)}."


def _fit(values: Sequence[Any]) -> bool:
    """Return whether a column is seen to need no change, by checks that take little time a value."""
    kinds = set(map(type, values))
    if kinds == {list}:
        return _fit(list(chain.from_iterable(values)))
    kinds -= _PLAIN
    if kinds == {float}:
        return bool(np.isfinite([value for value in values if value is not None]).all())
    if kinds == {int}:
        there = [value for value in values if value is not None]
        return bool(min(there) >= -_LARGEST and max(there) <= _LARGEST)
    return not kinds


def _counts(counter: Counter[str]) -> str:
    return listing([f"{count:,} in {name}" for name, count in sorted(counter.items())])
