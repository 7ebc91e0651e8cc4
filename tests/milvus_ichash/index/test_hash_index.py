from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.searches import Pairs, found, search_at_once

from milvus_ichash.bundle import Manifest
from milvus_ichash.codes import hamming_distance
from milvus_ichash.errors import InputError, MismatchError
from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.index_spec import IndexSpec
from milvus_ichash.settings import MilvusSettings

N = 300


class Items:
    """Items with codes of 16 bits, so that many are at the same distance."""

    def __init__(self, n: int = N) -> None:
        rng = np.random.default_rng(0)
        self.ids = np.array([f"item-{i:05d}" for i in rng.permutation(n)], object)
        self.codes = rng.integers(0, 256, (n, 2), np.uint8)
        self.present = rng.random((n, 2)) < 0.7
        self.present[~self.present.any(axis=1), 0] = True
        self.labels = [[f"kind {i % 5}", 'größe \\ "7"'] if i % 3 else None for i in range(n)]
        self.payload = {"title": [f"title {i}" for i in range(n)], "odd name": [None if i % 2 else i for i in range(n)]}

    def into(self, index: HashIndex) -> HashIndex:
        index.upsert(self.ids, {"code": self.codes}, self.present, self.labels, self.payload)
        return index


@pytest.fixture(scope="module")
def items() -> Items:
    return Items()


@pytest.fixture(scope="module")
def index(connection: Connection, fused: Manifest, items: Items) -> HashIndex:
    return items.into(HashIndex.create(connection, "items", fused))


def nearest(items: Items, query: np.ndarray, rows: np.ndarray | slice = slice(None)) -> Pairs:
    """(distance, id) of these rows, by brute force."""
    distances = hamming_distance(query[None], items.codes[rows])[0]
    return sorted(zip(distances.tolist(), items.ids[rows].tolist(), strict=True))


def test_what_goes_in_is_read_back(index: HashIndex, items: Items) -> None:
    back, order = index.read_back(), np.argsort(items.ids)
    expected = items.ids[order], {"code": items.codes[order]}, items.present[order]
    np.testing.assert_equal((back.ids, back.codes, back.present), expected)
    assert back.labels == [items.labels[i] for i in order]
    some = index.read_back(codes=(), filter="has_text == false")
    assert (some.codes, some.ids.tolist()) == ({}, sorted(items.ids[~items.present[:, 1]]))


def test_search_is_sorted_by_distance_then_id(index: HashIndex, items: Items) -> None:
    hits = index.search(items.codes[:20], top_k=N)
    assert (hits.ids.shape, hits.distances.shape, hits.distances.dtype) == ((20, N), (20, N), np.int32)
    assert found(hits) == [nearest(items, query) for query in items.codes[:20]]


def test_top_k_has_the_smallest_distances(index: HashIndex, items: Items) -> None:
    """Which of the items at the last distance are taken is left open."""
    for query, pairs in zip(items.codes, found(index.search(items.codes[:20], top_k=7)), strict=False):
        expected = nearest(items, query)
        assert [distance for distance, _ in pairs] == [distance for distance, _ in expected[:7]]
        assert pairs == sorted(set(expected) & set(pairs))


@pytest.mark.parametrize("radius", [0, 1, 3, 16])
def test_radius_includes_its_distance(radius: int, index: HashIndex, items: Items) -> None:
    hits = index.search(items.codes[:10], top_k=N, radius=radius)
    assert found(hits) == [[p for p in nearest(items, query) if p[0] <= radius] for query in items.codes[:10]]
    beyond = np.arange(N) >= hits.counts[:, None]
    assert {*zip(hits.distances[beyond].tolist(), hits.ids[beyond].tolist(), strict=True)} <= {(-1, None)}


def test_radius_and_top_k_give_the_nearest(index: HashIndex, items: Items) -> None:
    hits = index.search(items.codes[:10], top_k=3, radius=8)
    assert hits.distances.tolist() == [[d for d, _ in nearest(items, query)[:3]] for query in items.codes[:10]]


