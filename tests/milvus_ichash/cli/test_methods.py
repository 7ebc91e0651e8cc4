"""`milvus-ichash methods`: quick, without torch, in every format."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

from support.command import refused, run_here
from support.tiny import plugin, tiny_environment


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    with plugin():
        return run_here("methods", *words)


def test_the_list() -> None:
    done = _run("--format", "json")
    rows = {row["method"]: row for row in json.loads(done.stdout)}
    assert rows["tiny"] == {
        "method": "tiny",
        "family": "fused",
        "codes": "code",
        "description": "a fused method that is trained in milliseconds and uses all that the frame offers",
    }
    assert (rows["tiny-cross"]["family"], rows["tiny-cross"]["codes"]) == ("cross-modal", "<modality>_code")
    table = _run()
    assert all(name in table.stdout for name in rows)
    assert (table.returncode, table.stderr) == (0, "")


def test_one_method() -> None:
    about = json.loads(_run("nch", "-f", "json").stdout)
    assert "Neighbor-Aware" in about["paper"]
    assert "nch/mirflickr25k" in about["recipes"]
    assert about["citation"]["doi"] == "10.1109/TMM.2023.3238308" and about["citation"]["doi"] in about["paper"]
    assert {"setting", "default", "from", "type", "meaning"} == set(about["settings"][0])
    sources = {row["setting"]: row["from"] for row in about["settings"]}
    assert (sources["anchors"], sources["epochs"], sources["completion"]) == ("public code", "ours", "paper")
    assert any(
        (f["table"], f["dataset"], f["bits"], f["value"]) == ("PMCH 1", "MIRFlickr-25K", 32, 0.7743)
        for f in about["figures"]
    )
    shown = _run("nch").stdout
    assert "Settings (train --set NAME=VALUE)" in shown
    assert "Published figures" in shown
    assert "0.7743" in shown and "level" not in shown.partition("Published figures")[2], (
        "columns that no figure fills are left out"
    )
    rows = list(csv.DictReader(io.StringIO(_run("tiny", "-f", "csv").stdout)))
    assert {"name": "family", "value": "fused"} in rows


def test_an_unknown_method() -> None:
    done = _run("tinny")
    assert refused(done, 2, "there is no method 'tinny'") and "Did you mean 'tiny'?" in done.stderr


def test_it_does_not_import_torch() -> None:
    code = """
import sys
from milvus_ichash.cli.app import app
for words in (["methods"], ["methods", "tiny"]):
    app(words, standalone_mode=False)
sys.exit("torch" in sys.modules)
"""
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env=tiny_environment(), capture_output=True, check=False
        ).returncode
        == 0
    )
