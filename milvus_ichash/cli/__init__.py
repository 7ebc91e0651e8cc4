"""The command line: `milvus-ichash`. One file per command; everything heavy is imported inside the commands."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the program, and exit."""
    from milvus_ichash.cli.ending import ended

    sys.exit(ended(_program))


def _program() -> int:
    from milvus_ichash.cli.app import run

    return run()