def test_filter(index: HashIndex, items: Items) -> None:
    rows = np.flatnonzero(~items.present[:, 1])
    hits = index.search(items.codes[:3], top_k=N, filter="has_text == false")
    assert found(hits) == [nearest(items, query, rows) for query in items.codes[:3]]
    assert index.count("has_text == false") == len(rows)
    assert index.count('array_contains(labels, "kind 3")') == sum(
        labels is not None and "kind 3" in labels for labels in items.labels
    )


def test_searches_under_way_at_once_find_what_one_after_the_other_finds(index: HashIndex, items: Items) -> None:
    queries = [items.codes[q : q + 2] for q in range(0, 20, 2)]
    options: Any = {"top_k": 20, "radius": 5, "output_fields": ["title"]}

    for _ in range(2):  # each time in an event loop of its own
        for codes, hits in zip(queries, search_at_once(index, queries, **options), strict=True):
            expected = index.search(codes, **options)
            assert expected.counts.min() >= 1
            assert (found(hits), hits.fields) == (found(expected), expected.fields)
    with pytest.raises(InputError, match="names 'colour'"):
        search_at_once(index, queries, filter="colour == 'red'")


def test_output_fields(index: HashIndex, items: Items) -> None:
    stored = {**items.payload, "has_text": items.present[:, 1], "labels": items.labels}
    rows = {
        key: {name: values[i] for name, values in stored.items() if name != "labels" or values[i] is not None}
        for i, key in enumerate(items.ids)
    }
    hits = index.search(items.codes[:2], top_k=30, output_fields=[*stored, "nothing"])
    assert hits.fields == [[rows[key] for key in ids] for ids in hits.ids]
    everything = index.search(items.codes[:1], top_k=1, output_fields=["*"]).fields[0][0]
    assert set(everything) - {"labels"} == {"title", "odd name"}
    assert index.search(items.codes[:1], top_k=2).fields == [[{}, {}]]


def test_no_query_and_no_row(
    index: HashIndex, connection: Connection, fused: Manifest, name: Callable[[], str]
) -> None:
    assert index.search(np.zeros((0, 2), np.uint8)).ids.shape == (0, 10)
    assert list(index.rank_all(np.zeros((0, 2), np.uint8))) == []
    empty = HashIndex.create(connection, name(), fused)
    assert empty.search(np.zeros((1, 2), np.uint8)).counts.tolist() == [0]
    assert [len(column) for column in next(empty.rank_all(np.zeros((1, 2), np.uint8)))] == [0, 0]
    back = empty.read_back()
    assert (back.codes["code"].shape, back.labels) == ((0, 2), None)
    assert empty.upsert([], {"code": np.zeros((0, 2), np.uint8)}, np.zeros((0, 2), bool)) == 0
    assert (empty.existing([]), empty.count()) == (set(), 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"top_k": 0}, "1 to 16384"),
        ({"top_k": 16_385}, "1 to 16384"),
        ({"radius": -1}, "from 0 to 16"),
        ({"radius": 17}, "from 0 to 16"),
        ({"radius": 2.5}, "whole numbers"),
        ({"code": "nope"}, "no code 'nope'"),
        ({"output_fields": ["code"]}, "cannot be an output field"),
        ({"filter": "has_text =="}, "the filter `has_text ==` cannot be used"),
        ({"filter": "title == 3 and (", "top_k": 1}, "There are the fields id, has_image, has_text, title"),
        ({"filter": "colour == 'red'"}, "names 'colour', which no item has"),
        ({"codes": np.zeros((1, 2), np.float32)}, "uint8"),
    ],
)
def test_arguments_of_a_search_that_cannot_be_used(arguments: dict[str, Any], says: str, index: HashIndex) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        index.search(**{"codes": np.zeros((1, 2), np.uint8), **arguments})


