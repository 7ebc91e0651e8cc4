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
from typing import Any

import numpy as np
import pytest
from support import milvus_server
from support.command import run_here
from support.gappy_parquet import gappy_columns, label_lists, write_parquet

from milvus_ichash.bundle import ENCODER, read_manifest, save
from milvus_ichash.errors import InputError, MilvusError, MismatchError
from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.index_spec import IndexSpec
from milvus_ichash.ingestion.bulk_import import import_files
from milvus_ichash.ingestion.ingest_options import ImportOptions, IngestOptions
from milvus_ichash.ingestion.ingest_report import Listeners
from milvus_ichash.ingestion.into_files import to_parquet
from milvus_ichash.ingestion.into_milvus import ingest
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import MilvusSettings

N = 6_000
PROGRAM = [sys.executable, "-m", "milvus_ichash"]
SLOWLY = ("--batch-size", 10)
"""So that there is time to kill it: counting the rows of a server takes up to a second."""
Rows = dict[str, bytes]


@pytest.fixture(scope="session")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(modalities={"image": 6, "text": 4}, bits=64)


@pytest.fixture(scope="session")
def encoder(bundle: Path) -> HashEncoder:
    return HashEncoder.load(bundle, device="cpu", threads=1)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> FeatureSource:
    ids = [f"käfer {i}" for i in np.random.default_rng(0).permutation(N)]
    columns = gappy_columns(N, id=ids, labels=label_lists(N))
    return write_parquet(tmp_path_factory.mktemp("data") / "items.parquet", columns, row_group_size=1000)


@pytest.fixture(scope="session")
def right(encoder: HashEncoder, source: FeatureSource) -> Rows:
    """The code of each id, by the encoder alone."""
    table = source.read()
    codes = encoder.encode_table(table)["code"]
    return {key: code.tobytes() for key, code in zip(table.ids, codes, strict=True)}


def rows_of(uri: str, collection: str) -> Rows:
    """The code of each id, as read back, which fails where an id is there twice."""
    with connect(MilvusSettings(uri=uri)) as connection:
        back = HashIndex.open(connection, collection).read_back()
    found = {key: code.tobytes() for key, code in zip(back.ids, back.codes["code"], strict=True)}
    assert len(found) == len(back.ids)
    return found


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def run(*words: object) -> subprocess.CompletedProcess[str]:
    done = run_here(*words)
    assert "Traceback" not in done.stderr
    return done


