"""Read files in a process of its own, which may crash, hang or ask for all memory without harm to the tests."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

MOST_MEMORY = 1 << 30
MOST_SECONDS = 10.0
_PATIENCE = 120.0
"""Seconds without an answer and without work after which a process is stuck."""
_STEP = 0.25


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        kind: "table" (it was read), "refused" (an error of ours), or what must not be: "traceback", "died", "hung".
        said: the message, or the traceback.
        memory: the most that the process held, in bytes.
        seconds: of the processor.
    """

    kind: str
    said: str = ""
    memory: int = 0
    seconds: float = 0.0

    @property
    def mark(self) -> str:
        """What failures of one cause have in common: the place that raised it, or the kind."""
        places = [line for line in self.said.splitlines() if line.lstrip().startswith("File ")]
        return places[-1] if self.kind == "traceback" and places else f"{self.kind} {self.memory > MOST_MEMORY}"

    @property
    def problem(self) -> str:
        """Why this must not be; empty where all is well."""
        if self.kind not in ("table", "refused"):
            return f"{self.kind}: {self.said}"
        if self.memory > MOST_MEMORY:
            return f"{self.memory / 1e6:.0f} MB of memory ({self.kind}: {self.said})"
        if self.seconds > MOST_SECONDS:
            return f"{self.seconds:.1f} s ({self.kind}: {self.said})"
        return ""


class Reader:
    """The process that reads, started anew after each death."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def read(self, what: str, path: Path) -> Outcome:
        """Read a file or folder as `child.READERS[what]` does."""
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        used = _seconds_of(process)
        process.stdin.write(json.dumps({"what": what, "path": str(path)}) + "\n")
        process.stdin.flush()
        began = time.monotonic()
        while not select.select([process.stdout], [], [], _STEP)[0]:
            seconds = _seconds_of(process) - used
            if seconds > 2 * MOST_SECONDS or time.monotonic() - began > _PATIENCE:
                self.close()
                return Outcome("hung", f"no answer after {seconds:.0f} s of the processor", seconds=seconds)
        answer = process.stdout.readline()
        if not answer:
            code = process.wait()
            self._process = None
            return Outcome("died", f"exit status {code}")
        return Outcome(**json.loads(answer))

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.fuzzing.child"],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self._process


def _seconds_of(process: subprocess.Popen[str]) -> float:
    try:
        times = psutil.Process(process.pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
