from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

from milvus_ichash.errors import BackendMissingError, InputError, MilvusError
from milvus_ichash.index import lite
from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.settings import MilvusSettings

HOLD = """
import sys, time
from milvus_ichash.index.connection import connect
from milvus_ichash.settings import MilvusSettings
connection = connect(MilvusSettings(uri=sys.argv[1]))
print("open", flush=True)
time.sleep(10**6)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database may be made."""
    return tmp_path / "x.db"


def processes(path: Path) -> list[psutil.Process]:
    """Milvus Lite processes that have this database open."""
    everything = psutil.process_iter(["name", "cmdline"])
    return [
        process
        for process in everything
        if process.info["name"] == "milvus" and str(path) in (process.info["cmdline"] or ())
    ]


def gone(path: Path) -> bool:
    """True once no process has the database open; waits for it."""
    while processes(path):
        time.sleep(0.02)
    return True


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which has the database open."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "open\n"
            yield holder
        finally:
            holder.kill()


def open_lite(path: Path) -> Connection:
    return connect(MilvusSettings(uri=str(path)))


def assert_opens(path: Path) -> None:
    with open_lite(path) as connection:
        assert connection.client.list_collections() == []


def test_process_ends_with_the_last_connection(path: Path, tmp_path: Path) -> None:
    first = open_lite(path)
    second = open_lite(tmp_path / "." / "x.db")
    assert (first.is_lite, first.server_version, len(processes(path))) == (True, "2.5.1", 1)
    first.close()
    assert second.client.list_collections() == []
    second.close()
    assert processes(path) == []


def test_process_ends_after_an_error(path: Path) -> None:
    with pytest.raises(RuntimeError), open_lite(path):
        raise RuntimeError
    assert processes(path) == []


def test_a_database_that_another_process_holds_is_left_alone(path: Path, holder: subprocess.Popen[str]) -> None:
    for _ in range(2):  # the failed attempt must not take the holder's lock away
        with pytest.raises(MilvusError, match="in use by another process"):
            open_lite(path)
    assert len(processes(path)) == 1
    holder.kill()
    holder.wait()
    assert_opens(path)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_process_ends_with_its_owner_however_that_dies(
    how: signal.Signals, path: Path, holder: subprocess.Popen[str]
) -> None:
    """An interrupt goes to the owner's process group, in which Milvus Lite is not."""
    assert os.getpgid(processes(path)[0].pid) != os.getpgid(holder.pid)
    os.killpg(holder.pid, how)
    holder.wait()
    assert gone(path)


def test_a_process_that_died_is_told_and_replaced(path: Path) -> None:
    first = connect(MilvusSettings(uri=str(path), timeout=2))
    processes(path)[0].kill()
    assert gone(path)
    with pytest.raises(MilvusError, match="process of Milvus Lite ended"), first.calling("list"):
        first.client.list_collections(timeout=1)
    assert_opens(path)
    first.close()
    assert processes(path) == []


def test_other_files_are_refused_and_not_touched(tmp_path: Path) -> None:
    text, other = tmp_path / "text.db", tmp_path / "other.db"
    text.write_text("no database " * 100)
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE mine (a INTEGER)")
        database.commit()
    before = {path: path.read_bytes() for path in (text, other)}
    for path, says in ((text, "is not a Milvus Lite database"), (other, "not one of Milvus Lite")):
        with pytest.raises(MilvusError, match=says):
            open_lite(path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_temporary_folder_far_down(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its path is longer than that of a socket may be."""
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    assert_opens(path)


def test_no_temporary_folder_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    with pytest.raises(MilvusError, match=r"needs a temporary folder, and there can be none \(.*variable TMPDIR"):
        open_lite(path)


def test_empty_file_is_as_good_as_none(path: Path) -> None:
    path.touch()
    assert_opens(path)


@pytest.mark.parametrize(
    ("place", "error", "says"),
    [
        ("nowhere/x.db", MilvusError, "there is no folder"),
        ("folder.db", MilvusError, "it is a folder"),
        ("/proc/x.db", MilvusError, "cannot open"),
        ("a name.db", InputError, "no file named 'a name.db'"),
        (f"{'x' * 40}.db", InputError, "at most 36"),
        ("x.sqlite", InputError, r"ends in \.db"),
        ("localhost:19530", InputError, "http://HOST:19530"),
    ],
)
def test_places_that_cannot_hold_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: type[Exception], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.db").mkdir()
    with pytest.raises(error, match=says):
        open_lite(Path(place))


def test_release_without_binary_vectors_is_refused(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "milvus_lite-3.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: milvus-lite\nVersion: 3.0.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BackendMissingError, match=r"milvus-lite 3.0.1 has no BINARY_VECTOR.*milvus-ichash\[lite\]"):
        open_lite(path)


@pytest.mark.parametrize(
    ("looked_up", "answer", "says"),
    [
        ("version_of", Mock(return_value=None), r"milvus-ichash\[lite\]"),
        ("find_spec", Mock(return_value=None), "no executable for this platform"),
    ],
    ids=["no package", "a package without its executable"],
)
def test_what_is_not_installed_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, looked_up: str, answer: Mock, says: str
) -> None:
    monkeypatch.setattr(lite, looked_up, answer)
    with pytest.raises(BackendMissingError, match=says):
        open_lite(path)
    assert gone(path)


def test_it_works_without_pkg_resources(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """milvus_lite 2.5.1 imports it, and setuptools 82 dropped it."""
    monkeypatch.setitem(sys.modules, "pkg_resources", None)
    assert_opens(path)


def test_a_database_open_through_a_client_of_its_own_is_told(tmp_path: Path) -> None:
    """Locks do not hold within one process, where pymilvus may have started a Milvus Lite by itself."""
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from milvus_ichash.index.connection import connect, import_pymilvus\n"
        "from milvus_ichash.settings import MilvusSettings\n"
        "from milvus_ichash.errors import MilvusError\n"
        "client = import_pymilvus().MilvusClient('./x.db')\n"
        "try: connect(MilvusSettings(uri='x.db'))\n"
        "except MilvusError as error: print(error)\n"
        "print(client.list_collections())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "open in this process already" in done.stdout
    assert done.stdout.endswith("[]\n")
