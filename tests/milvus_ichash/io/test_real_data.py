"""The real data sets read as their README describes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from milvus_ichash.errors import InputError
from milvus_ichash.io import ColumnNames, Holdout, SourceInfo, find_duplicate_ids, open_source, open_splits

pytest.importorskip("scipy")

ORDER = Holdout(500, by="order")


@pytest.fixture
def fashion(shared_data: Path) -> Path:
    return shared_data / "fashion" / "fashion.npz"


@pytest.fixture
def openclipart(shared_data: Path) -> Path:
    return shared_data / "openclipart" / "features.npz"


@pytest.mark.parametrize(
    ("split", "rows", "labels"), [("query", 2_000, 3_871), ("train", 5_000, 9_652), ("retrieval", 17_857, 34_494)]
)
def test_fashion(fashion, split, rows, labels):
    source = open_source(fashion, split=split)
    info, names = source.info, source.info.label_names
    assert info == SourceInfo(fashion, rows, {"image": 1280, "text": 1000}, "int64", 43, names, ("text",))
    assert names[0] == "baseColour=Beige"
    table = source.read()
    assert (len(table), table.labels.sum(), table.present.all()) == (rows, labels, True)
    find_duplicate_ids(source)


def test_fashion_rows_are_those_of_numpy(fashion):
    splits = open_splits(fashion)
    query, train = splits["query"].read(), next(splits["train"].batches(300, start=1_000))
    with np.load(fashion) as data:
        np.testing.assert_equal(query.features, {"image": data["I_te"].astype(np.float32), "text": data["T_te"]})
        np.testing.assert_equal((query.ids, query.labels), (data["id_te"], data["L_te"]))
        assert query.payload["text"] == data["text_te"].tolist()
        assert train.ids.tolist() == data["id_db"][np.sort(data["train"])[1_000:1_300]].tolist()


def test_mfeat(shared_data):
    file = shared_data / "mfeat" / "mfeat.mat"
    for split, rows in (("train", 1_500), ("retrieval", 1_500), ("query", 500)):
        table = open_source(file, split=split).read()
        assert (len(table), table.dims) == (rows, {"image": 76, "text": 64, "p": 240})
        assert table.label_names == tuple(str(k) for k in range(1, 11))
        assert (table.labels.sum(axis=1) == 1).all()
    named = ColumnNames(modalities={"fourier": "I", "karhunen": "T", "pixels": "P"})
    assert open_source(file, columns=named).info.dims == {"fourier": 76, "karhunen": 64, "pixels": 240}


@pytest.mark.parametrize("name", [".", "mirflickr25k-yall.mat", "mirflickr25k-lall.mat"])
def test_mirflickr_has_text_only(shared_data, name):
    table = open_source(shared_data / "mirflickr25k" / name).read()
    assert (len(table), table.dims, table.labels.shape[1]) == (20_015, {"text": 1386}, 24)
    assert (round(table.labels.sum() / len(table), 2), table.present.all()) == (3.78, True)


def test_mirflickr_with_the_holdout_of_the_papers(shared_data):
    splits = open_splits(shared_data / "mirflickr25k", holdout=Holdout(queries=2_000, train=10_000, by="order"))
    order = np.random.default_rng(0).permutation(20_015)
    for split, rows in (("query", order[:2_000]), ("retrieval", order[2_000:]), ("train", order[2_000:12_000])):
        assert np.concatenate(list(splits[split].ids())).tolist() == np.sort(rows).tolist()


def test_openclipart_with_a_holdout_of_all_items(openclipart):
    splits, order = open_splits(openclipart, holdout=ORDER), np.random.default_rng(0).permutation(5_210)
    with np.load(openclipart) as data:
        for split, rows in (("query", np.sort(order[:500])), ("retrieval", np.sort(order[500:]))):
            table = splits[split].read()
            expected = (data[name][rows] for name in ("id", "words", "labels"))
            np.testing.assert_equal((table.ids, table.features["words"], table.labels), tuple(expected))
            assert table.dims == {"image": 1280, "words": 776}
            assert table.label_names == tuple(data["label_names"].tolist())


def test_openclipart_with_a_holdout_of_the_items_with_words(openclipart, tmp_path):
    with np.load(openclipart) as data:
        rows = np.flatnonzero(data["words"].sum(axis=1) > 0)
        ids, words = data["id"][rows], data["words"][rows]
    np.savez(tmp_path / "worded.npz", id=ids, words=words)
    query = open_source(tmp_path / "worded.npz", split="query", holdout=ORDER).read()
    assert query.ids.tolist() == ids[np.sort(np.random.default_rng(0).permutation(3_742)[:500])].tolist()


def test_openclipart_pictures_are_no_features_yet(openclipart):
    with pytest.raises(InputError, match=r"no column of feature vectors .* columns: id, image, title, tags, labels"):
        open_source(openclipart.with_name("openclipart.parquet"))


def test_openclipart_labels_and_words_as_parquet(openclipart, tmp_path):
    items = pq.ParquetFile(openclipart.with_name("openclipart.parquet")).read(columns=["id", "title", "tags", "labels"])
    with np.load(openclipart) as data:
        words, labels, names = data["words"], data["labels"], data["label_names"].tolist()
    column = pa.array([row if row.any() else None for row in words], pa.list_(pa.uint8()))
    pq.write_table(
        items.append_column("words", column).append_column("n", pa.array([[1.0]] * len(items))),
        tmp_path / "items.parquet",
    )
    table = open_source(tmp_path / "items.parquet").read()
    assert (~table.present[:, 0]).sum() == 1_468
    assert np.array_equal(table.features["words"][table.present[:, 0]], words[words.any(axis=1)])
    assert (table.label_names, set(table.payload)) == (tuple(sorted(names)), {"title", "tags"})
    assert np.array_equal(table.with_classes(names).labels, labels)
