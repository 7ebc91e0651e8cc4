"""A sweep's result for people: rows of a table, and recall and mAP over latency as a figure."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from milvus_ichash.evaluation.output_files import check_figure, empty_figure, save_figure
from milvus_ichash.evaluation.report import bits, where, with_arrow
from milvus_ichash.evaluation.sweep import EXACT, FLAT, Point, SweepResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKS = {EXACT: "D", FLAT: "*"}


def table(result: SweepResult) -> list[dict[str, Any]]:
    """Return a row for each point: task, search, nprobe, recall and mAP at each rank, latency in ms, and queries/s."""
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
    """Return in one line what was measured."""
    on = result.measured_on
    return f"{on['method']}, {bits(on)}, {where(on)}, {on['top_k']} rows a search"


def figure(result: SweepResult, path: str | Path) -> None:
    """Draw recall and mAP over the median latency, at the largest rank, into a .png, .svg or .pdf file.

    There is one line for each task, its points named by nprobe. BIN_FLAT is a star, the exact ranking in this process a
    diamond, each with a dotted line at its height.

    Raises:
        InputError: the file cannot be written.
        BackendMissingError: matplotlib is not installed.
    """
    check_figure(path)
    canvas = empty_figure(10.4, 4.8)
    left, right = canvas.subplots(1, 2)
    k = max(result.points[0].recall)
    _draw(left, [(point, point.recall[k]) for point in result.points], f"recall@{k} against the exact ranking")
    _draw(right, [(point, point.map[k]) for point in result.points], f"mAP@{k}")
    left.legend(fontsize=8, loc="lower right")
    canvas.suptitle(fill(title(result), 110), fontsize=10)
    save_figure(canvas, path)


def _draw(axes: Axes, points: list[tuple[Point, float]], label: str) -> None:
    """Draw points at their heights."""
    for task, marker in zip(dict.fromkeys(point.task for point, _ in points), cycle("osv^<>x")):
        at = [(point, point.speed.p50_ms, height) for point, height in points if point.task == task]
        probed = [(point.nprobe, x, y) for point, x, y in at if point.search not in _MARKS]
        xs, ys = [x for _, x, _ in probed], [y for _, _, y in probed]
        (line,) = axes.plot(xs, ys, marker=marker, markersize=4, label=with_arrow(task))
        colour = line.get_color()
        for nprobe, x, y in probed:
            axes.annotate(f"{nprobe}", (x, y), xytext=(3, -9), textcoords="offset points", fontsize=7, color=colour)
        for point, x, y in at:
            if point.search in _MARKS:
                axes.plot(x, y, marker=_MARKS[point.search], color=colour, markersize=8)
                axes.axhline(y, color=colour, linestyle=":", linewidth=1)
    for search, mark in _MARKS.items():
        if any(point.search == search for point, _ in points):
            axes.plot([], [], marker=mark, color="gray", linestyle=":", label=search)
    axes.set(xlabel="milliseconds of a call with one query (median)", ylabel=label)
    axes.margins(x=0.08)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
