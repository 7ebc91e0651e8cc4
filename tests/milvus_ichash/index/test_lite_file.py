from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support.command import PROGRAM, environment
from support.damage import cut_off_in_a_write, overwrite_pages
from support.mounts import of_size, write_protected

from milvus_ichash.bundle import Manifest
from milvus_ichash.errors import MilvusError
from milvus_ichash.index import lite_file
from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.index.hash_index import HashIndex

N = 3_000
IDS = [f"k{i}" for i in range(N)]


def codes(n: int) -> dict[str, np.ndarray]:
    return {"code": np.random.default_rng(0).integers(0, 256, (n, 2), dtype=np.uint8)}


def write(index: HashIndex, ids: list[str]) -> int:
    return index.upsert(ids, codes(len(ids)), np.ones((len(ids), 2), np.bool_))


def open_file(path: Path, **options: bool) -> Connection:
    return connect(uri=str(path), timeout=30, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, fused: Manifest) -> Path:
    """A file with a collection."""
    path = tmp_path_factory.mktemp("whole") / "x.db"
    with open_file(path) as connection:
        write(HashIndex.create(connection, "items", fused), IDS)
    return path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(whole, tmp_path))


def pages(path: Path) -> int:
    return path.stat().st_size // 4096


@pytest.mark.parametrize("content", [b"\0", b"\xff", b"x"])
def test_damaged_pages_are_told_and_nothing_is_started(path: Path, content: bytes) -> None:
    overwrite_pages(path, pages(path) // 2, 2, content)
    before = path.read_bytes()
    with pytest.raises(MilvusError, match=r"x\.db' is damaged \(.+\): rows of it may be gone or wrong\. Bring it back"):
        open_file(path)
    assert path.read_bytes() == before


def test_pages_in_each_others_place_are_told(path: Path) -> None:
    """Each is a good page, so that Milvus Lite has one half of the rows twice and the other not at all."""
    content = bytearray(path.read_bytes())
    a, b = (4096 * (pages(path) * part // 4) for part in (2, 3))
    content[a : a + 4096] = content[b : b + 4096]
    path.write_bytes(content)
    with pytest.raises(MilvusError, match="is damaged"):
        open_file(path)


def test_a_cut_off_file_is_damaged(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(4096 * (pages(path) // 2))
    with pytest.raises(MilvusError, match="is damaged"):
        open_file(path)


def test_a_large_file_is_checked_where_that_is_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite_file, "CHECKED_BYTES", 4096)
    overwrite_pages(path, pages(path) // 2)
    with open_file(path) as connection:
        assert HashIndex.open(connection, "items").count() < N
    with pytest.raises(MilvusError, match="is damaged"):
        open_file(path, thorough=True)


def test_bytes_that_break_a_row_are_told_when_it_is_loaded(path: Path) -> None:
    """SQLite does not see them: they are within a row."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE items SET data = zeroblob(length(data)) WHERE milvus_id = 'k7'")
        database.commit()
    with open_file(path) as connection, pytest.raises(MilvusError, match=r"'items': '.*x\.db' is damaged \(failed to"):
        HashIndex.open(connection, "items")


def test_a_write_that_was_cut_off_is_taken_back(path: Path) -> None:
    cut_off_in_a_write(path)
    with open_file(path) as connection:
        assert HashIndex.open(connection, "items").read_back().ids.tolist() == sorted(IDS)


def test_a_locked_file_is_told_on_opening_and_on_writing(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(MilvusError, match=r"another program has locked '.*x\.db': close it"):
            open_file(path)
        other.execute("ROLLBACK")
        with open_file(path) as connection:
            index = HashIndex.open(connection, "items")
            other.execute("BEGIN IMMEDIATE")
            for change in (lambda: write(index, ["new"]), lambda: index.delete(["k1"])):
                with pytest.raises(MilvusError, match=r"'items': another program has locked '.*x\.db'"):
                    change()
            other.execute("ROLLBACK")
        with open_file(path) as connection:
            assert HashIndex.open(connection, "items").count() == N


def run(before: list[str], *words: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [*before, *PROGRAM, *map(str, words)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def read_only(path: Path) -> Iterator[list[str]]:
    """Words before a command that finds the folder of the file write-protected."""
    yield write_protected(path.parent)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.slow
def test_a_file_in_a_read_only_folder_can_be_queried(
    path: Path, read_only: list[str], make_bundle: Callable[..., Path]
) -> None:
    bundle = make_bundle(label_names=("fruit", "car"))
    words = ("-c", "items", "--uri", path, "--format", "csv")
    done = run(read_only, "query", "--bundle", bundle, "--id", "k5", "-k", 3, *words)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4 and done.stderr == ""
    for command in (["delete", "--id", "k5"], ["delete", "--filter", "has_text == true", "--yes"]):
        done = run(read_only, *command, *words)
        assert (done.returncode, done.stdout) == (3, "")
        assert "can only be read: it, or its folder, is write-protected" in done.stderr
    done = run(read_only, "inspect", "--uri", path.with_name("new.db"))
    assert (done.returncode, "there is no database" in done.stderr) == (2, True)


def test_a_file_that_is_write_protected_by_itself_can_be_read(path: Path) -> None:
    done = run(write_protected(path), "doctor", "--uri", path, "--format", "json")
    found = {row["check"]: row["found"] for row in json.loads(done.stdout)}
    assert found["Milvus"] == "reached, Lite 2.5.1; its file is whole, and write-protected"
    assert list(path.parent.iterdir()) == [path]


READ_AND_HOLD = """
import sys
from milvus_ichash.index.connection import connect
with connect(uri=sys.argv[1]) as connection:
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_several_processes_can_read_a_read_only_file_and_none_that_is_being_written(
    path: Path, read_only: list[str]
) -> None:
    command = [*read_only, sys.executable, "-c", READ_AND_HOLD, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as reader:  # type: ignore[call-overload]
        assert reader.stdout.readline() == "open\n"
        assert run(read_only, "inspect", "-c", "items", "--uri", path).returncode == 0
        reader.stdin.close()
        assert reader.wait() == 0
    with open_file(path):
        done = run(read_only, "inspect", "-c", "items", "--uri", path)
    assert (done.returncode, "is in use by another process" in done.stderr) == (3, True)
    lite_lock = path.with_name(".x.db.lock")
    lite_lock.unlink()


def test_a_write_that_was_cut_off_in_a_read_only_folder_says_what_to_do(path: Path, tmp_path: Path) -> None:
    cut_off_in_a_write(path)
    done = run(write_protected(tmp_path), "inspect", "-c", "items", "--uri", path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "copy it and 'x.db-journal' to another folder" in done.stderr.replace("\n", " ")


FILL = """
import sys
import numpy as np
from milvus_ichash.bundle import read_manifest
from milvus_ichash.errors import MilvusError
from milvus_ichash.index.connection import connect
from milvus_ichash.index.hash_index import HashIndex
uri, bundle, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
try:
    with connect(uri=uri) as connection:
        index = HashIndex.create(connection, "items", read_manifest(bundle), recreate=True)
        for first in range(0, 10 * rows, rows):
            ids = [f"k{i}" for i in range(first, first + rows)]
            index.upsert(ids, {"code": np.zeros((rows, 2), np.uint8)}, np.ones((rows, 2), np.bool_))
except MilvusError as error:
    print(error)
with connect(uri=uri) as connection:
    print(HashIndex.open(connection, "items").count() % rows)
"""


OPEN = """
import sys
from milvus_ichash.errors import MilvusError
from milvus_ichash.index.connection import connect
try:
    connect(uri=sys.argv[1])
except MilvusError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.slow
def test_a_full_disk_is_told_and_the_file_stays_whole(tmp_path: Path, make_bundle: Callable[..., Path]) -> None:
    """After it, Milvus Lite has rows in memory that it could not write: it must not answer with them."""
    (tmp_path / "small").mkdir()
    command = [sys.executable, "-c", FILL, tmp_path / "small" / "x.db", make_bundle(), "500"]
    done = subprocess.run([*of_size(tmp_path / "small", "400k"), *command], capture_output=True, text=True, check=True)
    said, rest = done.stdout.splitlines()
    assert "'items': the disk of " in said and "x.db' is full (0." in said and "make room" in said
    assert rest == "0"


def test_no_room_for_a_new_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    fill = 'dd if=/dev/zero of="$0/much" bs=4096 2>/dev/null; exec "$@"'
    before = [*of_size(tmp_path / "small", "64k"), "sh", "-c", fill, str(tmp_path / "small")]
    uri = tmp_path / "small" / "x.db"
    done = subprocess.run([*before, sys.executable, "-c", OPEN, uri], env=environment(), capture_output=True, text=True)
    assert done.returncode == 3
    assert "does not start on" in done.stdout and "x.db' is full (0.0 MiB are free): make room" in done.stdout


def test_a_limit_on_the_size_of_files_is_told(tmp_path: Path, make_bundle: Callable[..., Path]) -> None:
    """As `ulimit -f` sets it: the system ends the process that writes on."""
    command = [sys.executable, "-c", FILL, tmp_path / "x.db", make_bundle(), "500"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300 << 10, 300 << 10))

    done = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=limit)
    said, rest = done.stdout.splitlines()
    assert "may make one (ulimit -f); run the command again" in said
    assert rest == "0"
