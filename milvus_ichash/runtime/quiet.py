"""Keep what onnxruntime writes while it looks for CUDA, for one sentence of our own.

Its log level would do, but cannot be read, and so not be put back to what the user had chosen.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from io import StringIO

_guard = threading.Lock()
_PROBLEM = re.compile(r"\[[WEF]:onnxruntime:[^\]]*\] ?(.*)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Catch onnxruntime's errors and warnings on stderr, and what Python prints, into the list that it yields.

    The list is filled at the end. What else is written to stderr meanwhile, by other threads or by a log level that the
    user chose, comes there after all.
    """
    said: list[str] = []
    with _guard, tempfile.TemporaryFile() as caught, redirect_stdout(StringIO()) as printed:
        try:
            before = os.dup(2)
        except OSError:  # there is no stderr
            yield said
            return
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os.dup2(caught.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(before, 2)
            os.close(before)
            caught.seek(0)
            said += _sorted_out(caught.read(), printed.getvalue())


def _sorted_out(caught: bytes, printed: str) -> list[str]:
    """Return the problems that were written; the rest goes to stderr."""
    said, hidden = [], False
    for line in caught.decode("utf-8", "replace").splitlines(keepends=True):
        problem = _PROBLEM.search(line)
        if problem:
            said.append(_COLOUR.sub("", problem[1]).strip())
        # A problem ends with its colour, on a line of its own.
        hidden = bool(problem) or (hidden and not _COLOUR.sub("", line).strip())
        if not hidden:
            sys.stderr.write(line)
    return [*said, *(line for line in printed.splitlines() if line.strip())]
