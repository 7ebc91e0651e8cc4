"""Ingest into a Milvus server: the index it makes, clients and servers that are killed, and bulk import."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import milvus_server

from milvus_ichash.errors import InputError
from milvus_ichash.index.client import Connection, connect
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.indexing import IndexSpec
from milvus_ichash.index.ingest import IngestOptions, Listeners, ingest
from milvus_ichash.io import open_source
from milvus_ichash.io.source import FeatureSource
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import MilvusSettings

N = 20_000
PROGRAM = [sys.executable, "-m", "milvus_ichash.cli"]
Rows = dict[str, bytes]


@pytest.fixture(scope="session")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(modalities={"image": 6, "text": 4}, bits=64)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> FeatureSource:
    rng = np.random.default_rng(0)
    image, text = rng.standard_normal((N, 6)), rng.standard_normal((N, 4))
    columns = {
        "id": [f"käfer {i}" for i in rng.permutation(N)],
        "image": [None if i % 4 == 0 else image[i].tolist() for i in range(N)],
        "text": [None if i % 4 == 1 else text[i].tolist() for i in range(N)],
        "labels": [None if i % 10 == 9 else [["a", "b", "c"][i % 3]] for i in range(N)],
        "title": [f"title {i}" for i in range(N)],
    }
    path = tmp_path_factory.mktemp("data") / "items.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=1000)
    return open_source(path)


@pytest.fixture(scope="session")
def right(bundle: Path, source: FeatureSource) -> Rows:
    """The code of each id, by the encoder alone."""
    table = source.read()
    codes = HashEncoder.load(bundle, device="cpu", threads=1).encode_table(table)["code"]
    return {key: code.tobytes() for key, code in zip(table.ids, codes, strict=True)}


def rows_of(uri: str, collection: str) -> Rows:
    """The code of each id, as read back, which fails where an id is there twice."""
    with connect(MilvusSettings(uri=uri)) as connection:
        back = HashIndex.open(connection, collection).read_back()
    found = {key: code.tobytes() for key, code in zip(back.ids, back.codes["code"], strict=True)}
    assert len(found) == len(back.ids)
    return found


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen([*PROGRAM, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def rows_written(connection: Connection, collection: str) -> int:
    """How many rows are there; -1 where there is no such collection yet, or it cannot be asked."""
    client = connection.client
    try:
        if not client.has_collection(collection, timeout=5):
            return -1
        return int(client.query(collection, filter="", output_fields=["count(*)"], timeout=5)[0]["count(*)"])
    except Exception as error:  # not loaded yet
        assert "not loaded" in str(error) or "not fully loaded" in str(error) or "index" in str(error), error
        return 0


def test_the_index_asked_for(connection: Connection, bundle: Path, source: FeatureSource, name: Callable[[], str]) -> None:
    collection, told = name(), []
    encoder = HashEncoder.load(bundle, device="cpu", threads=1)
    options = IngestOptions(index="BIN_IVF_FLAT", nlist=32)
    listeners = Listeners(indexed=lambda done, rows: told.append((done, rows)))
    report = ingest(source, encoder, connection, collection, options, listeners=listeners)
    assert (report.written, told[-1]) == (N, (N, N))
    index = HashIndex.open(connection, collection)
    assert index.index == IndexSpec(kind="BIN_IVF_FLAT", nlist=32)
    state = index.describe()["index"]["code"]
    assert (state["state"], int(state["indexed_rows"]), int(state["pending_index_rows"])) == ("Finished", N, 0)
    for other in (IngestOptions(index="BIN_FLAT"), IngestOptions(nlist=64)):
        with pytest.raises(InputError, match="has the index BIN_IVF_FLAT of nlist 32: .* `milvus-ichash index --collection"):
            ingest(source, encoder, connection, collection, other)
    told.clear()
    same = replace(options, index=None, resume=True, wait=False)
    assert ingest(source, encoder, connection, collection, same, listeners=listeners).skipped == N
    assert not told


def test_a_first_load_that_was_cut_off_gets_its_index(
    connection: Connection, bundle: Path, source: FeatureSource, name: Callable[[], str]
) -> None:
    """Killed between the making of the collection and that of its index."""
    collection, encoder = name(), HashEncoder.load(bundle, device="cpu", threads=1)
    HashIndex.create(connection, collection, encoder.manifest)
    connection.client.release_collection(collection)
    connection.client.drop_index(collection, connection.client.list_indexes(collection)[0])
    ingest(source, encoder, connection, collection, IngestOptions(nlist=16, resume=True, wait=False))
    assert HashIndex.open(connection, collection).index == IndexSpec(kind="BIN_IVF_FLAT", nlist=16)


@pytest.mark.parametrize("moment", [-1, 0, 1, 7_000, 16_000], ids=["at once", "collection made", "first rows", "middle", "late"])
def test_every_row_once_after_the_client_was_killed(
    moment: int, uri: str, bundle: Path, source: FeatureSource, right: Rows, name: Callable[[], str]
) -> None:
    collection = name()
    command = ["ingest", source.info.path, "-b", bundle, "-c", collection, "--uri", uri, "--batch-size", 100, "--index", "BIN_IVF_FLAT"]
    with connect(MilvusSettings(uri=uri)) as connection:
        process = start(*command)
        deadline = time.monotonic() + 120
        while moment >= 0 and rows_written(connection, collection) < moment:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        there = rows_written(connection, collection)
    assert moment < 0 or moment <= there < N
    done = finish(start(*command, "--resume", "--format", "json"))
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["skipped"] + row["written"] == N
    assert row["skipped"] >= max(0, there)
    assert rows_of(uri, collection) == right


def test_every_row_once_after_the_server_was_killed(bundle: Path, source: FeatureSource, right: Rows, tmp_path: Path, uri: str) -> None:
    """First it comes back in time, and the ingest goes on by itself; then it does not, and the ingest gives up."""
    if os.environ.get("MILVUS_URI"):
        pytest.skip("kills its own server only, and MILVUS_URI is set")
    with milvus_server.MilvusServer(tmp_path) as server:
        command = ["ingest", source.info.path, "-b", bundle, "--uri", server.uri, "--batch-size", 100, "--timeout", 10]
        process = start(*command, "--no-wait", "--format", "json")
        kill_at(server, process, 4_000)
        server.start()
        done = finish(process)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[0]["written"] == N
        (said,) = done.stderr.splitlines()
        assert "Trying again, for up to 120 s." in said
        assert rows_of(server.uri, "ichash") == right

        process = start(*command, "-c", "second", "--patience", 3)
        kill_at(server, process, 4_000, "second")
        done = finish(process)
        assert done.returncode == 5, done.stderr
        assert "Trying again, for up to 3 s." in done.stderr
        assert "rows were written; go on with: milvus-ichash ingest" in done.stderr
        assert done.stderr.rstrip().endswith("--resume")
        server.start()
        done = finish(start(*command, "-c", "second", "--resume", "--format", "json"))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[0]["skipped"] >= 4_000
        assert rows_of(server.uri, "second") == right


def kill_at(server: milvus_server.MilvusServer, process: subprocess.Popen[str], rows: int, collection: str = "ichash") -> None:
    """kill -9 of the server once so many rows are there."""
    with connect(MilvusSettings(uri=server.uri)) as connection:
        while rows_written(connection, collection) < rows:
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        server.kill()
