"""The grid as a table: one row a contender, code length and protocol; mean and standard deviation over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ichash_export.compare.case import COMPLETE, Line, key

Row = dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """Some values of the same thing.

    Attributes:
        mean: of them.
        std: sample standard deviation; None for a single one.
    """

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value or more."""
        return cls(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.std is None else f"{self.mean:.3f} ± {self.std:.3f}"


@dataclass(frozen=True)
class Group:
    """The runs that differ in their seed only."""

    lines: tuple[Line, ...]

    @property
    def first(self) -> Line:
        """One of them, for what they have in common."""
        return self.lines[0]

    @property
    def name(self) -> str:
        """Of the contender."""
        line = self.first
        return line["method"] if line["variant"] in ("full", "baseline") else f"{line['method']}: {line['variant']}"

    def map(self, task: str) -> Spread | None:
        """MAP of a task, where it was measured."""
        values = [line["map"][task] for line in self.lines if task in line["map"]]
        return Spread.of(values) if values else None

    def random(self, tasks: Iterable[str]) -> float:
        """MAP of a random order, mean over these tasks."""
        return float(
            statistics.mean(line["random"][task] for line in self.lines for task in tasks if task in line["random"])
        )

    def mean(self, name: str) -> float:
        """Mean of a figure that every line has."""
        return float(statistics.mean(line[name] for line in self.lines))


def groups(lines: Iterable[Line]) -> list[Group]:
    """Lines by all that names a cell but the seed (and the classes drawn by it), in the order in which they come."""
    found: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines:
        same = {**line, "seed": None, "unseen": line["unseen"] if line["unseen_share"] is None else []}
        found.setdefault(key(same), []).append(line)
    return [Group(tuple(members)) for members in found.values()]


def tasks(lines: Iterable[Group]) -> list[str]:
    """All tasks, in the order in which they first appear."""
    return list(dict.fromkeys(task for group in lines for line in group.lines for task in line["map"]))


def rows(lines: Sequence[Group], *, numbers: bool) -> list[Row]:
    """One row a group: as people read it, or with every mean and deviation as a number of its own."""
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
    row["random"] = random if numbers else f"{random:.3f}"
    if any("agreement" in other.first for other in everything):
        agreement = group.mean("agreement") if all("agreement" in line for line in group.lines) else None
        row["agreement"] = agreement if numbers else "" if agreement is None else f"{agreement:.3f}"
    for column, name in (("seconds", "seconds"), ("CPU seconds", "cpu_seconds")):
        row[column] = round(group.mean(name), 1 if numbers else None)
    return {**row, "runs": len(group.lines)}


def _protocol(line: Line, lines: Sequence[Line]) -> Row:
    """What is hidden, as far as it says anything in this table."""
    row: Row = {}
    if any(other["level"] is None for other in lines):
        row["PDR"] = line["pdr"] if line["level"] is None else None
    if any(other["level"] for other in lines):
        row["level"] = line["level"]
    if any(other["query_pdr"] for other in lines):
        row["query PDR"] = line["query_pdr"]
    if any(other["use"] != COMPLETE for other in lines):
        row["use"] = line["use"]
    if any(other["labelled"] < 1 for other in lines):
        row["labelled"] = line["labelled"]
    if any(other["unseen"] for other in lines):
        row["unseen"] = (
            ", ".join(line["unseen"]) if line["unseen_share"] is None else f"{line['unseen_share']:g} of the classes"
        )
    return row
