"""The documents that are made from the code are up to date."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "docs" / "generate.py"


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
