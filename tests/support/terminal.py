"""A program with a terminal for its stdin, stdout and stderr."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def on_a_terminal(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> tuple[int, str]:
    """Run a command on a terminal of its own; returns its exit code and all that the terminal got."""
    master, slave = pty.openpty()
    process = subprocess.Popen(command, cwd=folder, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = read_terminal(master)
    return process.wait(), shown


def read_terminal(master: int) -> str:
    """Return all that a terminal gets, until nobody has it open any more."""
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # what Linux gives where others give an empty read
            break
        if not part:
            break
        shown += part
    os.close(master)
    return shown.decode()
