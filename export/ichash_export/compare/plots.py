"""Plots of mAP against PDR or code length: one panel for each task, one line for each contender, error bars over
seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ichash_export.compare.tables import Group, tasks
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.output_files import check_figure, empty_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "os^Dv<>Pd"
_STYLES = ("-", "--", "-.", (0, (1, 1)))
_RANDOM = "random order"
_COLUMNS = 3
_WORDS = {
    "bits": "{} bits",
    "pdr": "PDR {:g}",
    "level": "{}",
    "query_pdr": "query PDR {:g}",
    "labelled": "labelled {:g}",
}


def check(path: Path | None, values: Sequence[float], what: str) -> None:
    """Check before anything is trained that a plot over these values can be written into that file.

    Args:
        path: the file; None: no plot is wanted.
        values: the values along the plot's axis.
        what: how the message begins where there are too few values.

    Raises:
        InputError: there are fewer than two values, or the file cannot be written.
        BackendMissingError: matplotlib is not installed.
    """
    if path is None:
        return
    if len(values) < 2:
        raise InputError(f"{what}: a line needs two values or more.")
    check_figure(path)


def against_pdr(groups: Sequence[Group], path: Path) -> None:
    """Draw mAP over the share of incomplete training items (PDR); runs with a level instead of a PDR are left out.

    Raises:
        InputError: there is no such run, or the file cannot be written.
    """
    shown = [group for group in groups if group.first["level"] is None]
    figure = _panels(shown, "PDR of the training items", "pdr")
    for axes in figure.axes:
        axes.set_xticks(sorted({group.first["pdr"] for group in shown}))
    save_figure(figure, path)


def against_bits(groups: Sequence[Group], path: Path) -> None:
    """Draw mAP over the code length.

    Raises:
        InputError: there is no run, or the file cannot be written.
    """
    figure = _panels(groups, "bits", "bits")
    lengths = sorted({group.first["bits"] for group in groups})
    for axes in figure.axes:
        axes.set_xscale("log", base=2)
        axes.set_xticks(lengths, map(str, lengths))
        axes.minorticks_off()
    save_figure(figure, path)


def _panels(groups: Sequence[Group], label: str, along: str) -> Figure:
    names = tasks(groups)
    if not names:
        raise InputError("there is no run that the figure could show.")
    columns = min(len(names), _COLUMNS)
    down = -(-len(names) // columns)
    lines = _lines(groups, along)
    figure = empty_figure(1.8 + 2.9 * columns, 0.5 + 2.9 * down)
    for place, task in enumerate(names):
        axes = figure.add_subplot(down, columns, place + 1)
        for line in lines:
            line.draw(axes, task, along)
        _random(axes, groups, task, along)
        axes.set_title(task.replace("->", " → "), fontsize=10)
        axes.set_xlabel(label, fontsize=9)
        axes.set_ylabel("" if place % columns else "mAP", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    handles = {
        text: handle for axes in figure.axes for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    order = [line.name for line in lines if line.name in handles] + [_RANDOM]
    figure.legend([handles[text] for text in order], order, loc="outside right upper", fontsize=8)
    figure.suptitle(", ".join(dict.fromkeys(group.first["data"] for group in groups)), fontsize=11)
    return figure


@dataclass(frozen=True)
class _Line:
    """A contender under one set of conditions, from one end of the axis to the other."""

    name: str
    contender: int
    condition: int
    groups: tuple[Group, ...]

    def draw(self, axes: Axes, task: str, along: str) -> None:
        """Draw the means of a task with their deviations; nothing where the task was not measured."""
        points = [(group.first[along], spread) for group in self.groups if (spread := group.map(task))]
        if not points:
            return
        axes.errorbar(
            [place for place, _ in points],
            [spread.mean for _, spread in points],
            yerr=[spread.std or 0.0 for _, spread in points],
            color=f"C{self.contender % 10}",
            marker=_MARKERS[self.contender % len(_MARKERS)],
            linestyle=_STYLES[self.condition % len(_STYLES)],
            markersize=4.5,
            linewidth=1.3,
            capsize=2.5,
            label=self.name,
        )


def _lines(groups: Sequence[Group], along: str) -> list[_Line]:
    """Return one line for each contender and condition; contenders differ in colour, conditions in dash pattern."""
    others = [name for name in _WORDS if name != along and len({group.first[name] for group in groups}) > 1]
    found: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        condition = ", ".join(
            _WORDS[name].format(group.first[name]) for name in others if group.first[name] is not None
        )
        found.setdefault((group.name, condition), []).append(group)
    contenders, conditions = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    return [
        _Line(
            name=", ".join(filter(None, (contender, condition))),
            contender=contenders.index(contender),
            condition=conditions.index(condition),
            groups=tuple(sorted(members, key=lambda group: float(group.first[along]))),
        )
        for (contender, condition), members in found.items()
    ]


def _random(axes: Axes, groups: Sequence[Group], task: str, along: str) -> None:
    """Draw the mAP of a random order as a dotted line."""
    there = {group.first[along]: group.random([task]) for group in groups}
    points = sorted((place, random) for place, random in there.items() if random is not None)
    axes.plot(
        [place for place, _ in points],
        [random for _, random in points],
        color="gray",
        linestyle=":",
        linewidth=1.3,
        label=_RANDOM,
    )