def row_of(*words: object) -> dict[str, Any]:
    """The one row that a command gives, which goes well."""
    done = run(*words, "--format", "json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    return row


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate()
    assert "Traceback" not in err
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def messages(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines on stderr, but for those of progress, which come where it takes long."""
    return [line for line in done.stderr.splitlines() if not line.startswith("into ")]


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


def wait_for_rows(process: subprocess.Popen[str], connection: Connection, collection: str, rows: int) -> None:
    """Wait until a process has written so many rows; it must not end before."""
    while rows_written(connection, collection) < rows:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


def test_the_index_asked_for(
    connection: Connection, encoder: HashEncoder, source: FeatureSource, name: Callable[[], str]
) -> None:
    collection, told = name(), []
    options = IngestOptions(index="BIN_IVF_FLAT", nlist=32)
    listeners = Listeners(indexed=lambda done, rows: told.append((done, rows)))
    report = ingest(source, encoder, connection, collection, options, listeners=listeners)
    assert (report.written, told[-1]) == (N, (N, N))
    index = HashIndex.open(connection, collection)
    assert index.spec == IndexSpec(kind="BIN_IVF_FLAT", nlist=32)
    state = index.summary()["index"]["code"]
    assert (state["state"], int(state["indexed_rows"]), int(state["pending_index_rows"])) == ("Finished", N, 0)
    for other in (IngestOptions(index="BIN_FLAT"), IngestOptions(nlist=64)):
        with pytest.raises(
            InputError, match=r"has the index BIN_IVF_FLAT of nlist 32: .* `milvus-ichash index --collection"
        ):
            ingest(source, encoder, connection, collection, other)
    told.clear()
    same = replace(options, index=None, resume=True, wait=False)
    assert ingest(source, encoder, connection, collection, same, listeners=listeners).unchanged == N
    assert not told


def test_a_first_load_that_was_cut_off_gets_its_index(
    connection: Connection, encoder: HashEncoder, source: FeatureSource, name: Callable[[], str]
) -> None:
    """Killed between the making of the collection and that of its index."""
    collection = name()
    HashIndex.create(connection, collection, encoder.manifest, labels_by_name=True)
    connection.client.release_collection(collection)
    connection.client.drop_index(collection, connection.client.list_indexes(collection)[0])
    ingest(source, encoder, connection, collection, IngestOptions(nlist=16, resume=True, wait=False))
    assert HashIndex.open(connection, collection).spec == IndexSpec(kind="BIN_IVF_FLAT", nlist=16)


@pytest.mark.parametrize("moment", [0, 1, 3_000], ids=["collection made", "first rows", "middle"])
def test_every_row_once_after_the_client_was_killed(
    moment: int, uri: str, bundle: Path, source: FeatureSource, right: Rows, name: Callable[[], str]
) -> None:
    collection = name()
    command = ["ingest", source.info.path, "-b", bundle, "-c", collection, "--uri", uri, "--no-wait"]
    with connect(MilvusSettings(uri=uri)) as connection:
        process = start(*command, *SLOWLY)
        wait_for_rows(process, connection, collection, moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        there = rows_written(connection, collection)
    assert moment <= there < N
    row = row_of(*command, "--resume")
    assert row["unchanged"] + row["written"] == N
    assert row["unchanged"] >= there
    assert rows_of(uri, collection) == right


def test_every_row_once_after_the_server_was_killed(
    own_server: milvus_server.MilvusServer, bundle: Path, source: FeatureSource, right: Rows
) -> None:
    """First it comes back in time, and the ingest goes on by itself; then it does not, and the ingest gives up."""
    with own_server as server:
        command = ["ingest", source.info.path, "-b", bundle, "--uri", server.uri, "--timeout", 10, "--no-wait"]
        process = start(*command, *SLOWLY, "--format", "json")
        kill_at(server, process, 2_000)
        server.start()
        done = finish(process)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[0]["written"] == N
        assert "Trying again, for up to 120 s." in done.stderr
        assert all("Trying again" in line for line in messages(done)), done.stderr
        assert rows_of(server.uri, "ichash") == right

        process = start(*command, *SLOWLY, "-c", "second", "--patience", 3)
        kill_at(server, process, 2_000, "second")
        done = finish(process)
        assert done.returncode == 5, done.stderr
        assert "Trying again, for up to 3 s." in done.stderr
        assert "rows were written; go on with: milvus-ichash ingest" in done.stderr
        assert done.stderr.rstrip().endswith("--resume")
        server.start()
        assert row_of(*command, "-c", "second", "--resume")["unchanged"] >= 2_000
        assert rows_of(server.uri, "second") == right


def test_a_rate_limit_is_waited_for(
    own_server: milvus_server.MilvusServer,
    bundle: Path,
    source: FeatureSource,
    right: Rows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUOTAANDLIMITS_DML_ENABLED", "true")
    for call in ("INSERT", "UPSERT"):
        monkeypatch.setenv(f"QUOTAANDLIMITS_DML_{call}RATE_MAX", "0.1")  # MB/s
    with own_server as server:
        done = run("ingest", source.info.path, "-b", bundle, "--uri", server.uri, "--batch-size", 1000, "--no-wait")
        assert done.returncode == 0, done.stderr
        assert "rate limit exceeded" in done.stderr
        assert len(messages(done)) == 1
        assert rows_of(server.uri, "ichash") == right


@pytest.fixture
def own_server(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> milvus_server.MilvusServer:
    """A second server, not yet started, that a test may kill or set up in its own way."""
    if not (milvus_server.installed() and milvus_server.network_is_closed()):
        pytest.skip("needs a server of its own, which is installed and started in a closed network only")
    # The ports of the etcd in a Milvus are else the same in all.
    clients, peers = (f"http://127.0.0.1:{milvus_server.free_port()}" for _ in range(2))
    (tmp_path / "etcd.yaml").write_text(
        f"name: default\nlisten-client-urls: {clients}\nadvertise-client-urls: {clients}\nlisten-peer-urls: {peers}\n"
        f"initial-advertise-peer-urls: {peers}\ninitial-cluster: default={peers}\n"
    )
    monkeypatch.setenv("ETCD_CONFIG_PATH", str(tmp_path / "etcd.yaml"))
    return milvus_server.MilvusServer(tmp_path)


def kill_at(
    server: milvus_server.MilvusServer, process: subprocess.Popen[str], rows: int, collection: str = "ichash"
) -> None:
    """kill -9 of the server once so many rows are there."""
    with connect(MilvusSettings(uri=server.uri)) as connection:
        wait_for_rows(process, connection, collection, rows)
        server.kill()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, encoder: HashEncoder, source: FeatureSource) -> Path:
    """Four files to import."""
    if not milvus_server.network_is_closed():
        pytest.skip("a server that is not on this machine does not find files that are made here")
    folder = tmp_path_factory.mktemp("import") / "files"
    to_parquet(source, encoder, folder, IngestOptions(fields=["title"]), file_rows=1_800)
    assert len(list(folder.glob("part-*.parquet"))) == 4
    return folder


def test_files_are_imported_by_the_server(
    uri: str, files: Path, bundle: Path, source: FeatureSource, right: Rows, name: Callable[[], str]
) -> None:
    collection = name()
    command = ["import", files, "-c", collection, "--uri", uri, "--nlist", 16]
    nowhere = run(*command, "--path", "/nowhere")
    assert (nowhere.returncode, nowhere.stdout) == (3, "")
    assert "does not find '/nowhere/part-00000.parquet'" in nowhere.stderr
    assert "--path" in nowhere.stderr
    row = row_of(*command)
    assert (row["files"], row["rows"], row["imported"], row["skipped"]) == (4, N, N, 0)
    assert rows_of(uri, collection) == right
    with connect(MilvusSettings(uri=uri)) as connection:
        index = HashIndex.open(connection, collection)
        assert index.spec == IndexSpec(kind="BIN_IVF_FLAT", nlist=16)
        assert int(index.summary()["index"]["code"]["indexed_rows"]) == N
        back, table = index.read_back(), source.read()
        place = {key: row for row, key in enumerate(table.ids)}
        rows = [place[key] for key in back.ids]
        np.testing.assert_array_equal(back.present, table.present[rows])
        assert back.labels == [None if row % 10 == 9 else ["abc"[row % 3]] for row in rows]
        hit = index.search(
            back.codes["code"][:1], top_k=1, filter=f'id == "{back.ids[0]}"', output_fields=["title"], nprobe=16
        )
        assert hit.fields == [[{"title": f"title {rows[0]}"}]]
        again = row_of(*command)
        assert (again["imported"], again["skipped"], index.count()) == (0, N, N)
        first = table.ids[:1].tolist()  # it is one of those that are compared
        index.upsert(first, {"code": 255 - back.codes["code"][back.ids == first[0]]}, np.ones((1, 2), bool))
        other_codes = run(*command)
        assert other_codes.returncode == 2
        assert "holds other rows of the ids in 'part-00000.parquet'" in other_codes.stderr
        index.delete(first)
        one_less = run(*command)
        assert one_less.returncode == 2
        assert "not of these files, or not as they were imported" in one_less.stderr


def test_what_is_not_imported(
    uri: str, files: Path, tmp_path: Path, bundle: Path, make_bundle: Callable[..., Path], name: Callable[[], str]
) -> None:
    with connect(MilvusSettings(uri=uri)) as connection:
        of_another, of_numbers, indexed = name(), name(), name()
        HashIndex.create(connection, of_another, read_manifest(make_bundle(bits=64, seed=3)))
        HashIndex.create(connection, of_numbers, read_manifest(bundle), id_kind="int64")
        names = read_manifest(bundle).model_copy(update={"label_names": ("a", "b", "c")})
        HashIndex.create(connection, indexed, names, index=IndexSpec(kind="BIN_IVF_FLAT", nlist=8))
        for collection, options, error, says in (
            (of_another, ImportOptions(), MismatchError, "import them into another collection"),
            (of_numbers, ImportOptions(), InputError, "by int64 ids, and the files .* by str ids"),
            (indexed, ImportOptions(nlist=16), InputError, "has the index BIN_IVF_FLAT of nlist 8"),
            ("1st", ImportOptions(), InputError, "cannot name a collection"),
        ):
            with pytest.raises(error, match=says):
                import_files(files, connection, collection, options)
        with pytest.raises(InputError, match=r"has no import\.json"):
            import_files(tmp_path, connection, of_another)
        assert all(
            HashIndex.open(connection, collection).count() == 0 for collection in (of_another, of_numbers, indexed)
        )
        connection.server_version = "v2.3.3"
        with pytest.raises(MilvusError, match=r"v2\.3\.3, which imports no parquet files: 2\.3\.4 or later"):
            import_files(files, connection, name())


def test_files_of_cut_codes_go_into_a_collection_of_their_length(
    uri: str, bundle: Path, source: FeatureSource, right: Rows, tmp_path: Path, name: Callable[[], str]
) -> None:
    if not milvus_server.network_is_closed():
        pytest.skip("a server that is not on this machine does not find files that are made here")
    manifest = read_manifest(bundle).model_copy(update={"nested": (16, 64)})
    nested = tmp_path / "nested"
    save(nested, manifest, {ENCODER: bundle / ENCODER})
    done = run("ingest", source.info.path, "--bundle", nested, "--bits", 16, "--to-parquet", tmp_path / "files")
    assert done.returncode == 0, done.stderr
    collection, whole = name(), name()
    command = ("import", tmp_path / "files", "--uri", uri, "--no-wait")
    assert run(*command, "-c", collection).returncode == 0
    assert rows_of(uri, collection) == {key: code[:2] for key, code in right.items()}
    with connect(MilvusSettings(uri=uri)) as connection:
        assert HashIndex.open(connection, collection).description.cut_from == 64
        HashIndex.create(connection, whole, manifest)
    done = run(*command, "-c", whole)
    assert (done.returncode, done.stdout) == (2, "")
    assert "holds codes of 64 bits, and the files of 16" in done.stderr


def test_every_row_once_after_an_import_was_killed(uri: str, files: Path, right: Rows, name: Callable[[], str]) -> None:
    collection = name()
    command = ["import", files, "-c", collection, "--uri", uri, "--no-wait"]
    with connect(MilvusSettings(uri=uri)) as connection:
        process = start(*command)
        wait_for_rows(process, connection, collection, 0)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    row_of(*command)
    assert rows_of(uri, collection) == right
