"""`milvus-ichash compare` as a person runs it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import PROGRAM, refused, run_here
from support.grids import figures_of, write_splits
from support.tiny import tiny_environment

pytestmark = pytest.mark.usefixtures("tiny_methods")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_splits(tmp_path_factory.mktemp("compare") / "items.npz")


def _words(data: Path, results: Path, *words: object) -> list[str]:
    return list(
        map(str, (data, "--modality", "image=I", "--modality", "text=T", "--bits", 16, "--results", results, *words))
    )


def _run(data: Path, results: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return run_here("compare", *_words(data, results, *words))


def _remarks(done: subprocess.CompletedProcess[str]) -> str:
    """What is written to stderr beside the lines of progress."""
    return "".join(line + "\n" for line in done.stderr.splitlines() if not re.match(r"items: runs \d+/\d+, ", line))


def _lines(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text("utf-8").splitlines()]


@pytest.mark.slow
def test_a_grid_is_run_shown_and_not_run_again(data: Path, tmp_path: Path) -> None:
    results, figure = tmp_path / "runs.jsonl", tmp_path / "pdr.png"
    words = ("--methods", "tiny,lsh", "--pdr", "0.1,0.5", "--seeds", "0,1")
    done = _run(data, results, *words, "--format", "markdown", "--figure-pdr", figure)
    assert (done.returncode, _remarks(done)) == (0, "")
    head, rule, *rows = done.stdout.splitlines()
    names = "method | variant | bits | PDR | both | image | text | random | seconds | CPU seconds | kept epoch | runs"
    assert head == f"| {names} |"
    assert set(rule) == set("| -")
    assert [row.split(" | ")[0:4] for row in rows] == [
        ["| tiny", "full", "16", "0.1"],
        ["| lsh", "baseline", "16", "0.1"],
        ["| tiny", "full", "16", "0.5"],
        ["| lsh", "baseline", "16", "0.5"],
    ]
    assert all(row.count("±") == 3 and row.endswith(" 2 |") for row in rows)
    assert figure.read_bytes().startswith(b"\x89PNG")
    content = results.read_bytes()
    assert len(_lines(results)) == 8
    assert str(data.parent) not in content.decode()

    again = _run(data, results, *words, "--format", "csv")
    assert (again.returncode, again.stderr, results.read_bytes()) == (0, "", content)
    row = next(csv.DictReader(io.StringIO(again.stdout)))
    values = [line["map"]["both"] for line in _lines(results) if line["method"] == "tiny" and line["pdr"] == 0.1]
    assert float(row["both"]) == pytest.approx(sum(values) / 2, abs=1e-4)
    assert {"both std", "image std", "text std"} <= row.keys()

    dry = _run(data, results, *words, "--methods", "cosine", "--format", "json", "--dry-run")
    states = [(row["method"], row["state"]) for row in json.loads(dry.stdout)]
    assert (dry.returncode, states.count(("tiny", "there")), states.count(("cosine", "to run")), len(states)) == (
        0,
        4,
        4,
        12,
    )
    assert results.read_bytes() == content

    there = _run(data, results, *words, "--methods", "cosine", "--format", "json", "--no-run")
    assert (there.returncode, there.stderr) == (0, f"8 of 12 runs are in '{results}'.\n")
    assert {row["method"] for row in json.loads(there.stdout)}.isdisjoint({"cosine"})
    assert results.read_bytes() == content


@pytest.mark.slow
def test_cuts_of_nested_codes_are_lines_of_their_own(data: Path, tmp_path: Path) -> None:
    results = tmp_path / "runs.jsonl"
    small = ("--set", "unihash.epochs=1", "--set", "unihash.hidden=8", "--set", "unihash.width=8")
    words = ("--methods", "unihash,lsh", "--bits", "64", *small)
    done = _run(data, results, *words, "--cut", "16,32", "--format", "csv")
    assert (done.returncode, _remarks(done)) == (0, "")
    rows = [(row["method"], row["variant"], row["bits"]) for row in csv.DictReader(io.StringIO(done.stdout))]
    assert rows == [
        ("unihash", "full", "64"),
        ("unihash", "cut from 64", "16"),
        ("unihash", "cut from 64", "32"),
        ("lsh", "baseline", "64"),
    ]
    trained = _lines(results)[:3]
    assert len({(line["fingerprint"], line["seconds"], line["cpu_seconds"]) for line in trained}) == 1, "one training"
    content = results.read_bytes()
    assert _run(data, results, *words, "--cut", "16,32").returncode == 0
    assert results.read_bytes() == content

    lost = trained[1]
    results.write_text("".join(json.dumps(line) + "\n" for line in _lines(results) if line != lost))
    dry = _run(data, results, *words, "--cut", "16,32", "--dry-run", "--format", "json")
    assert [(row["variant"], row["bits"]) for row in json.loads(dry.stdout) if row["state"] == "to run"] == [
        ("cut from 64", 16)
    ]
    assert _run(data, results, *words, "--cut", "16,32", "--jobs", 2).returncode == 0
    assert len(_lines(results)) == 4
    assert figures_of(_lines(results)[-1]) == figures_of(lost)

    wrong = _run(data, results, *words, "--cut", "24")
    assert refused(wrong, 2, "--cut 24: unihash of 64 bits is trained to be cut to 16, 32")


@pytest.mark.slow
def test_changed_settings_are_refused_until_they_may_replace(data: Path, tmp_path: Path) -> None:
    results = tmp_path / "runs.jsonl"
    first = _run(data, results, "--methods", "tiny,lsh", "--seeds", "0,1", "--recipes", "fashion")
    assert (first.returncode, _remarks(first)) == (0, "without a recipe 'fashion', at their defaults: tiny.\n")
    content, old = results.read_bytes(), _lines(results)
    words = ("--methods", "tiny,lsh", "--seeds", "1", "--set", "tiny.width=4")
    refused = _run(data, results, *words)
    assert (refused.returncode, refused.stdout, results.read_bytes()) == (2, "", content)
    assert (
        "holds tiny, full, 16 bits, seed 1 made with something else: width (was 16, is 4). Take another --results file"
        in refused.stderr
    )
    dry = json.loads(_run(data, results, *words, "--dry-run", "--format", "json").stdout)
    assert [(row["method"], row["state"], row["changed"]) for row in dry] == [
        ("tiny", "changed", "width (was 16, is 4)"),
        ("lsh", "there", ""),
    ]

    other = write_splits(tmp_path / data.name, missing=0.2)
    assert (
        "seed 1 (and 1 more cells) made with something else: the data (train split); the data (query"
        in _run(other, results, *words).stderr
    )
    assert results.read_bytes() == content

    replaced = _run(data, results, *words, "--replace")
    assert (replaced.returncode, _remarks(replaced)) == (0, "")
    new = _lines(results)
    assert new[:3] == [line for line in old if (line["method"], line["seed"]) != ("tiny", 1)]
    assert (new[3]["seed"], new[3]["settings"]["width"], len(new)) == (1, 4, 4)


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_with_the_same_lines(data: Path, tmp_path: Path) -> None:
    """With two jobs: a kill -9 ends the workers too, and keeps the lines that were written; then it goes on."""
    results, whole = tmp_path / "runs.jsonl", tmp_path / "whole.jsonl"
    words = ("--methods", "lsh,pca-itq,tiny", "--seeds", "0", "--set", "tiny.pause=0.5")
    process = subprocess.Popen(
        [*PROGRAM, "compare", *_words(data, results, *words, "--jobs", 2)],
        env=tiny_environment(),
        start_new_session=True,
    )
    _wait_for(lambda: results.exists() and results.read_bytes().count(b"\n") >= 1, process)
    process.kill()
    process.wait()
    _wait_for(lambda: not _members(process.pid))
    before = _lines(results)
    assert 1 <= len(before) < 3
    with results.open("ab") as stream:
        stream.write(b'{"data": "items", "meth')  # as if the kill had come in the middle of a line
    resumed = _run(data, results, *words)
    assert (resumed.returncode, _remarks(resumed)) == (0, "")
    assert _run(data, whole, *words).returncode == 0
    lines = _lines(results)
    assert lines[: len(before)] == before
    assert len(lines) == 3
    assert sorted(map(_told_apart, lines)) == sorted(map(_told_apart, _lines(whole)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("send", "how", "code"),
    [
        pytest.param(os.killpg, signal.SIGINT, 130, id="as a terminal does: to every process of the group"),
        pytest.param(os.kill, signal.SIGTERM, 143, id="as an orchestrator does: to the first process"),
        pytest.param(os.killpg, signal.SIGTERM, 143, id="as a service manager does: to every process"),
    ],
)
def test_a_signal_stops_the_workers_and_keeps_what_has_ended(
    send: Callable[[int, int], None], how: int, code: int, data: Path, tmp_path: Path
) -> None:
    results = tmp_path / "runs.jsonl"
    words = _words(data, results, "--methods", "lsh,tiny", "--seeds", "0,1", "--set", "tiny.pause=20", "--jobs", 2)
    process = subprocess.Popen(
        [*PROGRAM, "compare", *words],
        env=tiny_environment(),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for(lambda: results.exists() and results.read_bytes().count(b"\n") >= 1, process)
    send(process.pid, how)
    out, err = process.communicate()
    there = len(_lines(results))
    assert (process.returncode, out) == (code, "")
    assert (
        err.splitlines(keepends=True)[-1]
        == f"Error: interrupted; {there} of 4 runs are in '{results}'. The same command goes on.\n"
    )
    assert 1 <= there < 4
    _wait_for(lambda: not _members(process.pid))


def test_runs_that_fail_are_named_and_the_others_are_made(data: Path, tmp_path: Path) -> None:
    results = tmp_path / "runs.jsonl"
    words = ("--bits", "32", "--seeds", "0,1", "--format", "jsonl")
    done = _run(data, results, "--methods", "pca-itq,lsh", *words)
    assert done.returncode == 0
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    assert [(row["method"], row["runs"], row["failed"]) for row in rows] == [("lsh", 2, 0), ("pca-itq", 0, 2)]
    assert rows[0]["both"] > 0 and rows[1]["both"] is None
    why = "2 runs failed (pca-itq, 32 bits, PDR 0, seed 0; pca-itq, 32 bits, PDR 0, seed 1): pca-itq has at most"
    assert _remarks(done).startswith(why) and _remarks(done).count("\n") == 1
    assert len(_lines(results)) == 2

    nothing = _run(data, results, "--methods", "pca-itq", *words, "--quiet")
    assert refused(nothing, 2, why)


def test_progress_says_which_run_of_how_many_and_how_long_the_rest_takes(data: Path, tmp_path: Path) -> None:
    words = ("--methods", "tiny,lsh", "--seeds", "0,1", "--epochs", 3, "--format", "json")
    done = _run(data, tmp_path / "runs.jsonl", *words)
    assert done.returncode == 0
    first, *_, last = done.stderr.splitlines()  # between them one every 30 seconds, on a slow machine
    assert re.fullmatch(r"items: runs 1/4, \d:\d\d:\d\d left, tiny, 16 bits, PDR 0, seed 0: both 0\..*", first)
    assert re.fullmatch(r"items: runs 4/4, in \d:\d\d:\d\d, lsh, 16 bits, PDR 0, seed 1: both 0\..*", last)
    tiny, lsh = json.loads(done.stdout)
    trained = [line for line in _lines(tmp_path / "runs.jsonl") if line["method"] == "tiny"]
    assert tiny["kept epoch"] == [line["kept_epoch"] for line in trained] and lsh["kept epoch"] == []
    assert {(line["epochs"], line["settings"]["epochs"]) for line in trained} == {(3, 3)}, "--epochs"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "tinny"], "no method or baseline 'tinny'"),
        (["--methods", "nch:KMN"], "nch has no ablation 'KMN'"),
        (["--methods", ","], "--methods takes values with commas between them, such as pmch,nch:KNN; got ','"),
        (["--methods", "tiny", "--pdr", "0.5,1"], "a PDR of 1.0 is not possible"),
        (
            ["--methods", "tiny", "--pdr", "half"],
            "--pdr takes values with commas between them, such as 0.5,0.9; got 'half'",
        ),
        (["--methods", "tiny", "--query-pdr", "-1"], "a PDR of -1.0 is not possible"),
        (["--methods", "tiny", "--level", "tough"], "there is no level 'tough'"),
        (["--methods", "tiny", "--bits", "12"], "12 bits cannot be stored"),
        (["--methods", "tiny", "--seeds", "-1"], "seed"),
        (["--methods", "tiny", "--set", "tiny.widht=3"], "did you mean 'width'"),
        (["--methods", "tiny", "--set", "tiny.seed=1"], "has no 'seed': that is an option of its own: --seeds"),
        (["--methods", "tiny", "--set", "validation=0"], "that is an option of its own: --validation"),
        (["--methods", "tiny", "--epochs", "0"], "epochs: Input should be greater than or equal to 1"),
        (["--methods", "tiny", "--recipes", "nowhere"], "there is no set of recipes 'nowhere'"),
        (["--methods", "tiny", "--unseen", "class 9"], "there is no such class"),
        (["--methods", "tiny", "--zeros-missing", "sound"], "there is no such modality"),
        (["--methods", "tiny", "--figure-bits", "a.png"], "--figure-bits needs several --bits"),
        (["--methods", "tiny", "--results", "/no/such/folder/runs.jsonl"], "there is no folder '/no/such/folder'"),
        (["--methods", "tiny", "--holdout", "10"], "has splits of its own"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(
    data: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    done = _run(data, tmp_path / "runs.jsonl", *words)
    assert refused(done, 2, message) and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def _told_apart(line: dict[str, Any]) -> str:
    """A line as text, but for what tells where and how long it ran."""
    return json.dumps({**figures_of(line), "threads": None})


def _members(group: int) -> list[int]:
    """Processes of this group that are still there and no zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, of_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of_group) == group and state != "Z":
            found.append(int(folder.name))
    return found


def _wait_for(condition: Any, process: subprocess.Popen[str] | None = None) -> None:
    while not condition():
        assert process is None or process.poll() is None
        time.sleep(0.02)
