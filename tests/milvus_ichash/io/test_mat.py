"""MATLAB files: v5 through scipy, v7.3 through h5py, written here as MATLAB writes them (axes reversed)."""

from __future__ import annotations

import numpy as np
import pytest
from support.array_files import save_v5, save_v73

from milvus_ichash.errors import InputError
from milvus_ichash.io import ColumnNames, SourceInfo, open_source

pytest.importorskip("h5py")
scipy_sparse = pytest.importorskip("scipy.sparse")

RNG = np.random.default_rng(0)
IMAGE = RNG.random((8, 4)).astype(np.float32)
WORDS = (RNG.random((8, 6)) < 0.4).astype(np.float64)
LABELS = (RNG.random((8, 3)) < 0.5).astype(np.uint8)


SAVE = pytest.mark.parametrize("save", [save_v5, save_v73])


@SAVE
def test_a_table(tmp_path, save):
    file = save(
        tmp_path / "a.mat",
        image=IMAGE,
        words=WORDS,
        labels=LABELS,
        id=np.arange(10.0, 18.0),
        year=np.arange(8.0),
    )
    source = open_source(file)
    assert source.info == SourceInfo(file, 8, {"image": 4, "words": 6}, "int64", 3, None, ("year",))
    for table in (source.read(), *[t.rows(0, 8) for t in source.batches(8)]):
        expected = np.arange(10, 18), {"image": IMAGE, "words": WORDS}, LABELS
        np.testing.assert_equal((table.ids, table.features, table.labels), expected)
    assert [len(batch) for batch in source.batches(3, start=1)] == [3, 3, 1]


@SAVE
def test_sparse_matrices_are_written_out(tmp_path, save):
    file = save(
        tmp_path / "a.mat",
        image=IMAGE,
        words=scipy_sparse.csc_matrix(WORDS),
        labels=scipy_sparse.csc_matrix(LABELS.astype(float)),
    )
    source = open_source(file)
    rows = np.concatenate([batch.features["words"] for batch in source.batches(3)])
    expected = {"image": 4, "words": 6}, WORDS, LABELS
    np.testing.assert_equal((source.info.dims, rows, source.read().labels), expected)


@SAVE
def test_sparse_matrices_on_their_side(tmp_path, save):
    file = save(tmp_path / "a.mat", image=IMAGE, words=scipy_sparse.csc_matrix(WORDS.T), labels=LABELS)
    assert np.array_equal(open_source(file).read().features["words"], WORDS)


def test_a_v73_file_that_was_not_transposed_is_read_right(tmp_path):
    file = save_v73(tmp_path / "a.mat", image=IMAGE.T, words=WORDS.T, labels=LABELS.T)
    table = open_source(file).read()
    np.testing.assert_equal((table.features["image"], table.labels), (IMAGE, LABELS))


@SAVE
def test_one_modality_alone_follows_the_format(tmp_path, save):
    assert open_source(save(tmp_path / "a.mat", x=IMAGE)).info.rows == 8


@SAVE
def test_strings_are_no_features(tmp_path, save):
    assert open_source(save(tmp_path / "a.mat", image=IMAGE, comment="made by hand")).info.dims == {"image": 4}


def test_strings_and_cells_of_v5(tmp_path):
    names = np.array(["ant", "bee", "cow"], object)
    mixed = np.empty(8, object)
    mixed[:] = [np.ones(2)] * 8
    ids = np.array([f"item{'s' * k}" for k in range(8)])
    file = save_v5(tmp_path / "a.mat", image=IMAGE, labels=LABELS, label_names=names, id=ids, mixed=mixed)
    source = open_source(file)
    assert source.info == SourceInfo(file, 8, {"image": 4}, "str", 3, ("ant", "bee", "cow"), payload=())
    assert source.read().ids.tolist() == ids.tolist()


@pytest.mark.parametrize("shape", [(1, 8), (8, 1)], ids=["row", "column"])
def test_one_label_per_item_as_matlab_stores_it(tmp_path, shape):
    labels = np.array([1.0, 2, 3, 1, 2, 3, 1, 10])
    table = open_source(save_v5(tmp_path / "a.mat", image=IMAGE, labels=labels.reshape(shape))).read()
    np.testing.assert_equal(table.labels, np.eye(10)[labels.astype(int) - 1])


def test_nan_names_the_row(tmp_path):
    x = np.where(np.arange(32).reshape(8, 4) == 21, np.nan, IMAGE)
    with pytest.raises(InputError, match="row 5 has NaN"):
        open_source(save_v5(tmp_path / "a.mat", x=x), columns=ColumnNames()).read()
