from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.command import environment

from milvus_ichash import bundle as bundle_module
from milvus_ichash.bundle import ENCODER, read_manifest, save
from milvus_ichash.errors import InputError
from milvus_ichash.index.connection import connect
from milvus_ichash.temporary import KIND, TemporaryFolder, held

HOLD = """
import sys
from pathlib import Path
from milvus_ichash.temporary import TemporaryFolder
folder = TemporaryFolder(sys.argv[1], Path(sys.argv[2]))
(folder.path / "something").write_text("of a run")
print(folder.path, flush=True)
sys.stdin.read()
"""


def holder(kind: str, place: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process with a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, kind, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_next_run_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path, how: signal.Signals) -> None:
    killed, left = holder("x", tmp_path)
    alive, theirs = holder("x", tmp_path)
    others = [tmp_path / name for name in ("x-12345678", "x-other", "y-12345678")]
    for other in others:
        other.mkdir()
    try:
        killed.send_signal(how)
        killed.communicate()
        assert left.is_dir()
        with TemporaryFolder("x", tmp_path) as own:
            # Several threads, and this process's own folders: none of them takes a live one.
            threads = [threading.Thread(target=lambda: TemporaryFolder("x", tmp_path).close()) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(tmp_path.iterdir()) == sorted([own, theirs, *others])
            assert (theirs / "something").read_text() == "of a run"
    finally:
        alive.kill()
        alive.communicate()


def test_a_folder_of_another_kind_of_the_same_beginning_is_left(tmp_path: Path) -> None:
    killed, left = holder("x-more", tmp_path)
    killed.kill()
    killed.communicate()
    TemporaryFolder("x", tmp_path).close()
    assert left.is_dir()
    TemporaryFolder("x-more", tmp_path).close()
    assert not left.exists()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    killed, left = holder("x", tmp_path)
    killed.kill()
    killed.communicate()
    elsewhere = tmp_path / "elsewhere"
    left.rename(elsewhere)
    left.symlink_to(elsewhere)
    TemporaryFolder("x", tmp_path).close()
    assert (elsewhere / "something").is_file()


def test_two_runs_cannot_hold_one_folder(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(InputError, match="another run is writing into"), held(tmp_path):
        pass
    with held(tmp_path):
        pass


OPEN_LITE = """
import os, signal, sys
from milvus_ichash.index.connection import connect
connect(uri=sys.argv[1])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files, of a short name: the path of a socket cannot be long."""
    with TemporaryDirectory() as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


def test_the_folder_of_a_killed_milvus_lite(tmp_path: Path, place: Path) -> None:
    command = [sys.executable, "-c", OPEN_LITE, tmp_path / "x.db"]
    done = subprocess.run(command, env=environment(TMPDIR=str(place)), check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(place.glob(f"{KIND}-*"))) == 1
    with connect(uri=str(tmp_path / "x.db")):
        assert len(list(place.glob(f"{KIND}-*"))) == 1
    # Logs that Milvus Lite writes by itself are gone too.
    assert not list(place.iterdir())


KILLED_AS_IT_WRITES = """
import os, signal, sys
from pathlib import Path
from milvus_ichash import bundle
source, target, moment = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
renames, rename = [], Path.rename
def counted(path, to):
    if path.name in ("new", "bundle"):
        renames.append(path)
        if len(renames) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, to)
Path.rename = counted
manifest = bundle.read_manifest(source)
bundle.save(target, manifest, {name: source / name for name in manifest.files}, overwrite=True)
"""


@pytest.mark.parametrize("moment", [1, 2], ids=["before the old one is away", "while there is none"])
def test_a_bundle_that_a_killed_run_was_to_replace(
    tmp_path: Path, make_bundle: Callable[..., Path], moment: int
) -> None:
    """The next run, which fails, leaves the old one, and no temporary folders."""
    old, new, target = make_bundle(seed=1), make_bundle(seed=2), tmp_path / "bundle"
    manifest = read_manifest(old)
    save(target, manifest, {name: old / name for name in manifest.files})
    command = [sys.executable, "-c", KILLED_AS_IT_WRITES, new, target, str(moment)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert target.exists() is (moment == 1)
    assert len(list(tmp_path.iterdir())) == (2 if moment == 1 else 1)
    with pytest.raises(InputError):
        save(target, read_manifest(new), {ENCODER: tmp_path / "not there"}, overwrite=True)
    assert list(tmp_path.iterdir()) == [target]
    assert bundle_module.verify(target).fingerprint == manifest.fingerprint
