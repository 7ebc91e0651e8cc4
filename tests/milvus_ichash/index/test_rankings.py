from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from support import searches

from milvus_ichash.bundle import Manifest
from milvus_ichash.codes import hamming_distance
from milvus_ichash.errors import InputError, MilvusError
from milvus_ichash.index import rankings
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.search_request import LIMIT, SearchRequest
from milvus_ichash.index.stored_rows import check_count

N = 20_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["str", "int64"])
def test_complete_rankings_beyond_the_limit(
    kind: Literal["str", "int64"], connection: Connection, fused: Manifest
) -> None:
    """More rows than one search gives, ids with gaps, thousands of rows at one distance: exact, ties by id."""
    rng = np.random.default_rng(0)
    numbers = rng.permutation(5 * N)[:N] - N
    ids = np.array([f"é{number}" for number in numbers], object) if kind == "str" else numbers
    codes = rng.integers(0, 256, (N, 2), np.uint8)
    present = np.ones((N, 2), bool)
    present[::3, 1] = False
    index = HashIndex.create(connection, f"many_{kind}", fused, id_kind=kind)
    index.upsert(ids, {"code": codes}, present)
    order = np.argsort(ids)
    back = index.read_back()
    np.testing.assert_equal((back.ids, back.codes), (ids[order], {"code": codes[order]}))
    queries = rng.integers(0, 256, (9, 2), np.uint8)  # more than one call takes
    for filter, rows in (("", order), ("has_text == false", order[~present[order, 1]])):
        rankings = list(index.rank_all(queries, filter=filter))
        distances = hamming_distance(queries, codes[rows])
        for (found, at), expected in zip(rankings, distances, strict=True):
            ranked = np.argsort(expected, kind="stable")
            np.testing.assert_equal((found, at), (ids[rows][ranked], expected[ranked]))
        from_given = list(index.distances_to(ids[rows], queries, filter=filter))
        assert np.array_equal(from_given, distances)
        assert {row.dtype for row in [*from_given, *(at for _, at in rankings)]} == {np.dtype(np.int32)}


@pytest.mark.parametrize("kind", ["str", "int64"])
@pytest.mark.parametrize("limit", [pytest.param(LIMIT, marks=pytest.mark.slow), 800])
def test_all_items_within_a_radius(
    kind: Literal["str", "int64"],
    limit: int,
    connection: Connection,
    fused: Manifest,
    name: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More at one distance than one search gives, for one of two queries; without Milvus's own limit it is faster."""
    monkeypatch.setattr(rankings, "LIMIT", limit)
    monkeypatch.setattr(rankings, "_SLICE", min(limit - 100, rankings._SLICE))
    rows = limit + 500
    numbers = np.random.default_rng(0).permutation(rows)
    ids = np.array([f"é{number}" for number in numbers], object) if kind == "str" else numbers
    codes = np.zeros((rows, 2), np.uint8)
    codes[:300] = 255
    codes[300:700, 1] = 1
    present = np.ones((rows, 2), bool)
    present[::2, 1] = False
    index = HashIndex.create(connection, name(), fused, id_kind=kind)
    index.upsert(ids, {"code": codes}, present, None, {"n": numbers.tolist()})
    queries = np.array([[0, 0], [255, 255]], np.uint8)
    hits = index.search_within(queries, 1, output_fields=["n"])
    assert hits.counts.tolist() == [rows - 300, 300] and hits.ids.shape == (2, rows - 300)
    expected = [(0, key) for key in sorted(ids[700:].tolist())] + [(1, key) for key in sorted(ids[300:700].tolist())]
    found = searches.found(hits)
    assert (found[0], found[1]) == (expected, [(0, key) for key in sorted(ids[:300].tolist())])
    number_of = dict(zip(ids.tolist(), numbers.tolist(), strict=True))
    assert hits.fields[0] == [{"n": number_of[key]} for _, key in expected]
    some = index.search_within(queries[:1], 1, filter="has_text == false")
    assert searches.found(some) == [[pair for pair in expected if pair[1] in set(ids[::2].tolist())]]
    assert index.search_within(queries, 16).counts.tolist() == [rows, rows]


def test_nothing_within_a_radius(connection: Connection, fused: Manifest, name: Callable[[], str]) -> None:
    index = HashIndex.create(connection, name(), fused, id_kind="int64")
    hits = index.search_within(np.zeros((2, 2), np.uint8), 3)
    assert (hits.ids.shape, hits.distances.shape, hits.counts.tolist(), hits.fields) == (
        (2, 0),
        (2, 0),
        [0, 0],
        [[], []],
    )
    assert index.search_within(np.zeros((0, 2), np.uint8), 3).ids.shape == (0, 0)
    for radius in (-1, 17, 1.5):
        with pytest.raises(InputError, match=f"the radius is {radius}"):
            index.search_within(np.zeros((1, 2), np.uint8), radius)  # type: ignore[arg-type]


def test_small_collections_take_one_slice(connection: Connection, fused: Manifest, name: Callable[[], str]) -> None:
    index = HashIndex.create(connection, name(), fused, id_kind="int64")
    codes = np.arange(200, dtype=np.uint8).reshape(100, 2)
    index.upsert(np.arange(100), {"code": codes}, np.ones((100, 2), bool))
    rankings = list(index.rank_all(np.repeat(codes, 15, axis=0)))  # more queries than one call takes
    assert [(distances[0], len(ids)) for ids, distances in rankings] == [(0, 100)] * 1500


def test_rows_that_change_meanwhile_are_told(connection: Connection, fused: Manifest, name: Callable[[], str]) -> None:
    index = HashIndex.create(connection, name(), fused, id_kind="int64")
    index.upsert(np.arange(10), {"code": np.zeros((10, 2), np.uint8)}, np.ones((10, 2), bool))
    request = SearchRequest(index.collection, "code")
    for keys in (np.arange(9), np.arange(11)):
        with pytest.raises(MilvusError, match=rf"{len(keys)} rows .* were read, and it has 10"):
            list(index.distances_to(keys, np.zeros((1, 2), np.uint8)))
    for keys in (np.arange(1, 11), np.arange(11)):
        with pytest.raises(MilvusError, match="changed while they were ranked"):
            list(rankings.complete_rankings(connection, request, [b"\0\0"], keys))
    with pytest.raises(MilvusError, match=r"9 rows .* were read, and it has 10"):
        check_count(connection, index.collection, "", np.arange(9))


@pytest.mark.slow  # it looks into the collection that the first test of this file makes
def test_the_limit_is_that_of_milvus(connection: Connection) -> None:
    """One more row than the limit in a page, and Milvus refuses: the pages are as large as they may be."""
    with pytest.raises(MilvusError, match="16384"), connection.calling("read"):
        connection.client.query("many_str", filter="", output_fields=["id"], limit=LIMIT + 1)
    assert len(connection.client.query("many_str", filter="", output_fields=["id"], limit=LIMIT)) == LIMIT
