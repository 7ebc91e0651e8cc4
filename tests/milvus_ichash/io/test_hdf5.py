"""HDF5 files: data sets as arrays, strings, orientation, the missing extra."""

from __future__ import annotations

import numpy as np
import pytest
from support.array_files import save_h5

from milvus_ichash.errors import InputError
from milvus_ichash.io import ColumnNames, SourceInfo, open_source

h5py = pytest.importorskip("h5py")


RNG = np.random.default_rng(0)
IMAGE, TEXT, LABELS = RNG.random((9, 4)), RNG.random((9, 6)).astype(np.float32), RNG.integers(0, 2, (9, 3))


@pytest.mark.parametrize("ending", ["h5", "hdf5", "H5"])
def test_a_table_in_batches(tmp_path, ending):
    file = save_h5(
        tmp_path / f"a.{ending}",
        image=IMAGE,
        text=TEXT,
        labels=LABELS,
        id=[f"é{k}" for k in range(9)],
        title=[b"t"] * 9,
    )
    source = open_source(file)
    assert source.info == SourceInfo(file, 9, {"image": 4, "text": 6}, "str", 3, None, ("title",))
    batches = list(source.batches(4, start=2))
    expected = [
        (["é2", "é3", "é4", "é5"], IMAGE[2:6].astype(np.float32), LABELS[2:6], ["t"] * 4),
        (["é6", "é7", "é8"], IMAGE[6:].astype(np.float32), LABELS[6:], ["t"] * 3),
    ]
    np.testing.assert_equal([(b.ids, b.features["image"], b.labels, b.payload["title"]) for b in batches], expected)


def test_matrices_on_their_side_are_turned_where_the_number_of_items_says_so(tmp_path):
    table = open_source(save_h5(tmp_path / "a.h5", image=IMAGE.T, text=TEXT, labels=LABELS.T)).read()
    np.testing.assert_equal(table.features, {"image": IMAGE.astype(np.float32), "text": TEXT})
    np.testing.assert_equal(table.labels, LABELS)


def test_matrices_without_a_common_number_of_items(tmp_path):
    file = save_h5(tmp_path / "a.h5", image=np.ones((9, 4)), text=np.ones((8, 6)))
    with pytest.raises(InputError, match=r"image \(9, 4\), text \(8, 6\)"):
        open_source(file)


def test_what_is_no_array_of_numbers_or_strings_is_left_out(tmp_path):
    file = save_h5(tmp_path / "a.h5", x=IMAGE, scalar=3.0)
    with h5py.File(file, "a") as h5:
        h5.create_group("group")["inner"] = np.ones((9, 2))
        ragged = h5.create_dataset("ragged", (9,), h5py.vlen_dtype(np.int32))
        ragged[0] = [1, 2, 3]
    assert open_source(file).info == SourceInfo(file, 9, {"x": 4}, "int64", None, None, payload=(), numbered=True)
    with pytest.raises(InputError, match="labels are of a kind that cannot be read"):
        open_source(file, columns=ColumnNames(labels="ragged"))
