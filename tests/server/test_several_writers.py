"""Several programs that write into one collection of a server at the same time: every id has one row in the end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.broken_source import Meanwhile
from support.command import run_here
from support.gappy_parquet import gappy_columns, label_lists, write_parquet

from milvus_ichash.bundle import read_manifest
from milvus_ichash.errors import MilvusError, PartialIngestError
from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.ingestion.into_milvus import ingest
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.queries import codes_of_stored_items
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import MilvusSettings

N = 4_000
PROGRAM = [sys.executable, "-m", "milvus_ichash"]


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(modalities={"image": 6, "text": 4}, bits=64)


@pytest.fixture(scope="module")
def encoder(bundle: Path) -> HashEncoder:
    return HashEncoder.load(bundle, device="cpu", threads=1)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureSource]:
    """The same items in the file's order, backwards, and mixed."""
    columns = gappy_columns(N, labels=label_lists(N))
    orders = [range(N), range(N)[::-1], np.random.default_rng(0).permutation(N)]
    folder = tmp_path_factory.mktemp("data")
    return [
        write_parquet(
            folder / f"{place}.parquet", {name: [values[i] for i in order] for name, values in columns.items()}
        )
        for place, order in enumerate(orders)
    ]


def started(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen([*PROGRAM, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, Any]:
    """Exit code and the row that it printed."""
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err, err
    return process.returncode, json.loads(out)[0] if out else err


def codes_in(connection: Connection, collection: str) -> dict[str, bytes]:
    """By id, which fails where an id has several rows."""
    back = HashIndex.open(connection, collection).read_back()
    return {key: code.tobytes() for key, code in zip(back.ids, back.codes["code"], strict=True)}


def right(encoder: HashEncoder, source: FeatureSource) -> dict[str, bytes]:
    table = source.read()
    codes = encoder.encode_table(table)["code"]
    return {key: code.tobytes() for key, code in zip(table.ids, codes, strict=True)}


@pytest.mark.parametrize("made_before", [False, True], ids=["not there yet", "made before"])
def test_ingests_of_the_same_items_at_once(
    made_before: bool,
    uri: str,
    bundle: Path,
    encoder: HashEncoder,
    sources: list[FeatureSource],
    name: Callable[[], str],
) -> None:
    """Four of them, in different orders and batches; where the collection is not there yet, one makes it."""
    collection = name()
    if made_before:
        done = run_here("create", "-b", bundle, "-c", collection, "--uri", uri, "--format", "json")
        assert (done.returncode, json.loads(done.stdout)["made"]) == (0, True), done.stderr
    processes = [
        started(
            *("ingest", source.info.path, "-b", bundle, "-c", collection, "--uri", uri),
            *("--batch-size", size, "--no-wait", "--format", "json"),
        )
        for source, size in zip([*sources, sources[0]], [300, 500, 1000, 170], strict=True)
    ]
    results = [ended(process) for process in processes]
    assert [code for code, _ in results] == [0, 0, 0, 0], "\n".join(str(result) for result in results)
    assert [row["written"] for _, row in results] == [N] * 4
    with connect(MilvusSettings(uri=uri)) as connection:
        assert HashIndex.open(connection, collection).count() == N
        assert codes_in(connection, collection) == right(encoder, sources[0])


def test_another_bundle_in_the_same_moment_is_refused(
    uri: str, bundle: Path, sources: list[FeatureSource], make_bundle: Callable[..., Path], name: Callable[[], str]
) -> None:
    collection, other = name(), make_bundle(modalities={"image": 6, "text": 4}, bits=64, seed=7)
    words = ("-c", collection, "--uri", uri, "--no-wait", "--format", "json")
    processes = [started("ingest", sources[0].info.path, "-b", each, *words) for each in (bundle, other)]
    codes = sorted(ended(process)[0] for process in processes)
    assert codes == [0, 4]
    with connect(MilvusSettings(uri=uri)) as connection:
        assert HashIndex.open(connection, collection).count() == N


def test_create_made_by_several_at_once(uri: str, bundle: Path, name: Callable[[], str]) -> None:
    collection = name()
    words = ("create", "-b", bundle, "-c", collection, "--uri", uri, "--index", "BIN_IVF_FLAT", "--nlist", 16)
    processes = [started(*words, "--format", "json") for _ in range(4)]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    found = json.loads(outputs[0][0])
    assert (found["rows"], found["bits"], found["index"]["code"]["nlist"]) == (0, 64, "16")
    with connect(MilvusSettings(uri=uri)) as connection:
        index = HashIndex.ensure(connection, collection, read_manifest(bundle))
        assert index.spec.nlist == 16


def test_ids_that_an_insert_doubled(
    connection: Connection, encoder: HashEncoder, sources: list[FeatureSource], name: Callable[[], str]
) -> None:
    """Two ingests with --insert of the same ids: one of them is told, and an ingest without it is the cure."""
    if connection.columnar is None:
        pytest.skip("without columnar calls, rows are always upserted")
    collection, source = name(), sources[0]
    insert = IngestOptions(insert=True, batch_size=500, wait=False, repair_hint="write it again")

    def another() -> None:
        index, table = HashIndex.open(connection, collection), source.read().rows(0, 2000)
        batch = index.batch(table.ids, encoder.encode_table(table), table.present_for(index.modalities))
        index.write(batch, insert=True)

    with pytest.raises(PartialIngestError, match=r"several rows \(\d+ too many; 'k\d+', for one\).*: write it again$"):
        ingest(Meanwhile(source, 2500, another), encoder, connection, collection, insert)
    index = HashIndex.open(connection, collection)
    assert index.count() == N + 2000
    for read in (index.read_back, lambda: codes_of_stored_items(index, ["k3", "k7"])):
        with pytest.raises(MilvusError, match=r"the id 'k\d+' has several rows.*without --insert and --resume"):
            read()
    index.delete(["k3"])  # both of its rows
    assert index.count() == N + 2000 - 2
    ingest(source, encoder, connection, collection, IngestOptions(wait=False))
    assert codes_in(connection, collection) == right(encoder, source)


def test_resume_compares_all_fields(
    connection: Connection, encoder: HashEncoder, sources: list[FeatureSource], name: Callable[[], str], tmp_path: Path
) -> None:
    collection = name()
    ingest(sources[0], encoder, connection, collection, IngestOptions(wait=False))
    resume = IngestOptions(resume=True, wait=False)
    assert ingest(sources[2], encoder, connection, collection, resume).unchanged == N
    columns = gappy_columns(N, labels=label_lists(N))
    columns["title"][7], columns["labels"][8], columns["text"][9] = "another", ["b", "c"], [9.0, -9.0, 9.0, -9.0]
    changed = write_parquet(tmp_path / "changed.parquet", columns)
    report = ingest(changed, encoder, connection, collection, resume)
    assert (report.written, report.unchanged) == (3, N - 3)
    assert codes_in(connection, collection) == right(encoder, changed)
