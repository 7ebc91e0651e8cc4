"""The table, and the picture of precision over recall."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pytest

from milvus_ichash.errors import BackendMissingError, InputError
from milvus_ichash.evaluation import output_files, report
from milvus_ichash.evaluation.metrics import RECALL_LEVELS
from milvus_ichash.evaluation.result import EvaluationResult, TaskResult


def task_result(task: str, **figures: object) -> TaskResult:
    counts = {"rows": 10, "queries": 3, "without_modality": 1, "unlabelled": 0, "without_relevant": 2}
    return TaskResult(task, ("image",), "code", **(counts | figures))


@pytest.fixture
def result() -> EvaluationResult:
    measured_on = {
        "method": "linear",
        "bits": 16,
        "collection": "items",
        "rows": 10,
        "via": "search",
        "ties": "expected",
    }
    figures = {
        "metrics": {"mAP@all": 0.75, "random": 0.25},
        "precision_at_recall": {level: 1 - level / 200 for level in RECALL_LEVELS},
        "random_precision": 0.25,
    }
    tasks = {name: task_result(name, **figures) for name in ("image->text", "text->image")}
    return EvaluationResult(measured_on, {**tasks, "empty": task_result("empty", queries=0)}, ())


def test_the_table_has_a_row_per_task(result: EvaluationResult) -> None:
    rows = report.table(result)
    assert rows[0] == {"task": "image->text", "queries": 3, "rows": 10, "mAP@all": 0.75, "random": 0.25}
    assert rows[2] == {"task": "empty", "queries": 0, "rows": 10, "mAP@all": None, "random": None}
    assert report.title(result) == "linear, 16 bits, items (10 rows), via search, ties expected"


@pytest.mark.parametrize(("found", "said"), [(16, "16 of 64 bits"), ([16, 64], "16 and 64 of 64 bits")])
def test_the_title_says_where_codes_are_cut(result: EvaluationResult, found: int | list[int], said: str) -> None:
    result.measured_on.update({"bits": found, "cut_from": 64})
    assert report.title(result).startswith(f"linear, {said}, items")


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG\r\n\x1a\n"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_the_figure_is_a_picture(result: EvaluationResult, tmp_path: Path, ending: str, magic: bytes) -> None:
    path = tmp_path / f"pr.{ending}"
    report.figure(result, path)
    assert path.read_bytes().startswith(magic)


def test_the_figure_shows_each_task_and_its_random_order(result: EvaluationResult, tmp_path: Path) -> None:
    report.figure(result, tmp_path / "pr.svg")
    drawn = (tmp_path / "pr.svg").read_text("utf-8")
    # matplotlib writes the text of a label as a comment beside its glyphs.
    for text in ("image → text (mAP 0.750)", "text → image (mAP 0.750)", "random order", "recall", "precision"):
        assert f"<!-- {text} -->" in drawn
    assert "empty" not in drawn


def test_places_where_no_figure_can_go(result: EvaluationResult, tmp_path: Path) -> None:
    (tmp_path / "taken.png").mkdir()
    for write, place, says in (
        (output_files.check_figure, "pr.jpeg", r"a figure ends in .png, .svg, .pdf"),
        (partial(report.figure, result), "nowhere/pr.png", "there is no folder"),
        (partial(report.figure, result), "taken.png", "cannot be written: Is a directory"),
    ):
        with pytest.raises(InputError, match=says):
            write(tmp_path / place)


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendMissingError, match=r"^a figure needs matplotlib: pip install 'milvus-ichash\[plot\]'.$"):
        output_files.check_figure(tmp_path / "pr.png")


def test_words_with_a_dollar_sign_are_no_formula(result: EvaluationResult, tmp_path: Path) -> None:
    formula = r"$\frac{$"
    figure = output_files.empty_figure(2, 2)
    axes = figure.add_subplot()
    axes.plot([1, 2], label=formula)
    axes.set(title=f"{formula}\n\x1b[31m", xlabel=formula)
    axes.legend()
    output_files.save_figure(figure, tmp_path / "f.svg")
    assert axes.get_title() == f"{formula}\n\\x1b[31m"
    result.measured_on["collection"] = formula
    report.figure(result, tmp_path / "f.png")


def test_a_json_file_takes_any_name_of_a_file(tmp_path: Path) -> None:
    output_files.save_json({"gr\u00f6\u00dfe": "caf\udce9"}, tmp_path / "r.json")
    content = (tmp_path / "r.json").read_bytes()
    assert (
        json.loads(content) == {"gr\u00f6\u00dfe": "caf\udce9"} and content.count(b"\n") == 3 and b"\r" not in content
    )
