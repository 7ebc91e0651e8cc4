"""npz: streaming out of the zip member, orders and types, `present`, object arrays, bad files."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.array_files import save_npz

from milvus_ichash.errors import InputError
from milvus_ichash.io import ColumnNames, SourceInfo, open_source
from milvus_ichash.io.npz import open_npz


def arrays(rows: int = 7) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "id": np.array([f"item {k}" for k in range(rows)]),
        "image": rng.random((rows, 4)).astype(np.float16),
        "words": rng.integers(0, 3, (rows, 5), np.uint8),
        "labels": rng.integers(0, 2, (rows, 3), np.uint8),
    }


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "items.npz"


@pytest.mark.parametrize("save_as", [np.savez, np.savez_compressed])
def test_a_table_by_names_and_shapes(file, save_as):
    data = arrays()
    extra = {
        "label_names": np.array(["a", "b", "c"]),
        "vocabulary": np.array([f"w{k}" for k in range(5)]),
        "title": np.array([f"t{k}" for k in range(7)]),
        "price": np.array([1.5, np.nan, *range(5)]),
        "scalar": np.array(3),
        "spectrum": np.ones((7, 2), np.complex64),
    }
    save_as(file, **data, **extra)
    source = open_source(file)
    dims, payload = {"image": 4, "words": 5}, ("title", "price")
    assert source.info == SourceInfo(file, 7, dims, "str", 3, ("a", "b", "c"), payload)
    table = source.read()
    np.testing.assert_equal(table.features, {name: data[name].astype(np.float32) for name in dims})
    np.testing.assert_equal((table.ids, table.labels), (data["id"].astype(object), data["labels"]))
    assert table.labelled is None and table.present.all()
    prices = [1.5, np.nan, 0.0, 1.0, 2.0, 3.0, 4.0]
    np.testing.assert_equal(dict(table.payload), {"title": extra["title"].tolist(), "price": prices})


@pytest.mark.parametrize("save_as", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("size", "start"), [(3, 0), (1, 2), (100, 0), (2, 6), (4, 7), (4, 50)])
def test_rows_from_any_start_in_either_order(file, save_as, order, size, start):
    data = arrays()
    save_as(file, **{name: np.asarray(x, order=order) for name, x in data.items()})
    batches = list(open_source(file).batches(size, start=start))
    assert [len(batch) for batch in batches] == [min(size, 7 - k) for k in range(start, 7, size)]
    for batch in batches:
        rows = slice(batch.first_row, batch.first_row + len(batch))
        expected = data["id"][rows].astype(object), data["image"][rows].astype(np.float32), data["labels"][rows]
        np.testing.assert_equal((batch.ids, batch.features["image"], batch.labels), expected)


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">i2", "u4", "?"])
def test_number_types(file, dtype):
    x = np.array([[1, 0], [1, 1]]).astype(dtype)
    assert open_source(save_npz(file, x=x)).read().features["x"].tolist() == x.astype(np.float32).tolist()


def test_present_and_nan_rows_mark_gaps(file):
    data = arrays(4)
    data["image"][1] = np.nan
    present = np.array([[1, 1], [1, 1], [1, 0], [0, 1]], np.uint8)
    save_npz(file, **data, present=present)
    assert open_source(file).read().present.tolist() == [[True, True], [False, True], [True, False], [False, True]]
    words = open_source(file, columns=ColumnNames(modalities={"w": "words", "i": "image"})).read()
    assert words.present.tolist() == [[True, True], [True, False], [False, True], [True, False]]


@pytest.mark.parametrize(
    ("ids", "kind", "expected"),
    [
        (np.array([3, 1], np.uint32), "int64", [3, 1]),
        (np.array([3.0, 1.0]), "int64", [3, 1]),
        (np.array([b"x", b"y"]), "str", ["x", "y"]),
        (np.array([[3], [1]]), "int64", [3, 1]),
    ],
)
def test_ids(file, ids, kind, expected):
    source = open_source(save_npz(file, ids=ids, x=np.ones((2, 2))))
    assert (source.info.id_kind, source.read().ids.tolist()) == (kind, expected)


LABELS = [
    (np.array([3, 1, 2]), ("1", "2", "3"), [[0, 0, 1], [1, 0, 0], [0, 1, 0]], None),
    (np.array([1, 0, 2]), ("0", "1", "2"), [[0, 1, 0], [1, 0, 0], [0, 0, 1]], None),
    (np.array([[2.0], [np.nan], [1.0]]), ("1", "2"), [[0, 1], [0, 0], [1, 0]], [True, False, True]),
    (np.array(["b", "", "a"]), ("a", "b"), [[0, 1], [0, 0], [1, 0]], [True, False, True]),
    (np.array([[1.0, 0.0], [np.nan, np.nan], [0.0, 0.0]]), None, [[1, 0], [0, 0], [0, 0]], [True, False, True]),
]


@pytest.mark.parametrize(("labels", "names", "expected", "labelled"), LABELS)
def test_labels_in_every_form(file, labels, names, expected, labelled):
    source = open_source(save_npz(file, x=np.ones((3, 2)), labels=labels))
    assert (source.info.classes, source.info.label_names) == (len(expected[0]), names)
    table = source.read()
    assert table.labels.tolist() == expected
    assert (None if table.labelled is None else table.labelled.tolist()) == labelled
    assert [batch.labels.tolist() for batch in source.batches(1)] == [[row] for row in expected]


@pytest.mark.parametrize(
    ("numbers", "first"),
    [([1, 2, 3], [1, 0, 0]), ([1, 2, 2], [0, 1, 0]), ([0, 1, 2], [1, 0, 0])],
    ids=["from 1: the largest is how many names there are", "from 0: more names", "from 0: a zero"],
)
def test_label_names_decide_from_where_numbers_count(file, numbers, first):
    source = open_source(
        save_npz(file, x=np.ones((3, 2)), label=np.array(numbers), label_names=np.array(["a", "b", "c"]))
    )
    assert (source.info.label_names, source.read().labels[0].tolist()) == (("a", "b", "c"), first)


TWO = np.ones((2, 2))
PICTURES = {"image": np.zeros((2, 8, 8, 3), np.uint8), "text": np.ones((2, 3))}
UNEVEN = {"image": np.ones((4, 2)), "text": np.ones((3, 2))}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "no column of feature vectors"),
        ({"title": np.array(["a"])}, "no column of feature vectors"),
        ({"x": np.zeros((0, 3))}, "holds no rows"),
        ({"x": np.array([[1.0, 2.0], [np.nan, 1.0]])}, r"items\.npz: row 1 has NaN"),
        ({"id": np.array([1.0, 2.5]), "x": TWO}, r"row 1 has the id 2\.5"),
        (arrays(4) | {"present": np.zeros((4, 2), [("a", "f4")])}, "'present' is of kind 'V'; it needs True or False"),
        (arrays(4) | {"present": np.ones((4, 3), bool)}, r"'present' has shape \(4, 3\).*image, words"),
        (UNEVEN, r"disagree in their number of rows: image \(4, 2\), text \(3, 2\)"),
        (PICTURES, r"'image' has shape \(2, 8, 8, 3\), which looks like raw pictures"),
        ({"x": TWO, "labels": np.array([[1, 0], [2, 0]])}, "row 1 holds 2 among its labels"),
        ({"x": TWO, "labels": np.array([1.0, 1.5])}, r"row 1 has the label 1\.5"),
        ({"x": TWO, "labels": np.array([1, -2])}, "the label -2 is negative"),
        ({"x": TWO, "labels": TWO, "label_names": np.array(["a"])}, "1 label names for 2 classes"),
        (
            {"x": TWO, "labels": np.array([0, 5]), "label_names": np.array(["a", "b"])},
            "go up to 5, and there are 2 label names",
        ),
        ({"x": TWO, "labels": np.array(3)}, r"disagree in their number of rows: x \(2, 2\), labels \(\)"),
        ({"x": TWO, "labels": np.array([["a", "b"], ["c", "d"]])}, "labels are of a kind that cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(file, columns, message):
    save_npz(file, **columns)
    with pytest.raises(InputError, match=message):
        open_source(file).read()


@pytest.mark.parametrize(("columns", "modality", "size"), [(UNEVEN, "image", 2), (PICTURES, "text", 3)])
def test_a_modality_that_is_named_is_read_whatever_else_there_is(file, columns, modality, size):
    table = open_source(save_npz(file, **columns), columns=ColumnNames(modalities={modality: modality})).read()
    assert (table.dims, table.ids.tolist()) == ({modality: size}, list(range(len(columns[modality]))))


def test_object_arrays_are_refused_by_name_and_never_loaded(file, tmp_path):
    trap = tmp_path / "trap"

    class Trap:
        def __reduce__(self):
            return Path.touch, (trap,)

    save_npz(file, image=np.ones((2, 3)), extras=np.array([Trap(), Trap()], dtype=object))
    with pytest.raises(InputError, match=r"items\.npz: the array 'extras' holds Python objects"):
        open_source(file)
    assert not trap.exists()


@pytest.mark.parametrize(("left_out", "start"), [(None, 0), (8, 0), (60, 3), (-9, 0)])
def test_an_array_that_is_damaged_inside_is_named(file, left_out, start):
    np.lib.format.write_array(whole := io.BytesIO(), np.ones((4, 2)), version=(2, 0))
    content = {None: b"\x93NUMPY\x01\x00", -9: b"no header"}.get(left_out) or whole.getvalue()[:-left_out]
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("README", "not an array")
        archive.writestr("x.npy", content)
    with pytest.raises(InputError, match=r"array 'x\.npy'"):
        list(open_source(file).batches(10, start=start))


@pytest.mark.parametrize("save_as", [np.savez, np.savez_compressed])
def test_a_file_that_was_changed_inside(file, save_as):
    save_as(file, x=np.random.default_rng(0).random((2000, 8)))
    changed = bytearray(file.read_bytes())
    changed[len(changed) // 2] ^= 0xFF
    file.write_bytes(changed)
    with pytest.raises(InputError, match=r"cannot be read as \.npz \(array 'x\.npy'\)"):
        list(open_source(file).batches(100))


@pytest.mark.parametrize("save_as", [np.savez, np.savez_compressed])
def test_reading_a_batch_does_not_read_the_array_whole(file, save_as):
    save_as(file, x=np.zeros((20_000, 128), np.float32))  # 10 MB
    array = open_npz(file)["x"]
    tracemalloc.start()
    try:
        assert sum(len(chunk) for chunk in array.chunks(100, 10_000)) == 10_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000
