"""Parquet: every list type, nulls, labels in all forms, streaming across row groups, bad files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milvus_ichash.errors import InputError
from milvus_ichash.io import ColumnNames, SourceInfo, open_source

TYPES = [
    pa.float16(),
    pa.float32(),
    pa.float64(),
    pa.int8(),
    pa.uint8(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.uint64(),
    pa.bool_(),
]
LISTS = [pa.list_, pa.large_list, lambda value: pa.list_(value, 3)]
BITS = [[1, 0, 1], None, [0, 0, 1], [1, 1, 1]]


def write(path: Path, columns: dict | pa.Table, **options) -> Path:
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path, **options)
    return path


def vectors(rows: int, size: int = 3, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).random((rows, size), np.float32))


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "items.parquet"


@pytest.mark.parametrize("make_list", LISTS, ids=["list", "large_list", "fixed_size_list"])
@pytest.mark.parametrize("value", TYPES, ids=str)
def test_lists_of_every_numeric_type_with_a_null_row(file, make_list, value):
    bits = pa.array(BITS, pa.list_(pa.int8())).cast(pa.list_(value))
    write(file, {"x": pa.array(bits.to_pylist(), make_list(value)), "y": pa.array([[1.0]] * 4)})
    table = open_source(file).read()
    assert table.present.tolist() == [[True, True], [False, True], [True, True], [True, True]]
    assert table.features["x"].dtype == np.float32
    rows = [BITS[0], [np.nan] * 3, BITS[2], BITS[3]]
    np.testing.assert_equal(table.features, {"x": np.array(rows), "y": np.ones((4, 1))})


def test_columns_are_found_by_name_and_type(file):
    write(
        file,
        {
            "id": ["a", "b"],
            "image": vectors(2),
            "tags": [["x", "y"], []],
            "title": pa.array(["t", None]),
            "year": [1999, 2000],
            "price": [1.5, float("nan")],
            "sold": [True, False],
            "kind": pa.array(["k", "k"]).dictionary_encode(),
            "raw": [b"\x00", b"\x01"],
            "pairs": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
            "when": pa.array([0, 1], pa.timestamp("s")),
            "__index_level_0__": [0, 1],
        },
    )
    source = open_source(file)
    payload = {
        "tags": [["x", "y"], []],
        "title": ["t", None],
        "year": [1999, 2000],
        "price": [1.5, float("nan")],
        "sold": [True, False],
        "kind": ["k", "k"],
        "when": ["1970-01-01T00:00:00.000", "1970-01-01T00:00:01.000"],
    }
    assert source.info == SourceInfo(file, 2, {"image": 3}, "str", None, None, tuple(payload))
    assert source.info.left_out == {
        "raw": "binary",
        "pairs": "map<string, int64 ('pairs')>",
        "__index_level_0__": "the index of a pandas table",
    }
    table = source.read()
    assert table.ids.tolist() == ["a", "b"]
    np.testing.assert_equal(dict(table.payload), payload)


@pytest.mark.parametrize("name", ["id", "ids", "_id"])
@pytest.mark.parametrize(
    "kind",
    [pa.int32(), pa.int64(), pa.uint16(), pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_ids_of_every_kind(file, name, kind):
    write(file, {name: pa.array(["7", "3"]).cast(kind), "x": vectors(2)})
    source = open_source(file)
    ids = source.read().ids
    expected = ("int64", np.int64, [7, 3]) if pa.types.is_integer(kind) else ("str", object, ["7", "3"])
    assert (source.info.id_kind, ids.dtype, ids.tolist()) == expected
    assert np.concatenate(list(source.ids())).tolist() == ids.tolist()


def test_without_ids_the_row_number_is_the_id(file):
    write(file, {"x": vectors(5)}, row_group_size=2)
    source = open_source(file)
    assert source.info.id_kind == "int64"
    assert [batch.ids.tolist() for batch in source.batches(2, start=1)] == [[1, 2], [3, 4]]
    assert np.concatenate(list(source.ids())).tolist() == [0, 1, 2, 3, 4]


def test_a_mapping_names_the_columns(file):
    write(
        file,
        {"sku": [5, 6], "img_emb": vectors(2), "txt_emb": vectors(2, 2), "other": vectors(2), "cats": [["a"], ["b"]]},
    )
    columns = ColumnNames(modalities={"text": "txt_emb", "image": "img_emb"}, id="sku", labels="cats")
    source = open_source(file, columns=columns)
    dims = {"text": 2, "image": 3}
    assert source.info == SourceInfo(file, 2, dims, "int64", 2, ("a", "b"), payload=())
    assert source.read().ids.tolist() == [5, 6]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            ColumnNames(modalities={"image": "img"}),
            "no column 'img' for the modality 'image'; columns: id, x, t, never",
        ),
        (
            ColumnNames(modalities={"image": "t"}),
            "'t', meant for the modality 'image', holds no feature vectors; those that do: x, never",
        ),
        (ColumnNames(id="key"), "no column 'key' for the ids"),
        (ColumnNames(labels="cats"), "no column 'cats' for the labels"),
        (ColumnNames(modalities={"a": "never"}), "no row has a vector in never"),
    ],
)
def test_columns_that_are_not_there(file, columns, message):
    never = pa.array([None], pa.list_(pa.float32()))
    write(file, {"id": [1], "x": vectors(1), "t": ["a"], "never": never})
    with pytest.raises(InputError, match=message):
        open_source(file, columns=columns)


LABELS = [
    (pa.array([["b", "a"], [], None, ["c"]]), ("a", "b", "c"), [[1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]),
    (pa.array(["b", "a", None, "b"]), ("a", "b"), [[0, 1], [1, 0], [0, 0], [0, 1]]),
    (pa.array(["b", "a", None, "b"]).dictionary_encode(), ("a", "b"), [[0, 1], [1, 0], [0, 0], [0, 1]]),
    (pa.array([["b", None], [], None, ["a"]]), ("a", "b"), [[0, 1], [0, 0], [0, 0], [1, 0]]),
    (pa.array([[2, 0], [], None, [1]]), ("0", "1", "2"), [[1, 0, 1], [0, 0, 0], [0, 0, 0], [0, 1, 0]]),
    (pa.array([[1, 2], [1, 3], None, [2, 3]]), tuple("0123"), [[0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 1]]),
    (pa.array([[1], [1], None, [0]]), ("0", "1"), [[0, 1], [0, 1], [0, 0], [1, 0]]),
    (pa.array([[1, 0, 1], [0, 0, 0], None, [0, 1, 0]]), None, [[1, 0, 1], [0, 0, 0], [0, 0, 0], [0, 1, 0]]),
    (pa.array([[True, False], [False, False], None, [True, True]]), None, [[1, 0], [0, 0], [0, 0], [1, 1]]),
    (pa.array([[1, 0], [0, 0], None, [1, 1]], pa.list_(pa.uint8(), 2)), None, [[1, 0], [0, 0], [0, 0], [1, 1]]),
    (pa.array([[1.0, 0.0], [0.0, 0.0], None, [1.0, 1.0]]), None, [[1, 0], [0, 0], [0, 0], [1, 1]]),
    (pa.array([3, 1, None, 2]), ("1", "2", "3"), [[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 0]]),
    (pa.array([2, 0, None, 1]), ("0", "1", "2"), [[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 0]]),
]


@pytest.mark.parametrize(("column", "names", "expected"), LABELS)
def test_labels_in_every_form(file, column, names, expected):
    write(file, {"x": vectors(4), "labels": column}, row_group_size=2)
    source = open_source(file)
    assert (source.info.classes, source.info.label_names) == (len(expected[0]), names)
    table = source.read()
    assert (table.labels.dtype, table.labels.tolist()) == (np.uint8, expected)
    assert table.labelled.tolist() == [True, True, False, True]
    # Each batch alone has the same classes as the whole.
    assert [batch.labels.tolist() for batch in source.batches(1)] == [[row] for row in expected]


@pytest.mark.parametrize("value", [pa.string(), pa.int64(), pa.float32()], ids=str)
@pytest.mark.parametrize("nothing", [None, []])
def test_labels_that_are_null_or_empty_everywhere_are_no_labels(file, value, nothing):
    write(file, {"x": vectors(2), "labels": pa.array([None, nothing], pa.list_(value))})
    source = open_source(file)
    assert source.info.classes is source.read().labels is None


NOT_UTF8 = pa.Array.from_buffers(
    pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff")]
)
RAGGED = [[1, 2], [3, 4], None, [5, 6, 7], []]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": [1], "t": ["a"]}, r"no column of feature vectors .* columns: id, t"),
        ({"x": pa.array([], pa.list_(pa.float32()))}, "holds no rows"),
        ({"x": pa.array(RAGGED, pa.list_(pa.float32()))}, r"items\.parquet: row 3 has 3 values in 'x', where .* 2"),
        ({"x": pa.array(RAGGED, pa.large_list(pa.float32()))}, "row 3 has 3 values in 'x', where other rows have 2"),
        *(
            (
                {"id": ["a", "b", "c"], "x": [[1.0, 2.0], [3.0, 4.0], [value, 5.0]]},
                r"items\.parquet: row 2 \(id 'c'\) has NaN or infinity in 'x'",
            )
            for value in (None, float("nan"), float("inf"))
        ),
        ({"id": [5, 6], "x": [[1.0], None], "y": [[1.0], None]}, r"row 1 \(id 6\) has no modality"),
        ({"id": pa.array(["a", None, "c"]), "x": vectors(3)}, r"row 1 has no id \(null in 'id'\)"),
        ({"id": pa.array([1.0, 2.0, 3.0]), "x": vectors(3)}, "'id' holds double"),
        ({"id": pa.array([1, 2, 2**64 - 1], pa.uint64()), "x": vectors(3)}, "beyond 63 bits"),
        ({"title": NOT_UTF8, "x": vectors(1)}, "cannot be read as parquet"),
        (
            pa.Table.from_arrays([pa.array(vectors(2)), pa.array([1, 2]), pa.array([1, 2])], ["x", "n", "n"]),
            "several columns have the same name",
        ),
        *(
            ({"x": vectors(2), "labels": labels}, message)
            for labels, message in (
                (pa.array([[1, 0], [2, 1]], pa.list_(pa.int32(), 2)), "row 1 holds 2.0 among its labels"),
                (pa.array([[1.0, 0.0], [0.5, 1.0]]), "row 1 holds 0.5 among its labels"),
                (pa.array([[1.0, 0.0], [1.0]]), "row 1 has 1 values in 'labels'"),
                (pa.array([[0], [-1]]), "negative class number -1"),
                (pa.array([3, -1]), "the label -1 is negative"),
                (pa.array([10**9, 1]), "would have 1000000000 classes"),
                (pa.array([b"a", b"b"]), "holds binary; labels are"),
            )
        ),
    ],
)
def test_what_cannot_be_read_is_named(file, columns, message):
    write(file, columns, row_group_size=2)
    with pytest.raises(InputError, match=message):
        open_source(file).read()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 40),
    group=st.integers(1, 40),
    size=st.integers(1, 50),
    start=st.integers(0, 45),
    seed=st.integers(0, 3),
)
def test_batches_are_the_rows_whatever_the_row_groups(tmp_path, rows, group, size, start, seed):
    rng = np.random.default_rng(seed)
    x = [None if row and rng.random() < 0.3 else v for row, v in enumerate(vectors(rows, 4, seed))]
    file = write(
        tmp_path / "stream.parquet",
        {
            "id": [f"i{k}" for k in range(rows)],
            "x": x,
            "y": vectors(rows, 2),
            "labels": [[k % 3] for k in range(rows)],
            "n": range(rows),
        },
        row_group_size=group,
    )
    source = open_source(file)
    batches = list(source.batches(size, start=start))
    assert [batch.first_row for batch in batches] == list(range(start, rows, size))
    for batch in batches:
        numbers = list(range(batch.first_row, min(batch.first_row + size, rows)))
        assert (batch.ids.tolist(), batch.payload["n"]) == ([f"i{k}" for k in numbers], numbers)
        there = np.array([x[k] is not None for k in numbers])
        labels = np.eye(batch.labels.shape[1])[np.array(numbers) % 3]
        np.testing.assert_equal((batch.labels, batch.present), (labels, np.stack([there, there | True], axis=1)))
        np.testing.assert_equal(list(batch.features["x"][there]), [x[k] for k in numbers if x[k] is not None])


def test_a_modality_that_is_null_at_first_and_one_that_is_null_throughout(file):
    rows = 600
    late = [None] * (rows - 1) + [[1.0, 2.0]]
    never = pa.array([None] * rows, pa.list_(pa.float32()))
    write(file, {"x": vectors(rows), "late": late, "never": never}, row_group_size=100)
    table = open_source(file).read()
    assert (table.dims, table.present.sum(axis=0).tolist()) == ({"x": 3, "late": 2}, [rows, 1])


def test_a_file_that_was_changed_inside(file):
    whole = write(file, {"x": vectors(5000, 16)}, write_page_checksum=True).read_bytes()
    file.write_bytes(whole[:1000] + bytes(2000) + whole[3000:])
    with pytest.raises(InputError, match="cannot be read as parquet"):
        open_source(file).read()


def test_names_with_dots(file):
    write(file, {"img.emb": vectors(2), "img": vectors(2, 2), "a.id": [3, 4]})
    table = open_source(file, columns=ColumnNames(id="a.id")).read()
    assert (table.dims, table.ids.tolist()) == ({"img.emb": 3, "img": 2}, [3, 4])
