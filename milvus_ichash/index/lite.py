"""Milvus Lite as a process of ours: one for each database file, shared by all connections of this process.

The `milvus_lite` package can start one too, but its way is not safe enough to build on (2.5.1). Ctrl-C reaches the
child and kills it in the middle of a write; the child's messages go to our stdout; a start that fails removes the lock
file of the process that has the database open; every start waits for half a second; and the import needs
`pkg_resources`, which setuptools dropped. So only its executable is used, in the way the package itself uses it: the
child serves the file on a Unix socket for as long as this process holds the lock on `.<name>.lock`, and ends by itself
when the lock is let go, even after kill -9. The lock file itself stays: whoever removes it may take it from under
another process.

A file that cannot be written, or whose folder cannot, is served as well, to be read: its process holds a lock of its
own in our temporary folder, and several can read at once. Nothing is copied.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal

from milvus_ichash.errors import BackendMissingError, MilvusError
from milvus_ichash.extras import numbers_of, version_of
from milvus_ichash.index import lite_file
from milvus_ichash.temporary import TemporaryFolder

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
    found = version_of("milvus-lite")
    if found is None:
        raise BackendMissingError(f"the address is a file, which needs Milvus Lite: {_CURE}.")
    if numbers_of(found) >= (3,):
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

    def __init__(self, path: Path, timeout: float, *, thorough: bool) -> None:
        self.path = path
        self.users = 1
        self._pid = os.getpid()
        self._log_read = 0
        lite_file.check_made_by_lite(path)
        self._folder = _temporary_folder()
        self.address = f"unix:{self._folder.path / 'socket'}"
        self._locks: list[IO[str]] = []
        try:
            self._lock_path = self._take_locks()
            lite_file.check_whole(path, largest=None if thorough else lite_file.CHECKED_BYTES)
            self._process = self._start()
            self._wait_until_up(timeout)
        except BaseException:
            self.stop()
            raise

    def _take_locks(self) -> Path:
        """Take the database's lock, shared where it can only be read; return the lock that keeps our process alive."""
        beside = self.path.parent / f".{self.path.name}.lock"
        if lite_file.may_write(self.path):
            self._locks.append(_take_lock(self.path, beside, "a"))
            return beside
        # Without a lock file, nobody has the database open to write to it.
        with suppress(FileNotFoundError):
            self._locks.append(_take_lock(self.path, beside, "r"))
        own = self._folder.path / "lock"
        self._locks.append(_take_lock(self.path, own, "a"))
        return own

    def _start(self) -> subprocess.Popen[bytes]:
        libraries = _executable().parent
        search = f"{libraries}:{os.environ.get('LD_LIBRARY_PATH', '')}"
        # It writes logs of its own into the folder for temporary files, and leaves them there.
        folders = dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(self._folder.path))
        with (self._folder.path / "log").open("wb") as log:
            # A session of its own, so that Ctrl-C in the terminal does not reach it.
            return subprocess.Popen(
                [_executable(), self.path, self.address, "ERROR", self._lock_path],
                cwd=self.path.parent,
                env={**os.environ, **folders, "LD_LIBRARY_PATH": search, "DYLD_LIBRARY_PATH": search},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_until_up(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._listens():
            if not self.alive or time.monotonic() > deadline:
                said = self._new_in_log()
                line = re.sub(r"^\S+ \S+ +\d+ \S+\] (\[[^\]]*\])*", "", said.splitlines()[0]) if said else ""
                reason = lite_file.trouble(self.path, said, writes=True) or line or "no reason given"
                raise MilvusError(f"Milvus Lite does not start on '{self.path}': {reason}.")
            time.sleep(0.005)

    def _listens(self) -> bool:
        # The socket's file is there a moment before anybody listens to it; gRPC takes a refusal then for an answer.
        with socket.socket(socket.AF_UNIX) as knock:
            return knock.connect_ex(str(self._folder.path / "socket")) == 0

    def _new_in_log(self) -> str:
        with suppress(FileNotFoundError), (self._folder.path / "log").open("rb") as log:
            log.seek(self._log_read)
            new = log.read()
            self._log_read += len(new)
            return new.decode("utf-8", "replace").strip()
        return ""

    @property
    def alive(self) -> bool:
        """False where the process has ended, which it does on some bad input."""
        return self._process.poll() is None

    def trouble(self, answer: str, *, writes: bool) -> str | None:
        """Return why a call failed, in a sentence without its end; None where its answer says it already.

        After a write that failed in a way which Milvus Lite did not expect, its memory may have rows that its file does
        not: its process is ended then.
        """
        if "UNAVAILABLE" in answer:
            # Its socket is gone a moment before the process is.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
        said = f"{answer}\n{self._new_in_log()}"
        if not self.alive:
            size = ": its file is as large as this user or shell may make one (ulimit -f)"
            grown = self._process.returncode == -getattr(signal, "SIGXFSZ", 0)
            return f"the process of Milvus Lite ended{size if grown else ''}; run the command again"
        found = lite_file.trouble(self.path, said, writes=writes)
        if writes and lite_file.UNEXPECTED in answer:
            self._process.kill()
            self._process.wait()
        return found

    def stop(self) -> None:
        """End the process: it ends by itself once the lock is free, with everything written."""
        if os.getpid() != self._pid:
            return  # a fork of the process that owns it
        for lock in self._locks:
            lock.close()
        if hasattr(self, "_process"):
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._folder.close()


def acquire(uri: str, timeout: float, *, thorough: bool = False) -> LiteServer:
    """Return the Milvus Lite of this database file, started where it is not running in this process.

    A file of up to 1 GiB is searched for damage before it is started, with `thorough` any.

    Raises:
        InputError: the path cannot be a database's.
        MilvusError: another process has it open, it is damaged or no Milvus Lite database, or it does not start.
        BackendMissingError: no Milvus Lite that could open it.
    """
    lite_version()
    path = lite_file.database_path(uri)
    _check_this_process(path)
    with _guard:
        server = _running.get(path)
        if server is not None and server.alive:
            server.users += 1
            return server
        if server is not None:
            server.stop()
        _running[path] = server = LiteServer(path, timeout, thorough=thorough)
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


def _check_this_process(path: Path) -> None:
    # Locks do not hold within one process, where `MilvusClient(file)` may have the file open.
    manager = getattr(sys.modules.get("milvus_lite.server_manager"), "server_manager_instance", None)
    if str(path) in getattr(manager, "_servers", ()):
        raise MilvusError(
            f"'{path}' is open in this process already, through another MilvusClient: "
            "use `connection.client` of milvus_ichash instead."
        )


def _temporary_folder() -> TemporaryFolder:
    try:
        # The path of a socket has at most 104 characters (macOS; 108 on Linux).
        place = tempfile.gettempdir()
        return TemporaryFolder(place=Path(place if len(place) < 70 else "/tmp"))
    except OSError as error:
        raise MilvusError(
            f"Milvus Lite needs a temporary folder, and there can be none ({error.strerror or error}): "
            "name one that can be written with the variable TMPDIR."
        ) from error


def _take_lock(path: Path, lock_path: Path, mode: Literal["a", "r"]) -> IO[str]:
    """Take the lock by which processes leave each other's databases alone: to write ("a"), or to read only ("r").

    It is that of the package milvus_lite, so that programs which use that one are left alone too.

    Raises:
        FileNotFoundError: the lock is for reading, and there is none.
        MilvusError: another process has it, or there cannot be one.
    """
    deadline = time.monotonic() + _LOCK_GRACE
    while True:
        try:
            lock = lock_path.open(mode)
        except OSError as error:
            if mode == "r" and isinstance(error, FileNotFoundError):
                raise
            raise MilvusError(
                f"Milvus Lite cannot open '{path}': its lock file cannot be opened ({error.strerror})."
            ) from error
        try:
            fcntl.lockf(lock, (fcntl.LOCK_EX if mode == "a" else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            # milvus_lite removes the lock file: a lock on a file that is gone protects nothing.
            if lock_path.exists() and os.path.samestat(os.fstat(lock.fileno()), lock_path.stat()):
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
