"""Opening files, cutting splits out of one table, and finding duplicate ids."""

from __future__ import annotations

import sys
import tracemalloc
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_matrix
from support.array_files import save_h5, save_npz, save_v5, save_v73

from milvus_ichash.errors import BackendMissingError, InputError
from milvus_ichash.io import (
    FeatureSource,
    Holdout,
    SourceInfo,
    find_duplicate_ids,
    open_database,
    open_source,
    open_splits,
)
from milvus_ichash.io.label_rule import rule_for_arrays

ROWS = 50
SEED = next(seed for seed in range(99) if np.random.default_rng(seed).permutation(6)[0] == 0)
"""With this seed the first of six rows is the query of a holdout."""


@pytest.fixture
def file(tmp_path) -> Path:
    x = np.arange(ROWS * 2, dtype=np.float32).reshape(ROWS, 2)
    np.savez(tmp_path / "items.npz", x=x, n=np.arange(ROWS), labels=np.arange(ROWS) % 4)
    return tmp_path / "items.npz"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope.npz", r"no such file: .*nope\.npz"),
        *(
            (name, r"feature files are \.parquet, \.npz, \.h5, \.hdf5, \.mat")
            for name in ("items.csv", "items", "items.npy")
        ),
    ],
)
def test_a_file_that_is_not_there_or_of_no_known_ending(tmp_path, name, message):
    if name != "nope.npz":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / name)


def save_parquet(path: Path, *, x: np.ndarray) -> Path:
    pq.write_table(pa.table({"x": list(x)}), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


@pytest.mark.parametrize(
    ("save", "kind"),
    [(save_npz, r"\.npz"), (save_v5, "a MATLAB file"), (save_h5, "HDF5"), (save_parquet, "parquet")],
)
@pytest.mark.parametrize("part", [0, 0.5, None])
def test_a_file_that_is_not_what_its_ending_says(tmp_path, save, kind, part):
    file = save(tmp_path / "a", x=np.random.default_rng(0).random((500, 20)))
    whole, other = file.read_bytes(), b"something else, and longer than the header of any of these formats " * 10
    file.write_bytes(other if part is None else whole[: int(len(whole) * part)])
    with pytest.raises(InputError, match=rf"a\.\w+ (cannot be read as {kind}|is empty)"):
        open_source(file).read()


@pytest.mark.parametrize(
    ("save", "x", "module", "package"),
    [
        (save_h5, np.eye(4), "h5py", "h5py"),
        (save_v73, np.eye(4), "h5py", "h5py"),
        (save_v5, np.eye(4), "scipy.io", "scipy"),
        (save_v73, csc_matrix(np.eye(4)), "scipy.sparse", "scipy"),
    ],
)
def test_without_its_library_the_extra_is_named(tmp_path, monkeypatch, save, x, module, package):
    file = save(tmp_path / "a", x=x)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendMissingError, match=rf"needs {package}: pip install 'milvus-ichash\[files\]'"):
        open_source(file)


def test_a_path_may_be_a_string(file):
    assert open_source(str(file)).info.rows == ROWS


def test_a_holdout_is_the_permutation_that_the_data_sets_describe(file):
    order = np.random.default_rng(3).permutation(ROWS)
    holdout = Holdout(queries=10, seed=3, train=15, by="order")
    expected = {"query": order[:10], "retrieval": order[10:], "train": order[10:25], "all": order}
    splits = open_splits(file, holdout=holdout)
    assert splits.keys() == expected.keys()
    for split, rows in expected.items():
        source = splits[split]
        assert source.info.rows == len(rows)
        table, in_order = source.read(), np.sort(rows)
        assert table.ids.tolist() == in_order.tolist(), "in the file's order, numbered as in the file"
        found = table.features["x"][:, 0], table.payload["n"], table.labels, np.concatenate(list(source.ids()))
        np.testing.assert_equal(found, (2 * in_order, in_order.tolist(), np.eye(4)[in_order % 4], in_order))


@pytest.mark.parametrize("text", [False, True])
def test_a_holdout_by_id_does_not_depend_on_the_order_of_the_rows(tmp_path, text):
    ids = np.array([f"ä{i}" for i in range(ROWS)]) if text else np.arange(ROWS)
    by_hash = sorted(ids.tolist(), key=lambda key: sha256(str(key).encode()).digest())
    for seed in range(3):
        rows = np.random.default_rng(seed).permutation(ROWS)
        splits = open_splits(with_ids(tmp_path, ids[rows]), holdout=Holdout(10, train=15))
        found = {split: source.read().ids.tolist() for split, source in splits.items()}
        for split, expected in (("query", by_hash[:10]), ("retrieval", by_hash[10:]), ("train", by_hash[10:25])):
            assert sorted(found[split]) == sorted(expected)
            assert found[split] == [key for key in ids[rows].tolist() if key in expected], "in the file's order"
    more = np.concatenate([ids, [f"new{i}" for i in range(9)]]) if text else np.arange(ROWS + 9)
    grown = open_source(with_ids(tmp_path, more), split="query", holdout=10).read().ids.tolist()
    assert set(grown) & set(ids.tolist()) <= set(by_hash[:10]), "no item of before becomes a query"


def test_without_ids_the_numbers_of_the_rows_are_hashed(file):
    expected = sorted(sorted(range(ROWS), key=lambda row: sha256(str(row).encode()).digest())[:10])
    assert open_source(file, split="query", holdout=10).read().ids.tolist() == expected


