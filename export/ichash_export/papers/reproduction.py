"""Reproduction of published tables: which runs of ours a published figure needs, and what they give together."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ichash_export.compare.case import COMPLETE, FULL, Case, Protocol, ResultLine, key
from ichash_export.compare.grid import Contender, contenders
from ichash_export.methods import registry
from ichash_export.papers.published import PublishedFigure
from ichash_export.papers.recipes import load_recipe_set
from ichash_export.train.options import options_elsewhere
from milvus_ichash.choices import Level
from milvus_ichash.codes import check_bits

Key = tuple[Any, ...]
"""What names a run (`case.key`)."""
WAYS = ("image->text", "text->image")
MODALITIES = ("image", "text")
"""The modalities of all the tables of the papers."""


@dataclass(frozen=True)
class CellTerm:
    """What one run adds to our figure: `weight` times the mAP of a task."""

    weight: float
    case: Case
    task: str


@dataclass(frozen=True)
class ReproducedCell:
    """A cell of a published table, and the runs that give our figure for it.

    Attributes:
        figure: the published figure.
        seeds: for each seed the terms whose sum is our figure; none where the cell is not run.
        remark: why the cell is not run although we have the method, or what a reader has to know of the runs.
    """

    figure: PublishedFigure
    seeds: tuple[tuple[CellTerm, ...], ...] = ()
    remark: str = ""


def reproduced_cells(
    figures: Sequence[PublishedFigure], data: Collection[str], seeds: Sequence[int], settings: Sequence[str]
) -> list[ReproducedCell]:
    """Return the cells of a table with the runs that they need.

    A run takes its settings from the method's recipe for the data set, then from `settings`, then from the ablation.

    Args:
        figures: the published figures of the table.
        data: names of the data sets that we have.
        seeds: random seeds; each has runs of its own.
        settings: `NAME=VALUE` for all methods, or `METHOD.NAME=VALUE`.

    Raises:
        InputError: a setting cannot be used.
    """
    known = {
        (dataset, contender.method, contender.variant): contender
        for dataset in dict.fromkeys(figure.dataset for figure in figures)
        for contender in contenders(
            _names(figures, dataset),
            recipes=load_recipe_set(slug(dataset)),
            settings=settings,
            elsewhere=options_elsewhere(bits="--bits", seed="--seeds", seeds="--seeds", device="--device"),
        )
    }
    return [
        _cell(figure, data, seeds, known.get((figure.dataset, figure.method.lower(), figure.variant or FULL)))
        for figure in figures
    ]


def slug(dataset: str) -> str:
    """Return the name of a data set as recipe files have it, such as "mscoco" for "MS COCO"."""
    return "".join(character for character in dataset.lower() if character.isalnum())


def needed_cases(table: Sequence[ReproducedCell], dataset: str) -> list[Case]:
    """Return the runs that the cells of a data set need, each once, seed by seed, so that every cell has a figure
    early."""
    needed = [part.case for cell in table if cell.figure.dataset == dataset for parts in cell.seeds for part in parts]
    return sorted({key(case.identity(dataset, {})): case for case in needed}.values(), key=lambda case: case.seed)


def table_row(
    cell: ReproducedCell, name: str, lines: Mapping[Key, ResultLine], failures: Mapping[Key, str]
) -> dict[str, Any]:
    """Return a cell as a row of the printed table: the published figure, ours as the mean over the seeds, and remarks.

    Args:
        cell: the cell, whose runs are done.
        name: how the runs call the data of the cell.
        lines: the lines of the runs that succeeded, by `case.key`.
        failures: why the other runs failed, by `case.key`.
    """
    found, remarks = [], [cell.remark] * bool(cell.remark)
    for parts in cell.seeds:
        keys = [key(part.case.identity(name, {})) for part in parts]
        failed = [failures[each] for each in keys if each in failures]
        values = [lines[each]["map"].get(part.task) for each, part in zip(keys, parts, strict=True) if not failed]
        if failed or None in values:
            remarks += failed[:1] or ["no query could be asked this way"]
        else:
            found.append(sum(part.weight * value for part, value in zip(parts, values, strict=True)))
    mean = statistics.mean(found) if found else None
    figure = cell.figure
    return {
        **figure.model_dump(exclude={"table", "page", "value"}),
        "published": figure.value,
        "ours": mean,
        "std": statistics.pstdev(found) if len(found) > 1 else None,
        "difference": None if mean is None else mean - figure.value,
        "remark": "; ".join(dict.fromkeys(remarks)),
    }


def _names(figures: Sequence[PublishedFigure], dataset: str) -> list[str]:
    """Return those of our methods and ablations that the figures of a data set name, as `method:variant`."""
    names = {
        (f.method.lower(), f.variant or FULL): f
        for f in figures
        if f.dataset == dataset and f.method.lower() in registry.method_names()
    }
    return [
        f"{method}:{variant}"
        for method, variant in names
        if variant == FULL or variant in registry.load(method).ablations
    ]


def _cell(
    figure: PublishedFigure, data: Collection[str], seeds: Sequence[int], contender: Contender | None
) -> ReproducedCell:
    method = figure.method.lower()
    if method not in registry.method_names():
        return ReproducedCell(figure)
    if contender is None:
        return ReproducedCell(figure, remark=f"{method} has no ablation '{figure.variant}'")
    if figure.dataset not in data:
        return ReproducedCell(figure, remark=f'no data: give --data "{figure.dataset}=FILE"')
    remarks = ["training PDR not stated, taken for 0"] * (
        figure.train_pdr is None and figure.level is None and figure.use is None
    )
    remarks += ["no recipe, default settings"] * (contender.recipe is None)
    parts = tuple(tuple(_parts(figure, contender, seed)) for seed in dict.fromkeys(seeds))
    return ReproducedCell(figure, seeds=parts, remark="; ".join(remarks))


def _parts(figure: PublishedFigure, who: Contender, seed: int) -> Iterator[CellTerm]:
    """Yield the terms of a figure: a mean is half of each direction, a drop is easy minus hard."""
    check_bits(figure.bits)
    levels: list[tuple[float, Level | None]] = (
        [(1.0, "easy"), (-1.0, "hard")] if figure.metric == "mAP drop" else [(1.0, figure.level)]
    )
    ways = WAYS if figure.task == "mean" else (figure.task,)
    for sign, level in levels:
        hidden = Protocol(figure.train_pdr or 0.0, level, figure.query_pdr or 0.0, figure.use or COMPLETE)
        case = Case(who.method, who.variant, figure.bits, seed, hidden, who.settings, who.training, who.recipe)
        yield from (CellTerm(sign / len(ways), case, way) for way in ways)
