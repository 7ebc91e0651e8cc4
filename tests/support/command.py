"""The command line, in this process or in one of its own, without this machine's settings for Milvus."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest.mock import patch

from milvus_ichash.cli import main

PROGRAM = [sys.executable, "-m", "milvus_ichash"]


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of this machine for Milvus, on one thread; `more` comes on top."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MILVUS_", "ZILLIZ_"))}
    return kept | {"OMP_NUM_THREADS": "1"} | more


def python_path(*folders: Path) -> str:
    """PYTHONPATH with these folders before those that are in it."""
    return os.pathsep.join(filter(None, [*map(str, folders), os.environ.get("PYTHONPATH")]))


def run_here(*words: object, folder: Path | None = None, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Run `milvus-ichash` in this process, without the seconds of a new one; catch what it writes and its exit code."""
    out, err, code, before = io.StringIO(), io.StringIO(), 0, Path.cwd()
    arguments = ["milvus-ichash", *map(str, words)]
    os.chdir(folder or before)
    try:
        with (
            patch.dict(os.environ, os.environ if env is None else env, clear=True),
            patch.object(sys, "argv", arguments),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        os.chdir(before)
    return CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def run_process(
    *words: object, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """Run `milvus-ichash` in a process of its own."""
    command = [*PROGRAM, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=500, check=False)


def started(
    *words: object, until: Callable[[], bool], folder: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `milvus-ichash` as a terminal does, in a process group of its own; return it where `until` holds."""
    process = subprocess.Popen(
        [*PROGRAM, *map(str, words)],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not until():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    return process


def refused(done: CompletedProcess[str], code: int, says: str) -> bool:
    """Whether a run ended with this exit code, nothing on stdout, and these words, without a traceback, on stderr."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert says in done.stderr.replace("\n", " ") and "Traceback" not in done.stderr, done.stderr
    return True


class CommandLine:
    """The program in a folder, with Milvus Lite in the file `x.db` of it, or with other settings."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.settings = folder, {"MILVUS_URI": "./x.db", **settings}

    def run(self, *words: object, **settings: str) -> CompletedProcess[str]:
        """In this process."""
        return run_here(*words, folder=self.folder, env=environment(**{**self.settings, **settings}))

    def in_a_process(self, *words: object, **settings: str) -> CompletedProcess[str]:
        """In a process of its own."""
        done = run_process(*words, folder=self.folder, env=environment(**{**self.settings, **settings}))
        assert "Traceback" not in done.stderr
        return done

    def rows(self, *words: object, **settings: str) -> Any:
        """What it prints as JSON, in this process."""
        done = self.run(*words, "--format", "json", **settings)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
