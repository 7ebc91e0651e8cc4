"""`milvus-ichash reproduce`: published tables, run on tiny data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command import run_here
from support.grids import write_splits
from support.tiny import make_table

from ichash_export.compare.case import Protocol, key
from ichash_export.compare.dataset import DataFile
from ichash_export.compare.planned_cases import plan_cases, run_planned
from ichash_export.compare.results_file import ResultsFile
from ichash_export.papers import reproduction
from ichash_export.papers.published import published_table
from milvus_ichash.io import ColumnNames

SMALL = ["--set", "epochs=1", "--set", "pmch.hidden=[8, 8]", "--set", "pmch.width=8", "--set", "pmch.weight_net=[8]"]


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 items with both modalities: 60 train and are searched, 30 are queries."""
    path = tmp_path_factory.mktemp("reproduce") / "items.npz"
    return write_splits(path, items=90, stored=60, training=60)


# ---- which runs a cell needs


def _only_cell(table: str, **wanted: Any) -> tuple[reproduction.CellTerm, ...]:
    """The parts of the one cell with these values, for one seed."""
    figures = [f for f in published_table(table) if all(getattr(f, name) == value for name, value in wanted.items())]
    (cell,) = reproduction.reproduced_cells(figures, {f.dataset for f in figures}, [3], ["batch_size=99"])
    (parts,) = cell.seeds
    assert all(
        (part.case.seed, part.case.bits, part.case.settings["batch_size"]) == (3, wanted["bits"], "99")
        for part in parts
    )
    return parts


def test_a_cell_is_a_task_of_a_run() -> None:
    (part,) = _only_cell("PMCH 3", variant="graph autoencoder", bits=64, task="image")
    assert (part.weight, part.task, part.case.method, part.case.variant) == (1.0, "image", "pmch", "graph autoencoder")
    assert (
        part.case.recipe == "pmch/mirflickr25k"
        and part.case.settings["completion"] == "gae"
        and part.case.settings["width"] == 512
    )
    assert part.case.protocol == Protocol(pdr=0.5)
    assert part.case.options().validation == 0.0, "as the recipe says"


def test_what_a_table_hides_becomes_the_runs_protocol() -> None:
    hidden = {"method": "NCH", "dataset": "NUS-WIDE", "bits": 16}
    found = [
        _only_cell("JCPMH 2", **hidden, train_pdr=t, query_pdr=q)[0] for t, q in ((0.7, 0.0), (0.0, 0.7), (0.7, 0.7))
    ]
    assert [part.case.protocol for part in found] == [
        Protocol(0.7),
        Protocol(query_pdr=0.7),
        Protocol(0.7, query_pdr=0.7),
    ]
    assert [part.task for part in found] == ["both", "observed", "observed"]
    (part,) = _only_cell("CICH VI", method="CICH", bits=32, level="hard", use="discard", task="text->image")
    assert part.case.protocol == Protocol(level="hard", use="discard")


def test_a_mean_is_half_of_each_way_and_a_drop_is_easy_minus_hard() -> None:
    mean = _only_cell("CICH IV", method="CICH", bits=16, level="medium")
    assert [(p.weight, p.task, p.case.protocol.level) for p in mean] == [
        (0.5, "image->text", "medium"),
        (0.5, "text->image", "medium"),
    ]
    drop = _only_cell("CICH II", method="CICH", dataset="MS COCO", bits=32, task="mean", metric="mAP drop")
    assert [(p.weight, p.task, p.case.protocol.level) for p in drop] == [
        (0.5, "image->text", "easy"),
        (0.5, "text->image", "easy"),
        (-0.5, "image->text", "hard"),
        (-0.5, "text->image", "hard"),
    ]


def test_cells_share_their_runs() -> None:
    """CICH II: 3 levels of CICH on one data set serve its 12 cells; the runs of the first seed come first."""
    figures = [f for f in published_table("CICH II") if f.dataset == "MS COCO" and f.method == "CICH"]
    table = reproduction.reproduced_cells(figures, ["MS COCO"], [1, 0], [])
    runs = reproduction.needed_cases(table, "MS COCO")
    assert len(table) == 12 and [case.seed for case in runs] == [0, 0, 0, 1, 1, 1]
    assert {case.protocol.level for case in runs[:3]} == {"easy", "medium", "hard"}


