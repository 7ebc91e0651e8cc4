"""The result for people: rows of a table, and precision over recall as a picture."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from milvus_ichash.errors import BackendMissingError, InputError
from milvus_ichash.evaluation.result import EvaluationResult
from milvus_ichash.evaluation.scores import MAP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE_ENDINGS = (".png", ".svg", ".pdf")


def table(result: EvaluationResult) -> list[dict[str, Any]]:
    """One row per task: its name, the queries in the means, the rows that took part, and every metric (None without queries)."""
    names = list(dict.fromkeys(name for cell in result.tasks.values() for name in cell.metrics))
    return [
        {
            "task": cell.task,
            "queries": cell.queries,
            "rows": cell.rows,
            **{name: cell.metrics.get(name) for name in names},
        }
        for cell in result.tasks.values()
    ]


def title(result: EvaluationResult) -> str:
    """What was measured, in one line."""
    on = result.measured_on
    return f"{on['method']}, {bits(on)}, {where(on)}, via {on['via']}, ties {on['ties']}"


def bits(measured_on: dict[str, Any]) -> str:
    """How long the codes were, and of how many bits where they are cut."""
    found, whole = measured_on["bits"], measured_on.get("cut_from")
    lengths = " and ".join(map(str, found)) if isinstance(found, list) else f"{found}"
    return f"{lengths} bits" if whole is None else f"{lengths} of {whole} bits"


def where(measured_on: dict[str, Any]) -> str:
    """What was searched: collections or files, with their rows and, where it is not BIN_FLAT, their index."""
    return ", ".join(_place(place) for place in measured_on.get("collections", [measured_on]))


def _place(on: dict[str, Any]) -> str:
    name = on.get("collection") or Path(on.get("database_file", "")).name
    index = f", {on['index_kind']} nlist {on['nlist']}" if on.get("nlist") else ""
    nprobe = f" nprobe {on['nprobe']}" if on.get("nprobe") else ""
    return f"{name} ({on['rows']} rows{index}{nprobe})"


def check_figure(path: str | Path) -> None:
    """Whether `figure` will be able to write there; worth a call before a long measurement.

    Raises:
        InputError: an ending that is not known, or a folder that is not there.
        BackendMissingError: matplotlib is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in FIGURE_ENDINGS:
        raise InputError(f"'{path}': a figure ends in {', '.join(FIGURE_ENDINGS)}.")
    check_folder(path)
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise BackendMissingError("a figure needs matplotlib: pip install 'milvus-ichash[plot]'.") from error


def check_folder(path: str | Path) -> None:
    """Raise InputError where the folder of a file to be written is not there."""
    folder = Path(path).parent
    if not folder.is_dir():
        raise InputError(f"'{path}' cannot be written: there is no folder '{folder}'.")


def figure(result: EvaluationResult, path: str | Path) -> None:
    """Draw precision over recall, one line per task with its random order dotted, into a .png, .svg or .pdf file.

    Raises:
        InputError: where the file cannot be written.
        BackendMissingError: matplotlib is not installed.
    """
    check_figure(path)
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = canvas.add_subplot()
    _draw(axes, result)
    try:
        canvas.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"'{path}' cannot be written: {error.strerror}.") from error


def _draw(axes: Axes, result: EvaluationResult) -> None:
    measured = [cell for cell in result.tasks.values() if cell.precision_at_recall]
    for cell, marker in zip(measured, cycle("os^Dvx*")):
        recall = [level / 100 for level in cell.precision_at_recall]
        label = f"{cell.task.replace('->', ' → ')} (mAP {cell.metrics[MAP]:.3f})"
        (line,) = axes.plot(recall, list(cell.precision_at_recall.values()), marker=marker, markersize=4, label=label)
        axes.axhline(cell.random_precision or 0.0, color=line.get_color(), linestyle=":", linewidth=1.2)
    axes.plot([], [], color="gray", linestyle=":", label="random order")
    axes.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(0, 1.02))
    axes.set_title(fill(title(result), 80), fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
