"""The page of the clip art example shows any words that were searched for."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

PAGE = Path(__file__).parents[2] / "examples" / "clipart" / "page.py"


@pytest.mark.parametrize(
    "words", [r"$\frac{", "{codes} <b> %s", "a$b$", "long " * 400], ids=["formula", "markup", "math", "long"]
)
def test_any_words_are_shown(words: str, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(picture := io.BytesIO(), "webp")
    pq.write_table(pa.table({"id": ["a"], "picture": [picture.getvalue()]}), tmp_path / "pictures.parquet")
    (tmp_path / "searches").mkdir()
    hits = [{"query": words, "rank": 1, "id": "a", "distance": 3, "missing": "text", "title": words}]
    (tmp_path / "searches" / "1.json").write_text(json.dumps(hits))
    command = [sys.executable, str(PAGE), "pictures.parquet", "searches", "page.html", "sheet.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "<b>" not in (tmp_path / "page.html").read_text("utf-8")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
