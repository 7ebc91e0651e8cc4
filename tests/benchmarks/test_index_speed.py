"""Ingest of ready codes and single queries on Milvus Lite, against plain pymilvus calls."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from support.timing import in_turns, seconds

from milvus_ichash import HashEncoder, HashIndex
from milvus_ichash.features import FeatureTable
from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.queries import features_to_codes, find_nearest
from milvus_ichash.runtime.session import open_session
from milvus_ichash.settings import MilvusSettings

ROWS, BATCH, BITS = 50_000, 5_000, 128
DIMS = {"image": 64, "text": 32}


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Milvus Lite."""
    with connect(MilvusSettings(uri=str(tmp_path_factory.mktemp("milvus") / "bench.db"))) as opened:
        yield opened


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    """A small one: here it is Milvus and the way to it that count."""
    return make_bundle(modalities=DIMS, bits=BITS)


@pytest.fixture(scope="module")
def encoder(bundle: Path) -> HashEncoder:
    """Its encoder."""
    return HashEncoder.load(bundle, device="cpu")


def test_ready_codes_go_in_as_fast_as_plain_upserts(
    connection: Connection, encoder: HashEncoder, benchmark: BenchmarkFixture
) -> None:
    ours = HashIndex.create(connection, "ours", encoder.manifest)
    HashIndex.create(connection, "bare", encoder.manifest)
    codes = np.random.default_rng(0).integers(0, 256, (ROWS, BITS // 8), np.uint8)
    ids = [f"item-{i:08d}" for i in range(ROWS)]
    present = np.ones((ROWS, 2), bool)
    labels = [[i % 10, 10 + i % 7] for i in range(ROWS)]

    def through_index() -> None:
        for start in range(0, ROWS, BATCH):
            part = slice(start, start + BATCH)
            ours.upsert(ids[part], {"code": codes[part]}, present[part], labels[part])

    def plain() -> None:
        for start in range(0, ROWS, BATCH):
            rows: list[dict[str, Any]] = [
                {"id": ids[i], "code": codes[i].tobytes(), "has_image": True, "has_text": True, "labels": labels[i]}
                for i in range(start, start + BATCH)
            ]
            connection.client.upsert("bare", rows)

    _, bare, ratio = in_turns(through_index, plain, rounds=5)
    benchmark.pedantic(through_index, rounds=2)
    benchmark.extra_info.update(bare_seconds=bare, ratio=ratio)
    print(f"\ningest of ready codes: {ratio:.2f} x plain upserts ({ROWS / bare:,.0f} rows/s)")
    assert ours.count() == ROWS
    assert ratio >= 0.85


def test_a_query_costs_less_than_a_millisecond_of_our_own(
    connection: Connection, encoder: HashEncoder, bundle: Path, benchmark: BenchmarkFixture
) -> None:
    index = HashIndex.create(connection, "queried", encoder.manifest)
    rng = np.random.default_rng(1)
    items = {name: rng.standard_normal((10_000, dim), np.float32) for name, dim in DIMS.items()}
    index.upsert(list(map(str, range(10_000))), encoder.encode(**items), np.ones((10_000, 2), bool))
    query = FeatureTable.build(np.array([0]), {name: x[:1] for name, x in items.items()})
    marks = ["has_image", "has_text"]
    code = [encoder.encode_table(query)["code"].tobytes()]

    def ours() -> object:
        return find_nearest(index, features_to_codes(encoder, query), top_k=10)

    session = open_session(bundle / "encoder.onnx", device="cpu")

    def session_and_milvus() -> None:
        session.run(["code"], {**query.features, "present": query.present})
        connection.client.search(
            "queried", code, anns_field="code", limit=10, search_params={"metric_type": "HAMMING"}, output_fields=marks
        )

    times = [(seconds(session_and_milvus), seconds(ours)) for _ in range(300)]
    benchmark(ours)
    own = statistics.median(mine - bare for bare, mine in times)
    benchmark.extra_info.update(own_milliseconds=own * 1e3)
    print(f"\na query: {own * 1e3:.2f} ms beside the session run and the Milvus call")
    assert own < 1e-3
