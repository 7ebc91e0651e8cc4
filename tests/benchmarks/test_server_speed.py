"""A million codes on a Milvus server: what writing and searching cost, against bare client calls of the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from support.timing import seconds, sums_in_turns

from milvus_ichash.bundle import Manifest, read_manifest
from milvus_ichash.codes import Codes
from milvus_ichash.evaluation.evaluate import evaluate
from milvus_ichash.evaluation.exact_retriever import ExactRetriever
from milvus_ichash.evaluation.milvus_retriever import MilvusRetriever
from milvus_ichash.features import FeatureTable
from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.index_spec import IndexSpec
from milvus_ichash.index.search_request import SearchRequest
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import MilvusSettings

ROWS, BLOCK, BITS = 1_000_000, 50_000, 128
AS_ROWS = 50_000
"""Rows that go in one by one as dicts: slower, so fewer."""


@pytest.fixture(scope="module")
def connection(uri: str) -> Iterator[Connection]:
    """The server."""
    with connect(MilvusSettings(uri=uri, timeout=120)) as opened:
        yield opened


@pytest.fixture(scope="module")
def manifest(make_bundle: Callable[..., Any]) -> Manifest:
    """Of a bundle that makes 128 bits."""
    return read_manifest(make_bundle(bits=BITS))


@pytest.fixture(scope="module")
def filled(connection: Connection, manifest: Manifest) -> Iterator[tuple[HashIndex, float, float]]:
    """A million codes that went in by turns with bare columnar requests of the same codes; seconds of both."""
    ours = HashIndex.create(connection, "bench_ours", manifest, id_kind="int64", recreate=True)
    HashIndex.create(connection, "bench_bare", manifest, id_kind="int64", recreate=True)
    rng = np.random.default_rng(0)
    both = sums_in_turns(
        (
            lambda ids=ids, codes=codes: through_index(ours, ids, codes),
            lambda ids=ids, codes=codes: bare_request(connection, ids, codes),
        )
        for ids, codes in ((np.arange(start, start + BLOCK), clustered(rng, BLOCK)) for start in range(0, ROWS, BLOCK))
    )
    connection.client.drop_collection("bench_bare")
    yield ours, *both
    connection.client.drop_collection("bench_ours")


def clustered(rng: np.random.Generator, rows: int, bits: int = BITS) -> Codes:
    """Codes around 500 centres: uint8 (rows, bits / 8)."""
    centres = np.random.default_rng(1).integers(0, 2, (500, bits), np.uint8)
    return np.packbits(centres[rng.integers(0, 500, rows)] ^ (rng.random((rows, bits), np.float32) < 0.1), axis=1)


def through_index(index: HashIndex, ids: Any, codes: Codes) -> None:
    """Ready codes by the plugin, checks included."""
    assert index.write(index.batch(ids, {"code": codes}, np.ones((len(ids), 2), bool)), insert=True) == len(ids)


def bare_request(connection: Connection, ids: Any, codes: Codes) -> None:
    """The same by the columnar request of pymilvus's own generated classes."""
    from pymilvus.grpc_gen import milvus_pb2, schema_pb2

    kinds = schema_pb2.DataType
    key = schema_pb2.FieldData(field_name="id", type=kinds.Int64)
    key.scalars.long_data.data.extend(ids.tolist())
    code = schema_pb2.FieldData(field_name="code", type=kinds.BinaryVector)
    code.vectors.dim, code.vectors.binary_vector = codes.shape[1] * 8, codes.tobytes()
    marks = []
    for name in ("has_image", "has_text"):
        mark = schema_pb2.FieldData(field_name=name, type=kinds.Bool)
        mark.scalars.bool_data.data.extend([True] * len(ids))
        marks.append(mark)
    request = milvus_pb2.InsertRequest(collection_name="bench_bare", num_rows=len(ids), fields_data=[key, code, *marks])
    assert connection.client._get_connection()._stub.Insert(request, timeout=120).insert_cnt == len(ids)


