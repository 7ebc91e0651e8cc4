"""The command line inside this process: as a subprocess would do, without its seconds of imports."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from subprocess import CompletedProcess
from unittest.mock import patch

from milvus_ichash.cli import main


def run_here(*words: object) -> CompletedProcess[str]:
    """Run `milvus-ichash` with these words, and catch what it writes and its exit code."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    arguments = ["milvus-ichash", *map(str, words)]
    with patch.object(sys, "argv", arguments), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
