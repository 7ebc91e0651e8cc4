"""What bites silently on a server, and the guards against it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.foreign_collection import make_foreign

from milvus_ichash.bundle import Manifest
from milvus_ichash.errors import MilvusError, MismatchError
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.description import Description
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.index_spec import IndexSpec

SPEC = IndexSpec(kind="BIN_IVF_FLAT", nlist=8)
OF_ANOTHER_METRIC: dict[str, Any] = {
    "index_type": SPEC.kind,
    "metric_type": "JACCARD",
    "params": {"nlist": SPEC.nlist},
}


@pytest.mark.parametrize(
    ("dim", "index", "says"),
    [
        (64, OF_ANOTHER_METRIC, "metric JACCARD, not HAMMING"),
        (128, {}, "no binary vector of 64 bits"),
    ],
    ids=["metric", "dimension"],
)
def test_another_metric_or_dimension_is_refused(
    connection: Connection, fused: Manifest, name: Callable[[], str], dim: int, index: dict[str, Any], says: str
) -> None:
    make_foreign(connection, collection := name(), Description.of(fused).to_json(), dim=dim, **index)
    with pytest.raises(MismatchError, match=says):
        HashIndex.open(connection, collection)


@pytest.mark.parametrize("index", [OF_ANOTHER_METRIC, {}], ids=["another metric", "lost"])
def test_a_collection_without_its_index_gets_another_one(
    connection: Connection, fused: Manifest, name: Callable[[], str], index: dict[str, Any]
) -> None:
    """It is lost where `reindex` was cut off between dropping the one and building the other."""
    make_foreign(connection, collection := name(), Description.of(fused).to_json(), dim=64, **index)
    HashIndex.find(connection, collection).reindex(SPEC)
    assert HashIndex.open(connection, collection).spec == SPEC


def test_an_id_that_is_there_twice_is_told(connection: Connection, fused: Manifest, name: Callable[[], str]) -> None:
    """The server keeps both rows of a key that is inserted twice, and gives one of them to whoever reads."""
    if connection.columnar is None:
        pytest.skip("without columnar calls, rows are always upserted")
    index = HashIndex.create(connection, name(), fused, id_kind="int64")
    batch = index.batch([1, 2], {"code": np.zeros((2, 8), np.uint8)}, np.ones((2, 2), bool))
    index.write(batch, insert=True)
    index.write(batch, insert=True)
    with pytest.raises(MilvusError, match=r"the id [12] has several rows.*without --insert"):
        index.read_back()
    index.write(batch)  # an upsert leaves one of each
    assert index.read_back().ids.tolist() == [1, 2]


def test_written_rows_are_found_at_once(connection: Connection, fused: Manifest, name: Callable[[], str]) -> None:
    """At the usual Bounded consistency they would not be."""
    index = HashIndex.create(connection, name(), fused, id_kind="int64")
    for n in range(5):
        codes = np.full((1, 8), n, np.uint8)
        index.upsert([n], {"code": codes}, np.ones((1, 2), bool))
        assert index.search(codes, top_k=1).ids.tolist() == [[n]]
        assert index.count() == n + 1


def test_searches_do_not_wait_for_time_ticks_when_nothing_was_written(
    connection: Connection, fused: Manifest, name: Callable[[], str]
) -> None:
    """At Strong consistency each takes up to 0.2 s, so a settled collection is asked at Bounded.

    What is written through this connection is found at once all the same.
    """
    index = HashIndex.create(connection, collection := name(), fused, id_kind="int64")
    index.upsert([0], {"code": np.zeros((1, 8), np.uint8)}, np.ones((1, 2), bool))
    assert not connection.settled(collection)
    time.sleep(6.5)
    assert connection.settled(collection)
    assert index.search(np.zeros((1, 8), np.uint8)).ids[0, 0] == 0
    index.upsert([1], {"code": np.full((1, 8), 255, np.uint8)}, np.ones((1, 2), bool))
    assert not connection.settled(collection)
    assert index.search(np.full((1, 8), 255, np.uint8), top_k=1).ids[0, 0] == 1
    index.delete([1])
    assert index.search(np.full((1, 8), 255, np.uint8), top_k=1).ids[0, 0] == 0


def test_pages_beyond_one_query_have_every_row_once(
    connection: Connection, fused: Manifest, name: Callable[[], str]
) -> None:
    """Offsets would repeat and lose rows; a filter that leaves more than 16,384 rows needs pages too."""
    index = HashIndex.create(connection, name(), fused)
    ids = [f"id {n * 7919 % 40_000:05d}" for n in range(40_000)]
    present = np.ones((len(ids), 2), bool)
    present[::2, 1] = False
    codes = np.random.default_rng(0).integers(0, 256, (len(ids), 8), np.uint8)
    index.write(index.batch(ids, {"code": codes}, present), insert=True)
    back = index.read_back()
    order = np.argsort(ids)
    assert back.ids.tolist() == [ids[i] for i in order]
    np.testing.assert_array_equal(back.codes["code"], codes[order])
    np.testing.assert_array_equal(back.present, present[order])
    assert index.read_back(filter="has_text == true").ids.tolist() == sorted(ids[1::2])
