"""Commands that are run to their end, or killed on their way."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil
from support.command import PROGRAM, environment, run_here

PATIENCE = 240
"""Seconds after which a command hangs."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENDS_AFTER = {
    signal.SIGKILL: {-signal.SIGKILL},
    signal.SIGTERM: {-signal.SIGTERM, 143, 5},
    signal.SIGINT: {-signal.SIGINT, 130, 5},
}
"""Exit codes after a signal; and 0 where the command was through."""


@dataclass(frozen=True)
class Ended:
    """How a command ended; `hung` where it had to be killed for taking too long."""

    code: int
    out: str
    err: str
    hung: bool = False

    def problems(self, codes: set[int]) -> list[str]:
        """What is wrong with the end of a command that may end with these exit codes."""
        wrong = []
        if self.hung:
            wrong.append("hung")
        if "Traceback" in self.err:
            wrong.append("traceback")
        if self.code not in codes:
            wrong.append(f"exit code {self.code}, not one of {sorted(codes)}")
        return [f"{', '.join(wrong)}: {self.err[-1500:]}"] if wrong else []


def run_whole(words: Sequence[object]) -> Ended:
    """Run a command in this process."""
    done = run_here(*words, env=environment())
    return Ended(done.returncode, done.stdout, done.stderr)


def start(words: Sequence[object]) -> psutil.Popen:
    """Start a command in a process and a session of its own."""
    return psutil.Popen(
        [*PROGRAM, *map(str, words)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: psutil.Popen, how: signal.Signals) -> None:
    """Send a signal, where the process has not ended by itself."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(how)


def finish(process: psutil.Popen) -> Ended:
    """Wait for the end."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        return Ended(process.returncode, out, err, hung=True)
    return Ended(process.returncode, out, err)


def let_run(process: psutil.Popen, seconds: float, moments: Callable[[], int], number: int) -> None:
    """Return after so many seconds, or as soon as `moments` gives this number, or once the process has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and moments() < number and process.poll() is None:
        time.sleep(0.002)


def pick_signal(rng: random.Random) -> signal.Signals:
    return rng.choice(SIGNALS)