def test_ours_is_the_mean_over_seeds_of_the_weighted_parts() -> None:
    figures = [
        f
        for f in published_table("CICH II")
        if (f.dataset, f.method, f.metric, f.task) == ("MS COCO", "CICH", "mAP drop", "mean")
    ]
    (cell,) = reproduction.reproduced_cells(figures, ["MS COCO"], [0, 1], [])
    maps = {(0, "easy"): (0.7, 0.8), (0, "hard"): (0.6, 0.5), (1, "easy"): (0.5, 0.5), (1, "hard"): (0.4, 0.4)}
    runs = {
        key(case.identity("x", {})): (case.seed, case.protocol.level)
        for case in reproduction.needed_cases([cell], "MS COCO")
    }
    lines = {each: {"map": dict(zip(reproduction.WAYS, maps[run], strict=True))} for each, run in runs.items()}  # type: ignore[index]
    row = reproduction.table_row(cell, "x", lines, {})
    assert row["ours"] == pytest.approx((0.75 - 0.55 + 0.5 - 0.4) / 2) and row["std"] == pytest.approx(0.05)
    assert row["difference"] == pytest.approx(row["ours"] - row["published"])
    failed = next(each for each, run in runs.items() if run == (1, "hard"))
    row = reproduction.table_row(
        cell, "x", {each: line for each, line in lines.items() if each != failed}, {failed: "too few items"}
    )
    assert (row["ours"], row["std"], row["remark"]) == (pytest.approx(0.2), None, "too few items")


# ---- the program


@pytest.mark.slow
def test_a_table_is_run_and_goes_on_where_it_stopped(items: Path, tmp_path: Path) -> None:
    """First as a user runs it; then again, with nothing left to run; then with other settings, before anything is
    run."""
    results = tmp_path / "runs.jsonl"
    words = ["PMCH 2", "--data", f"mirflickr25k={items}", *SMALL, "--results", str(results), "-f", "json"]
    done = run_here("reproduce", *words, "--bits", "16")
    assert done.returncode == 0, done.stderr
    assert "60 training, 30 query and 60 retrieval items; 1 of 1 runs to make." in done.stderr
    first = results.read_text()
    (line,) = map(json.loads, first.splitlines())
    assert (line["data"], line["method"], line["bits"], line["pdr"], line["query_pdr"]) == (
        "MIRFlickr-25K: items",
        "pmch",
        16,
        0.0,
        0.0,
    )
    rows = json.loads(done.stdout)
    assert [row["method"] for row in rows] == ["BSTH", "GCIMH", "SFISMH", "STBMH", "PMCH"]
    assert [row["ours"] for row in rows] == [None] * 4 + [line["map"]["both"]]
    assert rows[-1]["published"] == 0.8404 and rows[-1]["remark"] == "training PDR not stated, taken for 0"

    done = run_here("reproduce", *words, "--bits", "16")
    assert done.returncode == 0 and "0 of 1 runs to make" in done.stderr
    assert json.loads(done.stdout) == rows and results.read_text() == first

    fewer = [word for word in words if word != "epochs=1"]
    fewer.remove("--set")
    done = run_here("reproduce", *fewer, "--bits", "16,32", "--epochs", 2)
    assert (
        (done.returncode, done.stdout) == (2, "")
        and "epochs (was 1, is 2)" in done.stderr
        and results.read_text() == first
    )


@pytest.mark.slow
def test_a_cross_modal_mean_on_a_database_with_gaps(items: Path, tmp_path: Path) -> None:
    figures = [f for f in published_table("CICH IV") if (f.method, f.bits, f.level) == ("CICH", 16, "hard")]
    settings = ["epochs=1", "hidden=8", "width=8", "neighbours=2"]
    (cell,) = reproduction.reproduced_cells(figures, ["MIRFlickr-25K"], [0], settings)
    file, records = DataFile(items, "items", ColumnNames()), ResultsFile(tmp_path / "runs.jsonl")
    data = file.read()
    planned = plan_cases(reproduction.needed_cases([cell], "MIRFlickr-25K"), data, records)
    (outcome,) = run_planned(planned, records, data, file)
    assert outcome.figures is not None, outcome.failure
    found = outcome.figures["map"]
    assert (
        reproduction.table_row(cell, "items", records.read(), {})["ours"] == pytest.approx(sum(found.values()) / 2)
        and len(found) == 2
    )
    assert outcome.figures["rows"] == {"image->text": 6 + 27, "text->image": 6 + 27}, (
        "hard: paired and text-only, paired and image-only"
    )


