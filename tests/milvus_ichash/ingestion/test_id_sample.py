"""In its end, an ingest looks some of its ids up again: each must have one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.broken_source import Meanwhile
from support.gappy_parquet import gappy_columns, write_parquet

from milvus_ichash.errors import InputError, MilvusError, PartialIngestError
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.ingestion.id_sample import IDS, IdSample
from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.ingestion.into_milvus import ingest
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.queries import codes_of_stored_items
from milvus_ichash.runtime.encoder import HashEncoder

N = 60
BY_TEN = IngestOptions(batch_size=10, resume_hint="resume it", repair_hint="write it again")


@pytest.fixture(scope="module")
def encoder(make_bundle: Callable[..., Path]) -> HashEncoder:
    return HashEncoder.load(make_bundle(modalities={"image": 3, "text": 2}), device="cpu", threads=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FeatureSource:
    return write_parquet(tmp_path_factory.mktemp("data") / "items.parquet", gappy_columns(N, image=3, text=2))


def insert_again(connection: Connection, encoder: HashEncoder, source: FeatureSource, collection: str) -> None:
    """As another program with --insert does, some of whose rows come after ours."""
    if connection.columnar is None:
        pytest.skip("without columnar calls, rows are always upserted")
    index, table = HashIndex.open(connection, collection), source.read().rows(20, 30)
    batch = index.batch(table.ids, encoder.encode_table(table), table.present_for(index.modalities))
    index.write(batch, insert=True)


@pytest.mark.parametrize("cure", ["ingest again", "delete"])
def test_an_id_that_is_there_twice(
    cure: str, connection: Connection, encoder: HashEncoder, source: FeatureSource, collection: str
) -> None:
    doubled = Meanwhile(source, 50, lambda: insert_again(connection, encoder, source, collection))
    first = replace(BY_TEN, insert=True)
    with pytest.raises(PartialIngestError, match=r"several rows \(\d+ too many; 'k2\d', for one\).*: write it again$"):
        ingest(doubled, encoder, connection, collection, first)
    index = HashIndex.open(connection, collection)
    assert index.count() > N
    for read in (
        index.read_back,
        lambda: list(index.rank_all(np.zeros((1, 2), np.uint8))),
        lambda: list(index.distances_to(np.sort(source.read().ids), np.zeros((1, 2), np.uint8))),
        lambda: codes_of_stored_items(index, [f"k{i}" for i in range(20, 30)]),
    ):
        with pytest.raises(MilvusError, match=r"the id 'k2\d' has several rows.*without --insert and --resume"):
            read()
    if cure == "delete":
        index.delete([f"k{i}" for i in range(20, 30)])
        assert index.count() == N - 10
    ingest(source, encoder, connection, collection, BY_TEN)
    assert index.count() == len(index.read_back().ids) == N


def test_an_id_that_is_missing(
    connection: Connection, encoder: HashEncoder, source: FeatureSource, collection: str
) -> None:
    ingest(source, encoder, connection, collection)
    loses = Meanwhile(source, 50, lambda: HashIndex.open(connection, collection).delete(["k0", "k1"]))
    # What is compared is not written again, so that nothing writes k0 and k1 after they were deleted.
    with pytest.raises(PartialIngestError, match=r"2 are missing \('k0', for one\).*Go on with: resume it$"):
        ingest(loses, encoder, connection, collection, replace(BY_TEN, resume=True))
    ingest(source, encoder, connection, collection, replace(BY_TEN, resume=True))
    assert HashIndex.open(connection, collection).count() == N


def test_insert_is_for_a_first_load(
    connection: Connection, encoder: HashEncoder, source: FeatureSource, collection: str
) -> None:
    HashIndex.create(connection, collection, encoder.manifest)
    insert = IngestOptions(insert=True)
    assert ingest(source, encoder, connection, collection, insert).written == N
    for options, says in (
        (insert, rf"holds {N} rows: --insert is for a first load"),
        (replace(insert, resume=True), "leave --insert out"),
    ):
        with pytest.raises(InputError, match=says):
            ingest(source, encoder, connection, collection, options)
    assert ingest(source, encoder, connection, collection, replace(insert, recreate=True)).written == N
    assert HashIndex.open(connection, collection).count() == N


@pytest.mark.parametrize(("rows", "size"), [(10, 4), (1000, 7), (123_456, 4096), (123_456, 100)])
def test_the_sample_lies_evenly_over_the_run(rows: int, size: int) -> None:
    sample = IdSample(rows)
    for first in range(0, rows, size):
        sample.add(first, list(range(first, min(first + size, rows))))
    step = max(1, rows // IDS)
    assert sample._ids == list(range(0, rows, step))
    assert len(sample._ids) <= 2 * IDS