def test_arguments_at_their_ends(index: HashIndex) -> None:
    query = np.zeros((1, 2), np.uint8)
    with pytest.raises(TypeError, match="topk"):
        index.search(query, topk=3)
    assert index.search(query, top_k=16_384).counts.tolist() == [N]
    assert index.search(query, filter="title == 'none such'").counts.tolist() == [0]
    with pytest.raises(InputError, match="names 'colour'"):
        list(index.rank_all(query, filter="colour == 'red'"))
    with pytest.raises(InputError, match="cannot be used"):
        index.read_back(filter="(")


def test_upsert_replaces_by_id(connection: Connection, fused: Manifest, name: Callable[[], str]) -> None:
    index, items = HashIndex.create(connection, name(), fused), Items(50)
    for _ in range(2):
        items.into(index)
    assert index.count() == 50
    index.upsert(items.ids[:3], {"code": 255 - items.codes[:3]}, items.present[:3])
    back, order = index.read_back(), np.argsort(items.ids)
    assert np.array_equal(back.codes["code"], np.concatenate([255 - items.codes[:3], items.codes[3:]])[order])
    assert index.count() == 50


def test_refused_batches_write_nothing(connection: Connection, fused: Manifest, collection: str) -> None:
    index, items = HashIndex.create(connection, collection, fused), Items(5)
    twice = np.array([*items.ids[:4], items.ids[0]], object)
    for ids, codes in ((twice, items.codes), (items.ids, items.codes[:, :1]), (items.ids, items.codes.astype(float))):
        with pytest.raises(InputError):
            index.upsert(ids, {"code": codes}, items.present)
    assert index.count() == 0


def test_more_rows_than_one_call_takes(connection: Connection, fused: Manifest, name: Callable[[], str]) -> None:
    index = HashIndex.create(connection, name(), fused, id_kind="int64")
    n = 10_500
    assert index.upsert(np.arange(n), {"code": np.zeros((n, 2), np.uint8)}, np.ones((n, 2), bool)) == n
    assert index.count() == n
    assert index.existing(np.arange(n - 5000, n + 100)) == set(range(n - 5000, n))


def test_the_bundle_that_made_it(index: HashIndex, fused: Manifest, cross: Manifest, connection: Connection) -> None:
    index.check(fused)
    with pytest.raises(MismatchError, match=f"{fused.fingerprint}.*{cross.fingerprint}"):
        index.check(cross)
    again = HashIndex.open(connection, "items")
    assert (again.description, again.id_kind, again.spec) == (index.description, "str", index.spec)
    assert (again.fingerprint, again.method, again.bits) == (fused.fingerprint, "linear", 16)
    assert again.label_names == ("fruit", "car")
    assert (again.codes, again.modalities) == (("code",), ("image", "text"))


def test_a_name_that_is_taken(connection: Connection, fused: Manifest, cross: Manifest, collection: str) -> None:
    Items(5).into(HashIndex.create(connection, collection, fused))
    with pytest.raises(InputError, match="is there already"):
        HashIndex.create(connection, collection, cross)
    assert HashIndex.open(connection, collection).count() == 5
    index = HashIndex.create(connection, collection, cross, recreate=True, codes=["text_code"])
    assert (index.count(), index.codes, index.fingerprint) == (0, ("text_code",), cross.fingerprint)


def test_several_codes(connection: Connection, cross: Manifest, items: Items, name: Callable[[], str]) -> None:
    index = HashIndex.create(connection, name(), cross)
    index.upsert(items.ids, {"image_code": items.codes, "text_code": 255 - items.codes}, items.present)
    query = items.codes[:1]
    assert index.search(query, code="image_code", top_k=1).distances.tolist() == [[0]]
    assert index.search(query, code="text_code", top_k=N).distances.max() == 16
    with pytest.raises(InputError, match="holds several codes, choose one: image_code, text_code"):
        index.search(query)
    read = [set(index.read_back(codes).codes) for codes in (None, ["text_code"])]
    assert read == [{"image_code", "text_code"}, {"text_code"}]


