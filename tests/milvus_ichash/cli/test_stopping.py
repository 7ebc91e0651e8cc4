from __future__ import annotations

import signal
import subprocess
import sys

import pytest

HANGS = """
import os, sys, threading
from milvus_ichash.cli import stopping
stopping.PATIENCE = 0.2
lock = threading.Lock()
try:
    with stopping.stopped_by_signals():
        try:
            os.kill(os.getpid(), int(sys.argv[1]))
        finally:
            lock.acquire()
            if sys.argv[2] == "hangs":
                lock.acquire()
except KeyboardInterrupt:
    threading.Event().wait(0.6)
    print("ended by itself")
"""


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_program_that_cannot_stop_is_ended(how: signal.Signals, code: int) -> None:
    """As where the signal came within a call of gRPC, and a lock of it is taken for ever."""
    command = [sys.executable, "-c", HANGS, str(how.value)]
    done = subprocess.run([*command, "hangs"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == "Error: not stopped within 0.2 s, so it is ended; --resume may go on with it.\n"
    done = subprocess.run([*command, "stops"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended by itself\n", "")
