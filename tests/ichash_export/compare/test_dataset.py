"""The data of a grid: splits, gaps that are rows of zeros, complete items only, and what identifies them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.grids import data_file, write_splits
from support.tiny import make_table, write_npz

from ichash_export.compare.dataset import DataFile
from milvus_ichash.errors import InputError
from milvus_ichash.io import ColumnNames, Holdout


def emptied(folder: Path, *, rows: int, no_text: Sequence[int], no_image: Sequence[int]) -> Path:
    """Write one table without splits, where some rows have text that is all zeros, and some have no image."""
    table = make_table(rows, missing=0.0)
    table.features["text"][no_text] = 0
    table.features["image"][no_image] = np.nan
    return write_npz(folder / "items.npz", table)


table_of_60 = partial(emptied, rows=60, no_text=[5, 7], no_image=[9])
without_item_4 = partial(emptied, rows=30, no_text=[4], no_image=[4])
without_text = partial(emptied, rows=30, no_text=range(30), no_image=[])


def without_labels(folder: Path) -> Path:
    """9 items that are nothing but images."""
    np.savez(folder / "bare.npz", image=np.ones((9, 3), np.float32))
    return folder / "bare.npz"


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table_of_60(tmp_path_factory.mktemp("data"))


def test_the_splits_of_a_file(tmp_path: Path) -> None:
    data = data_file(write_splits(tmp_path / "split.npz")).read()
    assert (data.name, len(data.train), len(data.query), len(data.retrieval)) == ("split", 120, 40, 160)
    np.testing.assert_array_equal(data.train.features["image"], data.retrieval.features["image"][:120])
    assert data.train.label_names == tuple(f"class {i}" for i in range(4))


def test_openclipart_items_with_words_are_split_as_its_readme_says(shared_data: Path) -> None:
    path = shared_data / "openclipart" / "features.npz"
    columns = ColumnNames({"image": "image", "text": "words"})
    data = DataFile(
        path, "openclipart", columns, holdout=Holdout(500, by="order"), zeros_missing=("text",), complete_only=True
    ).read()
    file = np.load(path)
    there = np.flatnonzero(file["words"].sum(1) > 0)
    assert len(there) == 3742
    order = there[np.random.default_rng(0).permutation(3742)]
    for table, rows in ((data.query, order[:500]), (data.retrieval, order[500:]), (data.train, order[500:])):
        rows = np.sort(rows)
        assert table.ids.tolist() == file["id"][rows].tolist()
        np.testing.assert_array_equal(table.features["text"], file["words"][rows])
        np.testing.assert_array_equal(table.labels, file["labels"][rows])
        assert table.present.all()


def test_rows_of_zeros_are_missing_where_that_is_said(items: Path) -> None:
    file = DataFile(items, "items", ColumnNames(), holdout=20)
    plain, marked = file.read(), replace(file, zeros_missing=("text",)).read()
    assert sorted(plain.query.ids.tolist()) == sorted(marked.query.ids.tolist())
    for table in (marked.query, marked.retrieval):
        lacking = table.ids[~table.present[:, table.modalities.index("text")]].tolist()
        assert lacking == [i for i in table.ids.tolist() if i in (5, 7)]
    assert plain.query.present[:, 1].all() and plain.retrieval.present[:, 1].all()


def test_complete_items_are_chosen_before_the_cut(items: Path) -> None:
    data = DataFile(items, "items", ColumnNames(), Holdout(20, by="order"), ("text",), complete_only=True).read()
    left = [i for i in range(60) if i not in (5, 7, 9)]
    order = np.random.default_rng(0).permutation(57)
    assert data.query.ids.tolist() == [left[i] for i in sorted(order[:20])]
    assert data.retrieval.ids.tolist() == data.train.ids.tolist() == [left[i] for i in sorted(order[20:])]


def test_an_item_that_is_left_without_any_modality_is_no_complete_item(tmp_path: Path) -> None:
    data = DataFile(without_item_4(tmp_path), "items", ColumnNames(), 10, ("text",), complete_only=True).read()
    assert len(data.retrieval) == 19


def test_digests_tell_the_split_that_changed(items: Path) -> None:
    data = DataFile(items, "items", ColumnNames(), holdout=20).read()
    before = data.digests()
    assert before == DataFile(items, "another name", ColumnNames(), holdout=20).read().digests()
    data.query.labels[0] = 1 - data.query.labels[0]
    after = data.digests()
    assert {split for split in before if before[split] != after[split]} == {"query"}
    assert all(len(digest) == 16 for digest in before.values())


@pytest.mark.parametrize(
    ("write", "options", "message"),
    [
        (table_of_60, {}, "is one table without splits"),
        (
            table_of_60,
            {"holdout": 20, "zeros_missing": ("sound",)},
            "--zeros-missing sound: there is no such modality; there are: image, text",
        ),
        (table_of_60, {"holdout": 60}, "a holdout takes from 1 to 59"),
        (without_labels, {"holdout": 3}, "has no labels"),
        (
            lambda folder: write_splits(folder / "split.npz"),
            {"holdout": 3, "columns": ColumnNames({"image": "I", "text": "T"})},
            "has splits of its own",
        ),
        (without_item_4, {"holdout": 10, "zeros_missing": ("text",)}, "row 4 has no modality at all"),
        (
            without_text,
            {"holdout": 10, "zeros_missing": ("text",), "complete_only": True},
            "no item has all of image, text",
        ),
    ],
    ids=[
        *("no splits", "an unknown modality", "a holdout of all", "no labels", "splits and a holdout"),
        *("an item without any modality", "no complete item"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, write: Callable[[Path], Path], options: dict, message: str) -> None:
    file = DataFile(write(tmp_path), "items", **{"columns": ColumnNames(), **options})
    with pytest.raises(InputError, match=message):
        file.read()


def test_held_out_training_items_take_the_place_of_the_queries(tmp_path: Path) -> None:
    file = data_file(write_splits(tmp_path / "split.npz"))
    data, tuned = file.read(), replace(file, queries_from_train=30).read()
    queries = set(tuned.query.ids.tolist())
    assert (tuned.name, len(tuned.query), len(tuned.train), len(tuned.retrieval)) == (
        "split, 30 queries from train",
        30,
        90,
        130,
    )
    assert queries <= set(data.train.ids.tolist())
    assert queries.isdisjoint(tuned.train.ids.tolist()) and queries.isdisjoint(tuned.retrieval.ids.tolist())
    assert queries.isdisjoint(data.query.ids.tolist())
    assert replace(file, queries_from_train=30).read().digests() == tuned.digests() != data.digests()
    for number in (119, 500):
        with pytest.raises(InputError, match=f"--queries-from-train {number}: there are 120 training items"):
            replace(file, queries_from_train=number).read()
