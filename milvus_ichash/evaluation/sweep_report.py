"""A sweep over nprobe for people: rows of a table, and what a millisecond buys as a picture."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.report import bits, check_figure, where
from milvus_ichash.evaluation.sweep import EXACT, FLAT, Point, SweepResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKS = {EXACT: "D", FLAT: "*"}


def table(result: SweepResult) -> list[dict[str, Any]]:
    """One row per point: task, way to search, nprobe, recall and mAP at each rank, latency in ms, and queries/s."""
    return [
        {
            "task": point.task,
            "search": point.search,
            "nprobe": point.nprobe,
            **{f"recall@{k}": value for k, value in point.recall.items()},
            **{f"mAP@{k}": value for k, value in point.map.items()},
            "p50 ms": point.speed.p50_ms,
            "p95 ms": point.speed.p95_ms,
            "queries/s": round(point.speed.queries_per_second),
        }
        for point in result.points
    ]


def title(result: SweepResult) -> str:
    """What was measured, in one line."""
    on = result.measured_on
    return f"{on['method']}, {bits(on)}, {where(on)}, {on['top_k']} rows a search"


def figure(result: SweepResult, path: str | Path) -> None:
    """Draw recall and mAP over the median latency, at the largest rank, into a .png, .svg or .pdf file.

    One line for each task, its points named by nprobe; BIN_FLAT is a star, the exact ranking in this process a diamond,
    and the exact mAP a dotted line.

    Raises:
        InputError: where the file cannot be written.
        BackendMissingError: matplotlib is not installed.
    """
    check_figure(path)
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(10.4, 4.8), layout="constrained")
    left, right = canvas.subplots(1, 2)
    k = max(result.points[0].recall)
    _draw(
        left, result, {id(point): point.recall[k] for point in result.points}, f"recall@{k} against the exact ranking"
    )
    _draw(right, result, {id(point): point.map[k] for point in result.points}, f"mAP@{k}")
    left.legend(fontsize=8, loc="lower right")
    canvas.suptitle(fill(title(result), 110), fontsize=10)
    try:
        canvas.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"'{path}' cannot be written: {error.strerror}.") from error


def _draw(axes: Axes, result: SweepResult, height: dict[int, float], name: str) -> None:
    for task, marker in zip(dict.fromkeys(point.task for point in result.points), cycle("osv^<>x")):
        points = [point for point in result.points if point.task == task]
        probed = [point for point in points if point.search not in _MARKS]
        label = task.replace("->", " \u2192 ")
        (line,) = axes.plot(
            [point.speed.p50_ms for point in probed],
            [height[id(point)] for point in probed],
            marker=marker,
            markersize=4,
            label=label,
        )
        for point in probed:
            at = (point.speed.p50_ms, height[id(point)])
            axes.annotate(
                str(point.nprobe), at, xytext=(3, -9), textcoords="offset points", fontsize=7, color=line.get_color()
            )
        _lines_to_beat(axes, [point for point in points if point.search in _MARKS], height, line.get_color())
    for search, mark in _MARKS.items():
        if any(point.search == search for point in result.points):
            axes.plot([], [], marker=mark, color="gray", linestyle=":", label=search)
    axes.set(xlabel="milliseconds of a call with one query (median)", ylabel=name)
    axes.margins(x=0.08)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)


def _lines_to_beat(axes: Axes, points: list[Point], height: dict[int, float], colour: Any) -> None:
    for point in points:
        axes.plot(point.speed.p50_ms, height[id(point)], marker=_MARKS[point.search], color=colour, markersize=8)
        axes.axhline(height[id(point)], color=colour, linestyle=":", linewidth=1)
