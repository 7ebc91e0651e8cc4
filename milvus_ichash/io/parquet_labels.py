"""Labels in parquet files: finding out, by one pass over the column, which form it has, and reading it.

The forms, for a column of

- strings: one class name per item; lists of strings: any number of names. Names are put in sorted order.
- whole numbers: one class number per item (`label_rule.rule_for_numbers` says from which number they count).
- fixed-size lists: multi-hot vectors, 0 or 1 for every class.
- lists of whole numbers or booleans: multi-hot vectors where all lists of the file have the same length, more than 1,
  and hold 0 and 1 only; else class numbers, counted from 0.
- lists of floats: multi-hot vectors.

A class number is the name of its class too, so that it stays the same class in another file. Multi-hot vectors have no
names. Null means that the item's labels are unknown, an empty list that it is known to have none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from milvus_ichash.class_names import numbered_classes
from milvus_ichash.errors import InputError
from milvus_ichash.features import Mask, MultiHot
from milvus_ichash.io import parquet_columns
from milvus_ichash.io.label_rule import LabelRule, check_number_of_classes, rule_for_numbers

Form = Literal["names", "numbers", "vectors"]


class _Range(NamedTuple):
    """The smallest and the largest of some numbers; None where there are none."""

    lowest: Any
    highest: Any


@dataclass(frozen=True)
class ParquetLabels:
    """The labels of one parquet file."""

    column: str
    form: Form
    rule: LabelRule

    def read(self, column: pa.Array, first_row: int) -> tuple[MultiHot, Mask | None]:
        """Return labels as multi-hot uint8 (n, C), and which rows have known labels (None: all).

        Raises:
            InputError: names the row whose labels do not fit.
        """
        if self.form == "vectors":
            return self.rule.from_vectors(
                parquet_columns.to_vectors(column, self.rule.classes, self.column, first_row), first_row
            )
        rows, values = _flat(column)
        if self.form == "names":
            values = pc.index_in(values, value_set=pa.array(self.rule.names, values.type))
        return self.rule.from_numbers(rows, values.to_numpy(), ~parquet_columns.valid(column), first_row)


def scan(name: str, kind: pa.DataType, columns: Iterable[pa.Array]) -> ParquetLabels | None:
    """Return how to read a label column, found by a look at all of it, or None where every row is null.

    Args:
        name: the column.
        kind: its type.
        columns: its rows, piece by piece.

    Raises:
        InputError: a type that labels cannot have, or numbers that are no classes.
    """
    item = parquet_columns.value_type(kind)
    leaf = kind if item is None else item
    if parquet_columns.is_text(leaf):
        names = _names(columns)
        return ParquetLabels(name, "names", LabelRule(len(names), names)) if names else None
    if item is None and pa.types.is_integer(kind):
        span, _ = _ranges(columns)
        known = span.lowest is not None
        return ParquetLabels(name, "numbers", rule_for_numbers(span.lowest, span.highest)) if known else None
    if not parquet_columns.is_number(item):
        raise InputError(
            f"the label column '{name}' holds {kind}; labels are class names, class numbers, lists of them, "
            "or 0/1 vectors."
        )
    span, lengths = _ranges(columns)
    if span.lowest is None:
        return None
    fixed = pa.types.is_fixed_size_list(kind) or not pa.types.is_integer(item)
    if fixed or (lengths.lowest == lengths.highest > 1 and span.lowest >= 0 and span.highest <= 1):
        return ParquetLabels(name, "vectors", LabelRule(lengths.highest))
    if span.lowest < 0:
        raise InputError(
            f"the label column '{name}' holds the negative class number {span.lowest}; classes count from 0."
        )
    check_number_of_classes(span.highest + 1)
    return ParquetLabels(name, "numbers", LabelRule(span.highest + 1, numbered_classes(span.highest + 1)))


def _flat(column: pa.Array) -> tuple[npt.NDArray[np.intp], pa.Array]:
    """Return the row of each value in a column of single values or lists, and the values; nulls are left out."""
    if parquet_columns.value_type(column.type) is None:
        rows, values = np.flatnonzero(parquet_columns.valid(column)), column.drop_null()
    else:
        rows, values = np.repeat(np.arange(len(column)), parquet_columns.lengths(column)), column.flatten()
        if values.null_count:
            rows, values = rows[parquet_columns.valid(values)], values.drop_null()
    return rows, parquet_columns.decoded(values)


def _names(columns: Iterable[pa.Array]) -> tuple[str, ...]:
    seen: set[str] = set()
    for column in columns:
        seen.update(pc.unique(_flat(column)[1]).to_pylist())
    return tuple(sorted(seen))


def _ranges(columns: Iterable[pa.Array]) -> tuple[_Range, _Range]:
    """Return the range of all values in a column of numbers or of lists of numbers, and that of the lists' lengths."""
    values, lengths = [], []
    for column in columns:
        values.append(pc.min_max(_flat(column)[1]).as_py())
        if parquet_columns.value_type(column.type) is not None:
            lengths.append(pc.min_max(pc.list_value_length(column)).as_py())
    return _widest(values), _widest(lengths)


def _widest(ranges: list[dict[str, Any]]) -> _Range:
    known = [found for found in ranges if found["min"] is not None]
    lowest = min((found["min"] for found in known), default=None)
    return _Range(lowest, max((found["max"] for found in known), default=None))
