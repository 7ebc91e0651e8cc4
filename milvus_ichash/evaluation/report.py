"""An evaluation's result for people: rows of a table, and precision over recall as a figure."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from milvus_ichash.evaluation.output_files import check_figure, empty_figure, save_figure
from milvus_ichash.evaluation.result import EvaluationResult
from milvus_ichash.evaluation.scores import MAP

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def table(result: EvaluationResult) -> list[dict[str, Any]]:
    """Return a row for each task: its name, numbers of queries and rows, and every metric (None without queries)."""
    names = list(dict.fromkeys(name for task in result.tasks.values() for name in task.metrics))
    return [
        {
            "task": task.task,
            "queries": task.queries,
            "rows": task.rows,
            **{name: task.metrics.get(name) for name in names},
        }
        for task in result.tasks.values()
    ]


def title(result: EvaluationResult) -> str:
    """Return in one line what was measured."""
    on = result.measured_on
    return f"{on['method']}, {bits(on)}, {where(on)}, via {on['via']}, ties {on['ties']}"


def bits(measured_on: dict[str, Any]) -> str:
    """Return the code length; where the codes are cut, also the length of whole codes."""
    found, whole = measured_on["bits"], measured_on.get("cut_from")
    lengths = " and ".join(map(str, found)) if isinstance(found, list) else f"{found}"
    return f"{lengths} bits" if whole is None else f"{lengths} of {whole} bits"


def where(measured_on: dict[str, Any]) -> str:
    """Return what was searched: the collections or the file, their rows and, unless it is BIN_FLAT, their index."""
    return ", ".join(_place(place) for place in measured_on.get("collections", [measured_on]))


def _place(on: dict[str, Any]) -> str:
    name = on.get("collection") or Path(on.get("database_file", "")).name
    index = f", {on['index_kind']} nlist {on['nlist']}" if on.get("nlist") else ""
    nprobe = f" nprobe {on['nprobe']}" if on.get("nprobe") else ""
    return f"{name} ({on['rows']} rows{index}{nprobe})"


def with_arrow(task: str) -> str:
    """Return the name of a task as figures show it, with a real arrow."""
    return task.replace("->", " \u2192 ")


def figure(result: EvaluationResult, path: str | Path) -> None:
    """Draw precision over recall into a .png, .svg or .pdf file: a line for each task, and its random order dotted.

    Raises:
        InputError: the file cannot be written.
        BackendMissingError: matplotlib is not installed.
    """
    check_figure(path)
    canvas = empty_figure(6.4, 4.8)
    _draw(canvas.add_subplot(), result)
    save_figure(canvas, path)


def _draw(axes: Axes, result: EvaluationResult) -> None:
    measured = [task for task in result.tasks.values() if task.precision_at_recall]
    for task, marker in zip(measured, cycle("os^Dvx*")):
        recall = [level / 100 for level in task.precision_at_recall]
        label = f"{with_arrow(task.task)} (mAP {task.metrics[MAP]:.3f})"
        (line,) = axes.plot(recall, list(task.precision_at_recall.values()), marker=marker, markersize=4, label=label)
        axes.axhline(task.random_precision or 0.0, color=line.get_color(), linestyle=":", linewidth=1.2)
    axes.plot([], [], color="gray", linestyle=":", label="random order")
    axes.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(0, 1.02))
    axes.set_title(fill(title(result), 80), fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
