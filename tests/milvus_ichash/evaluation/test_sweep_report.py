"""The table and the picture of a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from milvus_ichash.evaluation import sweep_report
from milvus_ichash.evaluation.speed import Speed
from milvus_ichash.evaluation.sweep import EXACT, FLAT, Point, SweepResult


def point(search: str, nprobe: int | None, recall: float, ms: float) -> Point:
    at = {10: recall, 100: recall / 2}
    return Point("image->text", "items", search, nprobe, 20, 1000, 100.0, at, at, Speed(ms, 2 * ms, 1000 / ms))


@pytest.fixture
def result() -> SweepResult:
    points = (
        point(EXACT, None, 1.0, 3.0),
        point(FLAT, None, 1.0, 4.0),
        point("BIN_IVF_FLAT", 1, 0.4, 0.5),
        point("BIN_IVF_FLAT", 8, 0.9, 0.7),
    )
    on = {
        "method": "linear",
        "bits": 64,
        "collection": "items",
        "rows": 1000,
        "index_kind": "BIN_IVF_FLAT",
        "nlist": 32,
        "top_k": 100,
    }
    return SweepResult({**on, "nprobes": [1, 8]}, points, ())


def test_the_table_has_a_row_per_way_to_search(result: SweepResult) -> None:
    rows = sweep_report.table(result)
    assert [(row["search"], row["nprobe"]) for row in rows] == [
        (EXACT, None),
        (FLAT, None),
        ("BIN_IVF_FLAT", 1),
        ("BIN_IVF_FLAT", 8),
    ]
    assert rows[2] == {
        "task": "image->text",
        "search": "BIN_IVF_FLAT",
        "nprobe": 1,
        "recall@10": 0.4,
        "recall@100": 0.2,
        "mAP@10": 0.4,
        "mAP@100": 0.2,
        "p50 ms": 0.5,
        "p95 ms": 1.0,
        "queries/s": 2000,
    }
    assert sweep_report.title(result) == "linear, 64 bits, items (1000 rows, BIN_IVF_FLAT nlist 32), 100 rows a search"


def test_the_figure_names_each_nprobe_and_what_is_to_be_beaten(result: SweepResult, tmp_path: Path) -> None:
    sweep_report.figure(result, tmp_path / "sweep.svg")
    drawn = (tmp_path / "sweep.svg").read_text("utf-8")
    for text in ("image → text", EXACT, FLAT, "recall@100 against the exact ranking", "mAP@100"):
        assert f"<!-- {text} -->" in drawn
    assert drawn.count("<!-- 8 -->") >= 2 and drawn.count("<!-- 1 -->") >= 2
