"""Milvus Lite as a process of ours: one for each database file, shared by all connections of this process.

The `milvus_lite` package can start one too, but its way is not safe enough to build on (2.5.1). Ctrl-C reaches the
child and kills it in the middle of a write; the child's messages go to our stdout; a start that fails removes the lock
file of the process that has the database open; every start waits for half a second; and the import needs
`pkg_resources`, which setuptools dropped. So only its executable is used, in the way the package itself uses it: the
child serves the file on a Unix socket for as long as this process holds the lock on `.<name>.lock`, and ends by itself
when the lock is let go, even after kill -9. The lock file itself stays: whoever removes it may take it from under
another process.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from milvus_ichash.addresses import address_of
from milvus_ichash.errors import BackendMissingError, InputError, MilvusError

_CURE = "pip install 'milvus-ichash[lite]', or give the address of a Milvus server"
_LOCK_GRACE = 1.0
"""Seconds in which a process that has just ended may still hold the lock through its child."""

_running: dict[Path, LiteServer] = {}
_guard = threading.Lock()


def lite_version() -> str:
    """Return the version of the installed Milvus Lite.

    Raises:
        BackendMissingError: it is not installed, or a release without binary vectors.
    """
    try:
        found = version("milvus-lite")
    except PackageNotFoundError as error:
        raise BackendMissingError(f"the address is a file, which needs Milvus Lite: {_CURE}.") from error
    if int(found.partition(".")[0]) >= 3:
        raise BackendMissingError(
            f"milvus-lite {found} has no BINARY_VECTOR, so it cannot hold hash codes; 2.5.1 can: {_CURE}."
        )
    return found


class LiteServer:
    """A running Milvus Lite. Get one with `acquire`, give it back with `release`.

    Attributes:
        path: its database file.
        address: what pymilvus connects to.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self.path = path
        self.users = 1
        self._pid = os.getpid()
        _check_database(path)
        self._lock = _take_lock(path)
        try:
            # The path of a socket has at most 104 characters (macOS; 108 on Linux).
            place = tempfile.gettempdir()
            self._folder = Path(tempfile.mkdtemp(prefix="milvus-ichash-", dir=place if len(place) < 70 else "/tmp"))
            self.address = f"unix:{self._folder / 'socket'}"
            self._process = self._start()
            self._wait_until_up(timeout)
        except BaseException:
            self.stop()
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        libraries = _executable().parent
        search = f"{libraries}:{os.environ.get('LD_LIBRARY_PATH', '')}"
        with (self._folder / "log").open("wb") as log:
            # A session of its own, so that Ctrl-C in the terminal does not reach it.
            return subprocess.Popen(
                [_executable(), self.path, self.address, "ERROR", _lock_path(self.path)],
                cwd=self.path.parent,
                env={**os.environ, "LD_LIBRARY_PATH": search, "DYLD_LIBRARY_PATH": search},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_until_up(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._listens():
            if not self.alive or time.monotonic() > deadline:
                said = (self._folder / "log").read_text("utf-8", "replace").strip().splitlines()
                reason = re.sub(r"^\S+ \S+ +\d+ \S+\] (\[[^\]]*\])*", "", said[0]) if said else "no reason given"
                raise MilvusError(f"Milvus Lite does not start on '{self.path}': {reason}.")
            time.sleep(0.005)

    def _listens(self) -> bool:
        # The socket's file is there a moment before anybody listens to it; gRPC takes a refusal then for an answer.
        with socket.socket(socket.AF_UNIX) as knock:
            return knock.connect_ex(str(self._folder / "socket")) == 0

    @property
    def alive(self) -> bool:
        """False where the process has ended, which it does on some bad input."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the process: it ends by itself once the lock is free, with everything written."""
        if os.getpid() != self._pid:
            return  # a fork of the process that owns it
        self._lock.close()
        if hasattr(self, "_process"):
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder, ignore_errors=True)


def acquire(uri: str, timeout: float) -> LiteServer:
    """Return the Milvus Lite of this database file, started where it is not running in this process.

    Raises:
        InputError: the path cannot be a database's.
        MilvusError: another process has it open, it is no Milvus Lite database, or it does not start.
        BackendMissingError: no Milvus Lite that could open it.
    """
    lite_version()
    path = _database_path(uri)
    with _guard:
        server = _running.get(path)
        if server is not None and server.alive:
            server.users += 1
            return server
        if server is not None:
            server.stop()
        _running[path] = server = LiteServer(path, timeout)
        return server


def release(server: LiteServer) -> None:
    """Give a Milvus Lite back; the last user stops it."""
    with _guard:
        server.users -= 1
        if server.users <= 0:
            server.stop()
            if _running.get(server.path) is server:
                del _running[server.path]


@atexit.register
def _stop_all() -> None:
    for server in _running.values():
        server.stop()


def _executable() -> Path:
    spec = find_spec("milvus_lite")
    found = [Path(place) / "lib" / "milvus" for place in (spec.submodule_search_locations if spec else None) or ()]
    if not found or not found[0].is_file():
        raise BackendMissingError(f"the installed milvus-lite has no executable for this platform: {_CURE}.")
    return found[0]


def _database_path(uri: str) -> Path:
    """Return the path of a database file.

    Raises:
        InputError: an address or a name that Milvus Lite does not take.
        MilvusError: a place where it cannot open a database.
    """
    path = Path(uri).expanduser().resolve()
    if path.suffix != ".db":
        raise InputError(
            f"'{address_of(uri).shown}' is no address: write http://HOST:19530 for a server, "
            "or a file that ends in .db for Milvus Lite."
        )
    # The rule of milvus_lite: under another name, no other client could open the file.
    if len(path.name) > 36 or not re.fullmatch(r"[a-zA-Z0-9._-]+", path.name):
        raise InputError(f"Milvus Lite takes no file named '{path.name}': at most 36 letters, digits and '._-'.")
    may_write = os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.R_OK | os.W_OK))
    for wrong, reason in (
        (not path.parent.is_dir(), f"there is no folder '{path.parent}'"),
        (path.is_dir(), "it is a folder"),
        (not may_write, "it needs to write to the file and its folder, and may not"),
    ):
        if wrong:
            raise MilvusError(f"Milvus Lite cannot open '{uri}': {reason}.")
    _check_this_process(path)
    return path