def test_summary(index: HashIndex, items: Items, fused: Manifest) -> None:
    missing = (~items.present).sum(axis=0).tolist()
    assert {
        "rows": N,
        "missing": dict(zip(("image", "text"), missing, strict=True)),
        "codes": {"code": "fused"},
        "code bytes": N * 2,
        "index": {"code": {"index_type": "BIN_FLAT", "metric_type": "HAMMING", "state": "Finished"}},
        "fingerprint": fused.fingerprint,
    }.items() <= index.summary().items()


def test_a_plain_search_finds_the_same(index: HashIndex, items: Items) -> None:
    found = index.plain_search(items.codes[:3], top_k=7, filter="has_text == false")
    hits = index.search(items.codes[:3], top_k=7, filter="has_text == false")
    assert [[hit["distance"] for hit in row] for row in found] == hits.distances.tolist()
    with pytest.raises(InputError, match="1 to 16384"):
        index.plain_search(items.codes[:1], top_k=0)


def test_bin_flat_has_no_rows_without_index(index: HashIndex) -> None:
    assert (index.rows_without_index(), [*index.index_states()]) == (0, ["code"])
    index.check_top_k(16_384)
    with pytest.raises(InputError, match="1 to 16384"):
        index.check_top_k(16_385)


def test_rows_outlive_the_connection(fused: Manifest, tmp_path: Path) -> None:
    settings, items = MilvusSettings(uri=str(tmp_path / "x.db")), Items(40)
    with connect(settings) as connection:
        items.into(HashIndex.create(connection, "kept", fused))
    with connect(settings) as connection:
        index = HashIndex.open(connection, "kept")
        hits = index.search(items.codes[:1], top_k=N, output_fields=["title"])
    assert found(hits) == [nearest(items, items.codes[0])], "all 40 rows"
    assert all(row["title"].startswith("title") for row in hits.fields[0])


def test_ensure_makes_a_collection_once(
    connection: Connection, fused: Manifest, cross: Manifest, name: Callable[[], str]
) -> None:
    collection = name()
    made = HashIndex.ensure(connection, collection, fused)
    made.upsert(["a"], {"code": np.zeros((1, 2), np.uint8)}, np.ones((1, 2), bool))
    found = HashIndex.ensure(connection, collection, fused, codes=["code"], bits=16, index=IndexSpec())
    assert (found.count(), found.spec) == (1, IndexSpec())
    for error, manifest, options, says in (
        (MismatchError, cross, {}, "holds codes of the bundle"),
        (InputError, fused, {"id_kind": "int64"}, "ids of type int64"),
        (InputError, fused, {"index": IndexSpec(kind="BIN_IVF_FLAT", nlist=8)}, "has the index BIN_FLAT, not BIN_IVF"),
    ):
        with pytest.raises(error, match=says):
            HashIndex.ensure(connection, collection, manifest, **options)
    assert HashIndex.open(connection, collection).count() == 1


def test_ensure_opens_what_another_made_in_the_same_moment(
    connection: Connection, fused: Manifest, cross: Manifest, collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is faster between the look whether it is there, and the making."""
    looks, exists = [], HashIndex.exists

    def not_at_first(connection: Connection, collection: str) -> bool:
        looks.append(collection)
        if len(looks) == 1:
            HashIndex.create(connection, collection, fused)
            return False
        return exists(connection, collection)

    monkeypatch.setattr(HashIndex, "exists", staticmethod(not_at_first))
    HashIndex.ensure(connection, collection, fused)
    assert len(looks) > 2
    looks.clear()
    connection.client.drop_collection(collection)
    with pytest.raises(MismatchError, match="holds codes of the bundle"):
        HashIndex.ensure(connection, collection, cross)
