"""HashIndex on a Milvus server: BIN_FLAT and BIN_IVF_FLAT, written, searched, changed and read back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from milvus_ichash.bundle import Manifest
from milvus_ichash.codes import Codes, hamming_distance
from milvus_ichash.errors import InputError
from milvus_ichash.index import rankings
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.index_spec import IndexSpec

N = 6_000
"""More than the 1,024 rows below which a segment gets no index."""
NAMES = ("fruit", "car", "tree", "sky")


def clustered(rows: int, *, seed: int = 0, bits: int = 64, centres: int = 40) -> Codes:
    """Codes around centres, an eighth of the bits flipped: uint8 (rows, bits / 8)."""
    rng = np.random.default_rng(seed)
    middle = np.random.default_rng(7).integers(0, 2, (centres, bits))
    flips = rng.random((rows, bits)) < 1 / 8
    return np.packbits(middle[rng.integers(0, centres, rows)] ^ flips, axis=1)


def filled(
    connection: Connection, collection: str, manifest: Manifest, codes: Codes, spec: IndexSpec | None = None
) -> HashIndex:
    index = HashIndex.create(connection, collection, manifest, id_kind="int64", index=spec)
    labels = [[NAMES[i % 4]] for i in range(len(codes))]
    index.write(
        index.batch(np.arange(len(codes)), {"code": codes}, np.ones((len(codes), 2), bool), labels), insert=True
    )
    return index


def test_a_search_by_bin_flat_is_exact(connection: Connection, fused: Manifest, name: Callable[[], str]) -> None:
    codes, queries = clustered(N), clustered(5, seed=1)
    index = filled(connection, name(), fused, codes)
    hits = index.search(queries, top_k=50)
    exact = hamming_distance(queries, codes)
    np.testing.assert_array_equal(hits.distances, np.sort(exact, axis=1)[:, :50])
    for q in range(5):
        found = hits.ids[q].astype(int)
        np.testing.assert_array_equal(exact[q, found], hits.distances[q])
        assert sorted(zip(hits.distances[q], found, strict=True)) == list(zip(hits.distances[q], found, strict=True))


def test_complete_rankings_by_slices_have_every_row_and_every_tie(
    connection: Connection, fused: Manifest, name: Callable[[], str]
) -> None:
    codes, queries = clustered(20_000), clustered(2, seed=2)
    index = filled(connection, name(), fused, codes)
    exact = hamming_distance(queries, codes)
    for q, (ids, distances) in enumerate(index.rank_all(queries)):
        np.testing.assert_array_equal(ids, np.argsort(exact[q], kind="stable"))
        np.testing.assert_array_equal(distances, np.sort(exact[q]))


def test_bin_ivf_flat_probes_cells(connection: Connection, fused: Manifest, name: Callable[[], str]) -> None:
    codes, queries = clustered(N), clustered(20, seed=1)
    index = filled(connection, name(), fused, codes, IndexSpec(kind="BIN_IVF_FLAT", nlist=64))
    told: list[tuple[int, int]] = []
    index.wait_until_indexed(120, lambda done, rows: told.append((done, rows)))
    assert told[-1] == (N, N)
    state = index.summary()["index"]["code"]
    assert (state["index_type"], state["nlist"], state["state"]) == ("BIN_IVF_FLAT", "64", "Finished")
    assert (int(state["indexed_rows"]), int(state["pending_index_rows"])) == (N, 0)
    exact = np.sort(hamming_distance(queries, codes), axis=1)[:, :400]
    few, all_cells = index.search(queries, top_k=400, nprobe=1), index.search(queries, top_k=400, nprobe=64)
    np.testing.assert_array_equal(all_cells.distances, exact)
    assert few.counts.max() < 400  # one cell holds a cluster of about 150 rows: less than was asked for
    for q, count in enumerate(few.counts):
        assert (few.ids[q, count:] == None).all() and (few.distances[q, count:] == -1).all()  # noqa: E711 (elementwise)
    sizes = [len(ids) for ids, _ in index.rank_first(queries, top_k=400, nprobe=1)]
    assert sizes == few.counts.tolist()


def test_a_radius_through_cells_finds_what_the_cells_hold(
    connection: Connection, fused: Manifest, name: Callable[[], str]
) -> None:
    """In Milvus 2.3 a range search by BIN_IVF_FLAT passes over nprobe, and misses nearly everything."""
    codes, queries = clustered(N), clustered(5, seed=3)
    index = filled(connection, name(), fused, codes, IndexSpec(kind="BIN_IVF_FLAT", nlist=16))
    index.wait_until_indexed(120)
    near = (hamming_distance(queries, codes) <= 14).sum(axis=1)
    assert near.min() > 0
    np.testing.assert_array_equal(index.search(queries, top_k=N, radius=14, nprobe=16).counts, near)


def test_an_index_is_replaced(connection: Connection, fused: Manifest, name: Callable[[], str]) -> None:
    codes, queries = clustered(N), clustered(5, seed=1)
    index = filled(connection, collection := name(), fused, codes)
    index.reindex(IndexSpec(kind="BIN_IVF_FLAT", nlist=32))
    index.wait_until_indexed(120)
    opened = HashIndex.open(connection, collection)
    assert opened.spec == index.spec == IndexSpec(kind="BIN_IVF_FLAT", nlist=32)
    with pytest.raises(InputError, match="does not look at every row"):
        next(opened.rank_all(queries))
    opened.reindex(IndexSpec())
    opened.wait_until_indexed(120)
    np.testing.assert_array_equal(
        HashIndex.open(connection, collection).search(queries, top_k=20).distances,
        np.sort(hamming_distance(queries, codes), axis=1)[:, :20],
    )


@pytest.mark.parametrize(("nprobe", "says"), [(0, "take 1 to 16"), (17, "take 1 to 16"), (-1, "take 1 to 16")])
def test_nprobe_out_of_range(
    connection: Connection, fused: Manifest, name: Callable[[], str], nprobe: int, says: str
) -> None:
    index = HashIndex.create(connection, name(), fused, index=IndexSpec(kind="BIN_IVF_FLAT", nlist=16))
    with pytest.raises(InputError, match=says):
        index.search(clustered(1), nprobe=nprobe)


@pytest.mark.parametrize("nlist", [0, 65_537])
def test_nlist_out_of_range(connection: Connection, fused: Manifest, name: Callable[[], str], nlist: int) -> None:
    with pytest.raises(InputError, match="takes 1 to 65,536 cells"):
        HashIndex.create(connection, name(), fused, index=IndexSpec(kind="BIN_IVF_FLAT", nlist=nlist))


@pytest.mark.parametrize("spec", [IndexSpec(), IndexSpec(kind="BIN_IVF_FLAT", nlist=16)], ids=["flat", "cells"])
def test_all_items_within_a_radius(
    connection: Connection,
    fused: Manifest,
    name: Callable[[], str],
    spec: IndexSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More than one search gives (here 400, so that fewer rows do), by a filter on labels too, and by all cells."""
    monkeypatch.setattr(rankings, "LIMIT", 400)
    monkeypatch.setattr(rankings, "_SLICE", 350)
    codes, queries = clustered(N), clustered(3, seed=1)
    index = filled(connection, name(), fused, codes, spec)
    nprobe = None if spec.nlist is None else spec.nlist
    distances = hamming_distance(queries, codes)
    trees = np.arange(N) % 4 == 2
    for filter, kept in (("", np.ones(N, bool)), ('array_contains(labels, "tree")', trees)):
        hits = index.search_within(queries, 30, nprobe=nprobe, filter=filter, output_fields=["labels"])
        for q, row in enumerate(distances):
            near = np.flatnonzero((row <= 30) & kept)
            near = near[np.argsort(row[near], kind="stable")]
            assert hits.ids[q, : hits.counts[q]].tolist() == near.tolist()
            assert [fields["labels"] for fields in hits.fields[q]] == [[NAMES[i % 4]] for i in near.tolist()]
    assert hits.counts.max() > 400