def test_without_a_number_all_of_the_retrieval_split_trains(file):
    splits = open_splits(file, holdout=5)
    assert splits["retrieval"].read().ids.tolist() == splits["train"].read().ids.tolist()


def test_a_file_is_opened_once_for_queries_and_database(file, monkeypatch):
    scans = []
    monkeypatch.setattr(
        "milvus_ichash.io.array_roles.rule_for_arrays", lambda *given: scans.append(given) or rule_for_arrays(*given)
    )
    splits = open_splits(file, holdout=10)
    queries, database = splits.choose(None, "query"), open_database(splits, file)
    assert len(scans) == 1, "the label column is looked through once"
    assert not set(queries.read().ids) & set(database.read().ids)
    assert queries.info.rows + database.info.rows == ROWS


def test_which_split_is_chosen(file):
    whole, splits = open_splits(file), open_splits(file, holdout=10)
    assert whole.choose(None, "query") is whole["all"], "all rows of a file without splits"
    assert splits.choose(None, "train", "retrieval") is splits["train"]
    assert splits.choose("all", "query") is splits["all"]
    del splits["train"]
    assert splits.choose(None, "train", "retrieval") is splits["retrieval"], "the first that the file has"
    with pytest.raises(InputError, match=r"has no 'train' split; it has: query, retrieval"):
        splits.choose(None, "train")


def test_the_database_is_another_file_or_other_rows(file, tmp_path):
    queries, other = open_splits(file), with_ids(tmp_path, np.arange(7))
    assert open_database(queries, other).info.rows == 7
    with pytest.raises(InputError, match="would be queries and database at once"):
        open_database(queries)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(queries=st.integers(1, ROWS - 1), seed=st.integers(0, 9), size=st.integers(1, 60), start=st.integers(0, 60))
def test_batches_of_a_holdout(file, queries, seed, size, start):
    rows = np.sort(np.random.default_rng(seed).permutation(ROWS)[:queries])
    batches = list(
        open_source(file, split="query", holdout=Holdout(queries, seed, by="order")).batches(size, start=start)
    )
    found = [(batch.first_row, batch.ids.tolist()) for batch in batches]
    assert found == [(k, rows[k : k + size].tolist()) for k in range(start, queries, size)]


@pytest.mark.parametrize(
    ("split", "holdout", "message"),
    [
        *(
            (split, None, rf"one table without splits, so there is no '{split}' split.*--holdout N")
            for split in ("query", "retrieval", "train")
        ),
        ("query", Holdout(0), "from 1 to 49 of them as queries, not 0"),
        ("query", Holdout(50), "not 50"),
        ("query", Holdout(-1), "not -1"),
        ("query", Holdout(10, train=41), "40 rows are left for retrieval; 41"),
        ("query", Holdout(10, seed=1), "by id has no seed, and 1 was given"),
        ("query", Holdout(10, train=0), "40 rows are left for retrieval; 0"),
    ],
)
def test_splits_of_one_table_that_cannot_be_had(file, split, holdout, message):
    with pytest.raises(InputError, match=message):
        open_source(file, split=split, holdout=holdout)


def with_ids(folder: Path, ids: np.ndarray) -> Path:
    return save_npz(folder / "ids", id=ids, x=np.ones((len(ids), 1)))


MANY = np.where(np.arange(70_000) == 66_000, 123, np.arange(70_000))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (MANY, r"ids\.npz: the id 123 is in row 123 and again in row 66000; every"),
        (MANY.astype(np.str_), r"ids\.npz: the id '123' is in row 123 and again in row 66000; every"),
        (np.array(["a", "b", "a", "a"]), r"row 0 and again in row 2 \(3 times in all\)"),
    ],
)
def test_duplicate_ids_are_named_with_both_rows(tmp_path, ids, message):
    with pytest.raises(InputError, match=message):
        find_duplicate_ids(open_source(with_ids(tmp_path, ids)))


@pytest.mark.parametrize("ids", [np.arange(5), np.array(["a", "A", "é", "e", " a"]), np.array(["only"])])
def test_different_ids_pass(tmp_path, ids):
    find_duplicate_ids(open_source(with_ids(tmp_path, ids)))


def test_duplicates_are_looked_for_in_the_split_alone(tmp_path):
    splits = open_splits(with_ids(tmp_path, np.array([1, 1, 2, 3, 4, 5])), holdout=Holdout(1, seed=SEED, by="order"))
    with pytest.raises(InputError, match="the id 1 is in row 0"):
        find_duplicate_ids(splits["all"])
    find_duplicate_ids(splits["retrieval"])


class ManyIds(FeatureSource):
    """Long string ids, made a thousand at a time."""

    def __init__(self, rows: int) -> None:
        self.info = SourceInfo(Path("many"), rows, {"x": 1}, "str", None, None, ())

    def ids(self):
        for first in range(0, self.info.rows, 1000):
            yield np.array(
                [f"a rather long id of an item, number {k}" for k in range(first, first + 1000)], dtype=object
            )

    def pieces(self, size, start):
        raise NotImplementedError


def test_looking_for_duplicates_takes_little_memory_a_row():
    rows = 100_000
    tracemalloc.start()
    try:
        find_duplicate_ids(ManyIds(rows))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # 16 bytes of hash and one of comparison a row, beside the strings of one batch; a set of the strings takes 14 MB.
    assert peak < 17 * rows + 1_000_000
