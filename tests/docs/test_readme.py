"""README: its Python and its commands run as they stand, and a package index shows no link that leads nowhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command import environment, run_here
from support.tiny import make_table

from milvus_ichash.io import open_source

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
STEPS = README.partition("## Your own data")[2].partition("## On a Milvus server")[0]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PYTHON = [text for language, text in BLOCK.findall(README) if language == "python"]
COMMANDS = re.findall(
    r"^milvus-ichash [^>\n]*", "".join(text for language, text in BLOCK.findall(STEPS) if not language), re.MULTILINE
)
ID = "transportation/boating/sailing_tack"
RELATIVE_LINK = re.compile(r"\]\((?!https?://|#)")


def test_readme_has_what_is_tested_here() -> None:
    assert len(PYTHON) == 2
    assert [shlex.split(command)[1] for command in COMMANDS[:3]] == ["train", "ingest", "query"]
    assert len(COMMANDS) == 6


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_python_in_readme_uses_no_name_that_it_does_not_define(block: str) -> None:
    words = "ruff check --isolated --quiet --select E9,F --ignore F401 -".split()
    done = subprocess.run([sys.executable, "-m", *words], input=block, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    # Names that stand in comments are there too.
    imported = set(re.findall(r"import (.*)", block)[0].split(", ")) if "milvus_ichash" in block else set()
    in_comments = set(re.findall(r"\b[A-Z][a-z]+[A-Z]\w*", " ".join(re.findall(r"#(.*)", block))))
    assert in_comments <= imported


def test_the_table_of_readme_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(PYTHON[0], {})
    info = open_source(tmp_path / "items.parquet").info
    assert (info.rows, info.dims, info.label_names) == (3, {"image": 2, "text": 3}, ("car", "fruit", "red"))


@pytest.mark.slow
def test_the_steps_of_readme_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With small data, and one epoch of training; then what stands under "From Python"."""
    _write_items(tmp_path / "items.parquet")
    for command in COMMANDS:
        words = [*shlex.split(command)[1:], *(["--epochs", "1"] if "train" in command.split() else [])]
        done = run_here(*words, folder=tmp_path, env=environment())
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.strip(), command
        if "--filter" in words:
            assert "transportation" in done.stdout
    assert (tmp_path / "pr.png").is_file()
    monkeypatch.chdir(tmp_path)
    for name in [name for name in environment() if name.startswith("MILVUS_")]:
        monkeypatch.delenv(name)
    names: dict[str, object] = {}
    exec(PYTHON[1], names)
    assert np.shape(names["hits"].ids) == (500, 10)  # type: ignore[attr-defined]


def test_a_package_index_shows_no_link_that_leads_nowhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    shown = README
    for each in project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        shown = re.sub(each["pattern"], each["replacement"], shown)
    assert RELATIVE_LINK.search(README)
    assert not RELATIVE_LINK.search(shown) and "![" not in shown
    assert "(docs/scale.md)" not in shown and "docs/scale.md" in shown, "the words of a link stay"
    assert "[Milvus](https://milvus.io)" in shown
    assert "readme" in project["project"]["dynamic"]


def test_links_in_readme_lead_to_files() -> None:
    for path in re.findall(r"\]\((?!https?://|#)([^)#]*)", README):
        assert (ROOT / path).exists(), path


def _write_items(path: Path) -> None:
    table = make_table(1200)
    assert table.labels is not None
    ids = [ID, *(f"item {i}" for i in range(1, len(table)))]
    modalities = {
        name: [row.tolist() if there else None for row, there in zip(x, table.present[:, i], strict=True)]
        for i, (name, x) in enumerate(table.features.items())
    }
    names = ["transportation", "fruit", "flags", "shapes"]
    labels = [[names[c] for c in np.flatnonzero(row)] for row in table.labels]
    labels[0] = ["transportation"]
    pq.write_table(pa.table({"id": ids, **modalities, "labels": labels, "title": ids}), path)