def bare_searches(connection: Connection, rows: int, queries: Codes) -> float:
    """Seconds of the bare columnar searches that rank all rows for these queries."""
    columnar = connection.columnar
    assert columnar is not None
    codes = [query.tobytes() for query in queries]

    def search() -> None:
        for first in range(0, rows, 16_384):
            within = f"id >= {first} and id < {first + 16_384}"
            request = SearchRequest("bench_map", "code", min(16_384, rows - first), expression=within)
            columnar.search(request, codes, bounded=True, timeout=120)

    return seconds(search)


def test_ready_codes_go_in_as_fast_as_bare_columnar_requests(
    filled: tuple[HashIndex, float, float], benchmark: BenchmarkFixture
) -> None:
    index, ours, bare = filled
    benchmark.pedantic(lambda: None)
    benchmark.extra_info.update(rows_per_second=ROWS / ours, bare_rows_per_second=ROWS / bare)
    print(
        f"\n1,000,000 codes, acknowledged: {ROWS / ours:,.0f} rows/s, "
        f"{bare / ours:.2f} x bare columnar requests ({ROWS / bare:,.0f})"
    )
    assert index.count() == ROWS
    assert bare / ours >= 0.8 or ROWS / ours >= 1e6


def test_what_insert_brings(connection: Connection, manifest: Manifest, benchmark: BenchmarkFixture) -> None:
    """A first load with and without `ingest --insert`, by turns: what upsert costs."""
    rows, block = 200_000, 10_000
    ours = [HashIndex.create(connection, f"bench_{how}", manifest, recreate=True) for how in ("insert", "upsert")]
    rng = np.random.default_rng(0)

    def written(index: HashIndex, start: int, codes: Codes, insert: bool) -> None:
        ids, titles = zip(*((f"item {i}", f"title of item {i}") for i in range(start, start + block)), strict=True)
        batch = index.batch(ids, {"code": codes}, np.ones((block, 2), bool), None, {"title": titles})
        index.write(batch, insert=insert)

    insert, upsert = sums_in_turns(
        (partial(written, ours[0], start, codes, True), partial(written, ours[1], start, codes, False))
        for start, codes in ((start, clustered(rng, block)) for start in range(0, rows, block))
    )
    benchmark.pedantic(lambda: None)
    print(
        f"\n{rows:,} rows with titles: insert {rows / insert:,.0f} rows/s, upsert {rows / upsert:,.0f} rows/s: "
        f"upsert takes {upsert / insert:.2f} x as long"
    )
    assert [index.count() for index in ours] == [rows, rows]
    for index in ours:
        connection.client.drop_collection(index.collection)


def test_without_columnar_calls_rows_go_in_as_fast_as_plain_upserts(
    uri: str, manifest: Manifest, benchmark: BenchmarkFixture
) -> None:
    with connect(MilvusSettings(uri=uri, timeout=120), columnar=False) as connection:
        ours = HashIndex.create(connection, "bench_rows", manifest, id_kind="int64", recreate=True)
        HashIndex.create(connection, "bench_plain", manifest, id_kind="int64", recreate=True)
        codes = clustered(np.random.default_rng(0), AS_ROWS)
        labels = [[i % 7] for i in range(AS_ROWS)]

        def by_index(part: slice) -> None:
            rows = range(AS_ROWS)[part]
            ours.upsert(list(rows), {"code": codes[part]}, np.ones((len(rows), 2), bool), labels[part])

        def plain(part: slice) -> None:
            rows = [
                {"id": i, "code": codes[i].tobytes(), "has_image": True, "has_text": True, "labels": labels[i]}
                for i in range(AS_ROWS)[part]
            ]
            connection.client.upsert("bench_plain", rows, timeout=120)

        parts = [slice(start, start + 5_000) for start in range(0, AS_ROWS, 5_000)]
        mine, bare = sums_in_turns((partial(by_index, part), partial(plain, part)) for part in parts)
        benchmark.pedantic(lambda: None)
        print(f"\nwithout columnar calls: {AS_ROWS / mine:,.0f} rows/s, {bare / mine:.2f} x plain upserts")
        for name in ("bench_rows", "bench_plain"):
            connection.client.drop_collection(name)
        assert bare / mine >= 0.9