def _check_this_process(path: Path) -> None:
    # Locks do not hold within one process, where `MilvusClient(file)` may have the file open.
    manager = getattr(sys.modules.get("milvus_lite.server_manager"), "server_manager_instance", None)
    if str(path) in getattr(manager, "_servers", ()):
        raise MilvusError(
            f"'{path}' is open in this process already, through another MilvusClient: "
            "use `connection.client` of milvus_ichash instead."
        )


def _lock_path(path: Path) -> Path:
    return path.parent / f".{path.name}.lock"


def _take_lock(path: Path) -> IO[str]:
    """Take the lock by which processes leave each other's databases alone.

    It is that of the package milvus_lite, so that programs which use that one are left alone too.
    """
    deadline = time.monotonic() + _LOCK_GRACE
    while True:
        try:
            lock = _lock_path(path).open("a")
        except OSError as error:
            raise MilvusError(
                f"Milvus Lite cannot open '{path}': its lock file cannot be written ({error.strerror})."
            ) from error
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # milvus_lite removes the lock file: a lock on a file that is gone protects nothing.
            if _lock_path(path).exists() and os.path.samestat(os.fstat(lock.fileno()), _lock_path(path).stat()):
                return lock
        except OSError as error:
            if time.monotonic() > deadline:
                lock.close()
                raise MilvusError(
                    f"'{path}' is in use by another process, and Milvus Lite lets only one in at a time: "
                    "close the other, or use a server."
                ) from error
        lock.close()
        time.sleep(0.02)


def _check_database(path: Path) -> None:
    """Raise MilvusError for a file that Milvus Lite did not make: it would add its tables to any SQLite file."""
    if not path.exists() or not path.stat().st_size:
        return
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            ours = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'collection_meta'").fetchone()
    except sqlite3.Error as error:
        raise MilvusError(
            f"'{path}' is not a Milvus Lite database, or a damaged one ({error}): choose another file."
        ) from error
    if ours is None:
        raise MilvusError(f"'{path}' is a database, but not one of Milvus Lite: choose another file.")
