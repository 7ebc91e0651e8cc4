"""A real Milvus server of the PyPI package `milvus` (2.3.5), as a process of ours, with its own data folder and ports.

It listens on all interfaces and no setting changes that, so it is started only where the network is closed: where there
is nothing but a loopback interface, as in a network namespace of its own (`support/closed_network.py`).

    python tests/support/closed_network.py python tests/support/milvus_server.py [COMMAND ...]

starts one, runs the command (a shell where none is given) with MILVUS_URI set to it, and stops it afterwards.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

_PORT_KEYS = ("proxy_port", "etcd_port")
_START_SECONDS = 180
_STOP_SECONDS = 20


def network_is_closed() -> bool:
    """True where nobody else can reach what listens here: no interface but the loopback."""
    return {name for _, name in socket.if_nameindex()} <= {"lo"}


def installed() -> bool:
    """True where the package `milvus` is there."""
    return importlib.util.find_spec("milvus") is not None


class MilvusServer:
    """A Milvus standalone. Start it with `start`, or as a context manager.

    Attributes:
        folder: its data; a second server over the same folder finds what the first one wrote.
        uri: its address.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._health = free_port()
        self._config = self._write_config()
        self.uri = f"http://127.0.0.1:{self._config.get('proxy_port')}"

    def _write_config(self) -> Any:
        package = _package()
        config = package.MilvusServerConfig(data_dir=str(self.folder), **{key: free_port() for key in _PORT_KEYS})
        config.resolve()
        package._initialize_data_files(str(self.folder))
        return config

    def start(self) -> MilvusServer:
        """Start it, and wait until it is ready.

        Raises:
            RuntimeError: the network is open, or it ended or did not get ready in three minutes.
        """
        if not network_is_closed():
            raise RuntimeError(
                "this Milvus server would listen on all interfaces: start it where the network is closed"
            )
        binaries = self.folder / "bin"
        environment = {
            **os.environ,
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._health),
            "MILVUS_RUN_DIR": str(self.folder / "run"),
            "LD_LIBRARY_PATH": f"{binaries}:{os.environ.get('LD_LIBRARY_PATH', '')}",
        }
        with (self.folder / "logs" / "server.log").open("ab") as log:
            # A session of its own: Ctrl-C in the terminal, or in a test, is not for it.
            self._process = subprocess.Popen(
                [str(binaries / "milvus"), "run", "standalone"],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_ready()
        return self

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"the Milvus server ended while it started; its log is in {self.folder / 'logs'}")
            if self._healthy():
                return
            time.sleep(0.1)
        self.kill()
        raise RuntimeError(
            f"the Milvus server was not ready in {_START_SECONDS} s; its log is in {self.folder / 'logs'}"
        )

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._health}/healthz", timeout=5) as answer:
                return b"OK" in answer.read()
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self._end(signal.SIGKILL, None)

    def stop(self) -> None:
        """Ask it to end; it is slow to, so after 20 s it is killed."""
        self._end(signal.SIGTERM, _STOP_SECONDS)

    def _end(self, how: signal.Signals, patience: float | None) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> MilvusServer:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.kill()


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _package() -> ModuleType:
    import milvus

    return milvus


def main(command: list[str]) -> int:
    """Run a command beside a server; returns its exit code. Where the server is not installed, run it alone."""
    if not installed():
        return subprocess.call(command)
    folder = Path(tempfile.mkdtemp(prefix="milvus-"))
    try:
        with MilvusServer(folder) as server:
            sys.stderr.write(
                f"Milvus 2.3.5 at {server.uri}, for this command and what it starts only; MILVUS_URI is set.\n"
            )
            return subprocess.call(
                command or [os.environ.get("SHELL", "sh")], env={**os.environ, "MILVUS_URI": server.uri}
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
