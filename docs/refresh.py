"""Bring the tables of docs/results.md and docs/unihash.md up to date: run each command that prints one, and put what it
prints below.

    python docs/refresh.py [--no-run]

A command is a ```console block that begins with `milvus-ichash compare`; the lines below it that begin with `|` are
its table. With --no-run nothing is trained: the tables show the runs that are there. Run it where ../shared/data is,
from the clone's top folder.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGES = [Path(__file__).with_name(name) for name in ("results.md", "unihash.md")]
BLOCK = re.compile(r"```console\n(?P<command>milvus-ichash compare .*?)```\n\n(?P<table>(?:\|[^\n]*\n)*)", re.DOTALL)


def main() -> None:
    """Rewrite the pages."""
    extra = sys.argv[1:]

    def refreshed(block: re.Match[str]) -> str:
        command = shlex.split(block["command"].replace("\\\n", " "))
        done = subprocess.run([*command, *extra, "--format", "markdown"], stdout=subprocess.PIPE, text=True, check=True)
        return f"```console\n{block['command']}```\n\n{done.stdout}"

    for page in PAGES:
        page.write_text(BLOCK.sub(refreshed, page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
