"""A disk that is full while models are trained: one sentence, exit code 2, and the work goes on where there is room.

The limit on the size of files is the process's own (RLIMIT_FSIZE): a write beyond it fails as on a full disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import PROGRAM, run_here
from support.grids import write_splits
from support.tiny import make_table, tiny_environment, write_npz

from milvus_ichash.bundle import verify

pytestmark = [
    pytest.mark.usefixtures("tiny_methods"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit"),
]


def _limited(kilobytes: int, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the program, whose files may have so many kilobytes."""
    limit = f'ulimit -f {kilobytes} && exec "$@"'
    command = ["bash", "-c", limit, "-", *PROGRAM, *map(str, words)]
    done = subprocess.run(command, env=tiny_environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("Error: ") == 1
    return done


@pytest.mark.slow
def test_training_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """There is none for the first checkpoint; later, none for the bundle after the last epoch."""
    data, run = write_npz(tmp_path / "items.npz", make_table()), tmp_path / "run"
    words = ("train", data, "--out", run, "--method", "tiny", "--bits", 16, "--epochs", 2, "-q")
    done = _limited(1, *words)
    assert "checkpoint.safetensors' cannot be written: File too large." in done.stderr
    assert done.stderr.endswith("Make room, or take another folder.\n")
    assert not list(run.glob("*checkpoint*"))

    first = run_here(*words, "-f", "json")
    assert first.returncode == 0, first.stderr
    (run / "bundle" / "ichash.json").unlink()
    (run / "bundle").rename(run / "half a bundle")
    done = _limited(1, *words, "--resume")
    assert "bundle' cannot be written: File too large. Make room; epoch 2 of 2 is kept, so go on with: " in done.stderr
    again = run_here(*words, "--resume", "-f", "json")
    assert again.returncode == 0, again.stderr
    (row,), (before,) = json.loads(again.stdout), json.loads(first.stdout)
    assert row["fingerprint"] == before["fingerprint"] == verify(run / "bundle").fingerprint


@pytest.mark.slow
def test_a_comparison_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """No room for the line of the second run; then none for a bundle that is measured, which is no failure of a
    method."""
    data, results = write_splits(tmp_path / "items.npz"), tmp_path / "runs.jsonl"
    words = ("compare", data, "--modality", "image=I", "--modality", "text=T", "--bits", 16, "--results", results, "-q")
    some = (*words, "--methods", "lsh", "--seeds", "0,1,2,3")
    done = _limited(1, *some)
    assert f"'{results}' cannot be written: File too large." in done.stderr
    assert "When there is room, the same command goes on; 1 of 4 runs are in" in done.stderr
    for jobs in (1, 2):
        done = _limited(4, *words, "--methods", "tiny", "--seeds", "0,1", "--jobs", jobs)
        assert "cannot be written: File too large. When there is room, the same command goes on; 0 of 2" in done.stderr
    again = run_here(*some, "-f", "json")
    assert again.returncode == 0, again.stderr
    assert (json.loads(again.stdout)[0]["runs"], len(results.read_text("utf-8").splitlines())) == (4, 4)
