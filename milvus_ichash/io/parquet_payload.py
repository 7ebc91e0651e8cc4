"""Payload in parquet files: which columns can be stored in Milvus, and their values as JSON knows them.

Strings, numbers and booleans stay what they are. Points in time become ISO 8601 (those with a time zone in UTC, with a
Z at the end, so that they sort as text), lengths of time too (PT90S), decimals become text. Lists, structs and
dictionary-encoded values of these are stored as well. NaN and infinity stay here; who stores the values decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from milvus_ichash.io.parquet_columns import decoded, is_number, is_text, is_vector, lengths, valid, value_type

PANDAS_INDEX = "__index_level_"
"""pandas keeps its index in columns called so."""
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def why_left_out(name: str, kind: pa.DataType) -> str | None:
    """Return why a column that holds no ids, labels or features cannot be payload; None where it can."""
    if name.startswith(PANDAS_INDEX):
        return "the index of a pandas table"
    if is_vector(kind):
        return "vectors that are no modality here"
    return None if _is_storable(kind) else f"{kind!s:.60}"


def to_payload(column: pa.Array) -> list[Any]:
    """Return the values of a column that can be payload, None for null."""
    column = decoded(column)
    kind, types = column.type, pa.types
    if types.is_struct(kind):
        return _structs(column)
    if value_type(kind) is not None and not is_text(value_type(kind)):
        return _lists(column)
    if types.is_timestamp(kind):
        text = pc.cast(column.cast(pa.timestamp(kind.unit, "UTC")) if kind.tz else column, pa.string())
        column = pc.replace_substring(text, " ", "T", max_replacements=1)
    elif types.is_date(kind) or types.is_time(kind):
        column = pc.cast(column, pa.string())
    elif types.is_float16(kind):
        column = pc.cast(column, pa.float32())
    values: list[Any] = column.to_pylist() if not types.is_duration(kind) else _lengths_of_time(column)
    return [None if value is None else format(value, "f") for value in values] if types.is_decimal(kind) else values


def _is_storable(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return _is_storable(kind.value_type)
    if types.is_struct(kind):
        names = [field.name for field in kind]
        return len(set(names)) == len(names) and all(_is_storable(field.type) for field in kind)
    if (item := value_type(kind)) is not None:
        return _is_storable(item)
    temporal = types.is_temporal(kind) and not types.is_interval(kind)
    return is_text(kind) or is_number(kind) or temporal or types.is_decimal(kind) or types.is_null(kind)


def _lengths_of_time(column: pa.Array) -> list[str | None]:
    digits = _DIGITS[column.type.unit]

    def text(value: int) -> str:
        seconds, rest = divmod(abs(value), 10**digits)
        return f"{'-' if value < 0 else ''}PT{seconds}{f'.{rest:0{digits}d}' if digits else ''}S"

    return [None if value is None else text(value) for value in pc.cast(column, pa.int64()).to_pylist()]


def _structs(column: pa.Array) -> list[Any]:
    names = [field.name for field in column.type]
    members = [to_payload(column.field(place)) for place in range(len(names))]
    rows = zip(*members, strict=True) if members else ((),) * len(column)
    return [
        dict(zip(names, values, strict=True)) if there else None
        for values, there in zip(rows, valid(column).tolist(), strict=True)
    ]


def _lists(column: pa.Array) -> list[Any]:
    values: Iterator[Any] = iter(to_payload(column.flatten()))
    counts = zip(lengths(column).tolist(), valid(column).tolist(), strict=True)
    return [[next(values) for _ in range(count)] if there else None for count, there in counts]