def test_a_query_of_a_million_codes(filled: tuple[HashIndex, float, float], benchmark: BenchmarkFixture) -> None:
    index = filled[0]
    index.reindex(IndexSpec(kind="BIN_IVF_FLAT", nlist=1024))
    index.wait_until_indexed()
    time.sleep(7)  # searches are Bounded from then on (`Connection.settled`)
    queries = clustered(np.random.default_rng(2), 300)
    client = index.connection.client
    parameters: dict[str, Any] = {
        "anns_field": "code",
        "limit": 10,
        "search_params": {"metric_type": "HAMMING", "params": {"nprobe": 16}},
        "consistency_level": "Bounded",
    }
    own, all_of_it = [], []
    for query in queries:
        mine = seconds(lambda query=query: index.search(query[None], top_k=10, nprobe=16))
        own.append(mine - seconds(lambda query=query: client.search("bench_ours", [query.tobytes()], **parameters)))
        all_of_it.append(mine)
    benchmark.pedantic(lambda: index.search(queries[:1], top_k=10, nprobe=16), rounds=20)
    added = statistics.median(own)
    whole = statistics.median(all_of_it)
    print(
        f"\na query through BIN_IVF_FLAT on 1,000,000 codes: {whole * 1e3:.2f} ms, of it our own {added * 1e3:.2f} ms"
    )
    assert added < 0.3e-3


def test_evaluations_of_200_000_codes(
    connection: Connection, make_bundle: Callable[..., Any], benchmark: BenchmarkFixture
) -> None:
    """2,000 queries, 64 bits, 81 classes, 2.4 labels an item: mAP@all out of the index."""
    rows, queries, classes = 200_000, 2_000, 81
    bundle = make_bundle(bits=64, label_names=tuple(f"class {c}" for c in range(classes)))
    encoder = HashEncoder.load(bundle, device="cpu")
    index = HashIndex.create(connection, "bench_map", encoder.manifest, id_kind="int64", recreate=True)
    rng = np.random.default_rng(0)
    labels = rng.random((rows, classes)) < 0.03
    lists = [[f"class {c}" for c in np.flatnonzero(row).tolist()] for row in labels]
    codes = clustered(rng, rows, 64)
    for start in range(0, rows, BLOCK):
        part = slice(start, start + BLOCK)
        batch = index.batch(
            np.arange(start, start + BLOCK), {"code": codes[part]}, np.ones((BLOCK, 2), bool), lists[part]
        )
        index.write(batch, insert=True)
    index.wait_until_indexed()
    table = FeatureTable.build(
        np.arange(rows, rows + queries),
        {name: rng.standard_normal((queries, dim), np.float32) for name, dim in encoder.manifest.dims.items()},
        labels=(rng.random((queries, classes)) < 0.03).astype(np.uint8),
        label_names=encoder.manifest.label_names,
    )

    def measured(retriever: Callable[[], Any]) -> tuple[float, float]:
        start = time.perf_counter()
        result = evaluate(encoder, table, retriever(), tasks=["both"])
        return result.tasks["both"].metrics["mAP@all"], time.perf_counter() - start

    by_readback, readback_seconds = measured(lambda: ExactRetriever.read_back(index))
    bare = bare_searches(connection, rows, clustered(rng, 16, 64)) * queries / 16
    by_search, search_seconds = measured(lambda: MilvusRetriever(index))
    connection.client.drop_collection("bench_map")
    benchmark.pedantic(lambda: None)
    print(
        "\nmAP@all of 2,000 queries over 200,000 codes: "
        f"--via readback {readback_seconds:.1f} s, --via search {search_seconds:.0f} s, "
        f"{search_seconds / bare:.2f} x the bare columnar searches one after the other ({bare:.0f} s)"
    )
    assert abs(by_readback - by_search) < 1e-9
    assert readback_seconds < 20
    assert search_seconds < 180 or search_seconds < 1.2 * bare  # it is the server that takes the time
