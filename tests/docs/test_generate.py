"""The documents that are made from the code are up to date."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from milvus_ichash.errors import ExitCode

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "generate.py"


def test_the_documents_are_up_to_date_at_any_width_of_the_terminal() -> None:
    for width in ("40", "200"):
        done = subprocess.run(
            [sys.executable, str(SCRIPT), "--check"],
            env={**os.environ, "COLUMNS": width},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "docs/cli.md"])
def test_every_exit_code_stands_in_the_documents_once_with_its_meaning(document: str) -> None:
    table = re.search(r"\| exit code \| meaning \|\n.*\n((\|.*\n)+)", (ROOT / document).read_text("utf-8"))
    assert table is not None
    rows = [line.strip("| ").split(" | ", 1) for line in table[1].replace("\\|", "/").splitlines()]
    assert rows == [[str(int(code)), code.meaning.replace("|", "/")] for code in ExitCode]
