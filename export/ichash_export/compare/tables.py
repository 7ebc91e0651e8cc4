"""Results as a table: one row for each contender, code length and protocol, with mean and deviation over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ichash_export.compare.case import COMPLETE, ResultLine, key

Row = dict[str, Any]

COLUMNS = ("method", "variant", "bits", "random", "seconds", "CPU seconds", "runs")
"""The columns that every table has; the tasks that were measured, and what was hidden, have columns of their own."""


@dataclass(frozen=True)
class Spread:
    """Mean and deviation of several values.

    Attributes:
        mean: their mean.
        std: their sample standard deviation; None for a single value.
    """

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return mean and deviation of one value or more."""
        return cls(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.std is None else f"{self.mean:.3f} ± {self.std:.3f}"


@dataclass(frozen=True)
class Group:
    """The lines of runs that differ in their seed only.

    Attributes:
        lines: those of runs that have figures.
        failed: those of runs that failed: what names the case, without figures.
    """

    lines: tuple[ResultLine, ...]
    failed: tuple[ResultLine, ...] = ()

    @property
    def first(self) -> ResultLine:
        """One of the lines, for what they have in common."""
        return (*self.lines, *self.failed)[0]

    @property
    def name(self) -> str:
        """The contender in words: its method, and its ablation where it has one."""
        line = self.first
        return line["method"] if line["variant"] in ("full", "baseline") else f"{line['method']}: {line['variant']}"

    def map(self, task: str) -> Spread | None:
        """Return the mAP of a task, or None where it was not measured."""
        values = [line["map"][task] for line in self.lines if task in line["map"]]
        return Spread.of(values) if values else None

    def random(self, tasks: Iterable[str]) -> float | None:
        """Return the mAP of a random order, as the mean over these tasks; None where nothing was measured."""
        found = [line["random"][task] for line in self.lines for task in tasks if task in line["random"]]
        return float(statistics.mean(found)) if found else None

    @property
    def kept_epochs(self) -> list[int]:
        """The epoch whose weights were kept, of each run of a method; empty for a baseline."""
        return [line["kept_epoch"] for line in self.lines if "kept_epoch" in line]

    def mean(self, name: str) -> float:
        """Return the mean of a figure that every line has."""
        return float(statistics.mean(line[name] for line in self.lines))


def groups(lines: Iterable[ResultLine]) -> list[Group]:
    """Group lines by all that names a case except the seed and the classes that it drew, in the order of the lines.

    A line without figures is of a run that failed.
    """
    found: dict[tuple[Any, ...], list[ResultLine]] = {}
    for line in lines:
        same = {**line, "seed": None, "unseen": line["unseen"] if line["unseen_share"] is None else []}
        found.setdefault(key(same), []).append(line)
    return [
        Group(tuple(line for line in members if "map" in line), tuple(line for line in members if "map" not in line))
        for members in found.values()
    ]


def tasks(lines: Iterable[Group]) -> list[str]:
    """Return the names of all tasks, in the order in which they first appear."""
    return list(dict.fromkeys(task for group in lines for line in group.lines for task in line["map"]))


def rows(lines: Sequence[Group], *, numbers: bool) -> list[Row]:
    """Return one row for each group.

    Args:
        lines: the groups.
        numbers: whether every mean and every deviation is a number of its own; else they are words for people.
    """
    return [_row(group, lines, numbers) for group in lines]


def _row(group: Group, everything: Sequence[Group], numbers: bool) -> Row:
    row: Row = {name: group.first[name] for name in ("method", "variant", "bits")}
    protocol = _protocol(group.first, [other.first for other in everything])
    row |= (
        protocol
        if numbers
        else {name: f"{value:g}" if isinstance(value, float) else value for name, value in protocol.items()}
    )
    names = tasks(everything)
    for task in names:
        spread = group.map(task)
        if numbers:
            row[task], row[f"{task} std"] = (spread.mean, spread.std) if spread else (None, None)
        else:
            row[task] = "" if spread is None else str(spread)
    random = group.random(names)
    row["random"] = random if numbers else "" if random is None else f"{random:.3f}"
    if any("agreement" in other.first for other in everything):
        all_have_it = group.lines and all("agreement" in line for line in group.lines)
        agreement = group.mean("agreement") if all_have_it else None
        row["agreement"] = agreement if numbers else "" if agreement is None else f"{agreement:.3f}"
    for column, name in (("seconds", "seconds"), ("CPU seconds", "cpu_seconds")):
        row[column] = round(group.mean(name), 1 if numbers else None) if group.lines else None
    if any(other.kept_epochs for other in everything):
        row["kept epoch"] = group.kept_epochs if numbers else ", ".join(map(str, group.kept_epochs))
    row["runs"] = len(group.lines)
    if any(other.failed for other in everything):
        row["failed"] = len(group.failed)
    return row


def _protocol(line: ResultLine, lines: Sequence[ResultLine]) -> Row:
    """Return what is hidden, without the columns that say nothing in this table."""
    classes = ", ".join(line["unseen"]) if line["unseen_share"] is None else f"{line['unseen_share']:g} of the classes"
    columns: dict[str, tuple[bool, Any]] = {
        "PDR": (any(other["level"] is None for other in lines), line["pdr"] if line["level"] is None else None),
        "level": (any(other["level"] for other in lines), line["level"]),
        "query PDR": (any(other["query_pdr"] for other in lines), line["query_pdr"]),
        "use": (any(other["use"] != COMPLETE for other in lines), line["use"]),
        "labelled": (any(other["labelled"] < 1 for other in lines), line["labelled"]),
        "unseen": (any(other["unseen"] for other in lines), classes),
    }
    return {name: value for name, (says_something, value) in columns.items() if says_something}