def test_rows_are_replaced_deleted_and_read_back(
    connection: Connection, fused: Manifest, name: Callable[[], str]
) -> None:
    codes = clustered(100)
    index = filled(connection, name(), fused, codes)
    changed = codes[:10] ^ 255
    index.upsert(
        np.arange(10),
        {"code": changed},
        np.zeros((10, 2), bool),
        [[NAMES[3]]] * 10,
        {"title": [f"é {i}" for i in range(10)]},
    )
    assert index.delete([50, 51, 1000]) == 2
    assert index.delete(filter='array_contains(labels, "car") and id > 90') == 2
    left = index.read_back()
    kept = [i for i in range(100) if i not in (50, 51, 93, 97)]
    assert left.ids.tolist() == kept
    np.testing.assert_array_equal(left.codes["code"], np.concatenate([changed, codes[10:]])[kept])
    assert left.present[:10].sum() == 0 and left.present[10:].all()
    assert left.labels == [[NAMES[3] if i < 10 else NAMES[i % 4]] for i in kept]
    assert index.search(changed[:1], top_k=1, output_fields=["title"]).fields[0][0] == {"title": "é 0"}
    assert index.count() == 96
    with pytest.raises(InputError, match="names 'colour'"):
        index.delete(filter="colour == 'red'")


def test_a_server_of_one_vector_field_says_how_to_store_two_codes(
    connection: Connection, make_bundle: Callable[..., object], name: Callable[[], str]
) -> None:
    from milvus_ichash.bundle import read_manifest

    if connection.server_version.startswith("v2.3"):
        with pytest.raises(InputError, match="--codes image_code"):
            HashIndex.create(connection, name(), read_manifest(make_bundle(fused=False)))