def test_ablations_are_run_and_a_failure_leaves_its_cell(items: Path) -> None:
    """60 items the 300 anchors of Table 4: its cell says so, the others are there."""
    done = run_here("reproduce", "PMCH 4", "--bits", "16", "--data", f"MIRFlickr-25K={items}", *SMALL, "-f", "json")
    assert done.returncode == 0
    assert "1 run failed (pmch: random anchors" in done.stderr
    assert re.search(r"runs \d+/\d+, .*\d:\d\d:\d\d", done.stderr), "progress"
    rows = {(row["variant"], row["task"]): row for row in json.loads(done.stdout)}
    assert (
        rows["random anchors", "text"]["ours"] is None
        and "needs 300 training items" in rows["random anchors", "text"]["remark"]
    )
    assert 0 < rows["", "text"]["ours"] < 1 and rows["", "text"]["ours"] != rows["", "image"]["ours"]
    assert "Traceback" not in done.stderr


def test_without_data_the_published_figures_are_shown() -> None:
    done = run_here("reproduce", "pmch 5", "--bits", "128")
    assert (done.returncode, done.stderr) == (0, "")
    assert "0.7815" in done.stdout and done.stdout.count('no data: give --data "MIRFlickr-25K=FILE"') == 8
    assert "ours" not in done.stdout.splitlines()[2], "a column that nothing fills is left out"


def test_the_list() -> None:
    done = run_here("reproduce", "--list", "-f", "json")
    assert done.returncode == 0, done.stderr
    rows = {row["table"]: row for row in json.loads(done.stdout)}
    assert len(rows) == 13 and rows["PMCH 1"]["cells"] == 264
    assert rows["CICH III"]["data"] == ["IAPR TC-12", "NUS-WIDE"] and {"NCH", "PMCH"} <= set(rows["PMCH 1"]["ours"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), 'name a table, such as "PMCH 3"; --list shows all.'),
        (("PMCH 6",), "there is no published table 'PMCH 6'; there are: CICH II, "),
        (("PMCH 3", "--bits", "48"), "table PMCH 3 has no codes of 48 bits; it has: 16, 32, 64, 128."),
        (("PMCH 3", "--data", "COCO=x.npz"), "table PMCH 3 has no data set 'COCO'; it has: MIRFlickr-25K."),
        (("PMCH 3", "--data", "MIRFlickr-25K=nowhere.npz"), "no such file: nowhere.npz"),
        (("PMCH 3", "--data", "MIRFlickr-25K"), "--data takes NAME=VALUE"),
        (("PMCH 3", "--set", "epoch=3"), "has no 'epoch': did you mean 'epochs'?"),
        (("PMCH 3", "--results", "nowhere/runs.jsonl"), "there is no folder 'nowhere'"),
        (("PMCH 3", "--jobs", "0"), "Invalid value for '--jobs'"),
    ],
)
def test_what_cannot_be_is_one_sentence(words: tuple[str, ...], message: str) -> None:
    done = run_here("reproduce", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.replace("\n", " ") and "Traceback" not in done.stderr


def test_other_modalities_than_the_papers_are_named(tmp_path: Path) -> None:
    table = make_table(30, missing=0.0)
    arrays = {"A_db": table.features["image"], "T_db": table.features["text"], "L_db": table.labels}
    np.savez(tmp_path / "other.npz", **arrays, **{name.replace("db", "te"): x for name, x in arrays.items()})
    words = ("reproduce", "PMCH 3", "--data", f"MIRFlickr-25K={tmp_path / 'other.npz'}")
    done = run_here(*words)
    assert done.returncode == 2 and "the papers' modalities are image and text, the file has text, a" in done.stderr
    done = run_here(*words, "--modality", "image=A", "--modality", "text=T", "--set", "x=1")
    assert done.returncode == 2 and "has no 'x'" in done.stderr
