"""Which columns of parquet files can be stored, and what becomes of their values."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from milvus_ichash.io.parquet_payload import to_payload, why_left_out

ZONED = pa.timestamp("ms", "Europe/Berlin")


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (pa.timestamp("s"), [0, None], ["1970-01-01T00:00:00", None]),
        (pa.timestamp("ns"), [1], ["1970-01-01T00:00:00.000000001"]),
        (ZONED, [0], ["1970-01-01T00:00:00.000Z"]),
        (pa.timestamp("s", "No/Such"), [0], ["1970-01-01T00:00:00Z"]),
        (pa.date32(), [1], ["1970-01-02"]),
        (pa.date64(), [86_400_000], ["1970-01-02"]),
        (pa.time32("s"), [86_399], ["23:59:59"]),
        (pa.time64("us"), [1], ["00:00:00.000001"]),
        (pa.duration("s"), [90, -90, None], ["PT90S", "-PT90S", None]),
        (pa.duration("ms"), [1_500], ["PT1.500S"]),
        (pa.decimal128(20, 10), [Decimal("0.0000000001"), None], ["0.0000000001", None]),
        (pa.decimal256(60, 2), [Decimal("1.50")], ["1.50"]),
        (pa.null(), [None, None], [None, None]),
        (pa.large_string(), ["ä", None], ["ä", None]),
        (pa.uint64(), [2**64 - 1], [2**64 - 1]),
        (pa.list_(pa.list_(pa.string())), [[["a"], None], None, []], [[["a"], None], None, []]),
        (pa.list_(ZONED), [[0, None], []], [["1970-01-01T00:00:00.000Z", None], []]),
        (pa.struct({"a": pa.int8(), "b": pa.list_(pa.date32())}), [{"a": 1, "b": [0]}, None], None),
    ],
    ids=str,
)
def test_what_can_be_represented_is(kind: pa.DataType, values: list[Any], expected: list[Any] | None) -> None:
    assert why_left_out("x", kind) is None
    found = to_payload(pa.array(values, kind))
    assert found == ([{"a": 1, "b": ["1970-01-01"]}, None] if expected is None else expected)
    json.dumps(found)


def test_a_slice_of_a_column_has_its_own_values() -> None:
    column = pa.array([[{"a": 0}], None, [{"a": 1}, {"a": None}]])
    assert to_payload(column.slice(1)) == [None, [{"a": 1}, {"a": None}]]


def test_float16_and_categories() -> None:
    halves = pa.array(np.array([0.5, np.nan], np.float16))
    np.testing.assert_equal(to_payload(halves), [0.5, np.nan])
    dates = pa.DictionaryArray.from_arrays([0, None, 0], pa.array([0], pa.date32()))
    assert why_left_out("x", dates.type) is None
    assert to_payload(dates) == ["1970-01-01", None, "1970-01-01"]


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("x", pa.binary(), "binary"),
        ("x", pa.large_binary(), "large_binary"),
        ("x", pa.binary(16), "fixed_size_binary[16]"),
        ("x", pa.map_(pa.string(), pa.int8()), "map<string, int8>"),
        ("x", pa.struct({"a": pa.binary()}), "struct<a: binary>"),
        ("x", pa.struct([pa.field("a", pa.int8()), pa.field("a", pa.int8())]), "struct<a: int8, a: int8>"),
        ("x", pa.list_(pa.float32()), "vectors that are no modality here"),
        ("__index_level_0__", pa.int64(), "the index of a pandas table"),
    ],
)
def test_what_cannot_be_stored_says_why(name: str, kind: pa.DataType, why: str) -> None:
    assert why_left_out(name, kind) == why
