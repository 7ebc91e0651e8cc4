"""Running a published table with our methods: its cells, its data files, and the runs that are not there yet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ichash_export.compare.case import key
from ichash_export.compare.dataset import DataFile, Dataset
from ichash_export.compare.planned_cases import plan_cases, refuse_changed, run_planned, still_to_run
from ichash_export.compare.results_file import ResultsFile
from ichash_export.papers.published import PublishedFigure, published_table
from ichash_export.papers.reproduction import MODALITIES, Key, ReproducedCell, needed_cases, slug, table_row
from milvus_ichash.choices import Device
from milvus_ichash.errors import InputError
from milvus_ichash.io import ColumnNames


def figures_of_lengths(table: str, bits: Collection[int]) -> list[PublishedFigure]:
    """Return the published figures of a table for these code lengths, or for all its lengths where none is given.

    Raises:
        InputError: there is no such table, or it has no codes of one of the lengths.
    """
    figures = published_table(table)
    there = sorted({figure.bits for figure in figures})
    for length in bits:
        if length not in there:
            raise InputError(
                f"table {figures[0].table} has no codes of {length} bits; it has: {', '.join(map(str, there))}."
            )
    return [figure for figure in figures if not bits or figure.bits in bits]


def data_files(
    paths: Mapping[str, str], figures: Sequence[PublishedFigure], columns: ColumnNames
) -> dict[str, DataFile]:
    """Return the data files, not read yet, by the names that the table has for its data sets.

    Args:
        paths: files by the name of the data set; upper and lower case, spaces and signs do not matter.
        figures: the table's figures.
        columns: which columns of the files hold what.

    Raises:
        InputError: the table has no such data set.
    """
    names = {slug(figure.dataset): figure.dataset for figure in figures}
    found = {}
    for given, path in paths.items():
        name = names.get(slug(given))
        if name is None:
            raise InputError(
                f"table {figures[0].table} has no data set '{given}'; it has: {', '.join(names.values())}."
            )
        stem = Path(path).stem
        found[name] = DataFile(Path(path), name if slug(stem) == slug(name) else f"{name}: {stem}", columns)
    return found


def run_table(
    cells: Sequence[ReproducedCell],
    files: Mapping[str, DataFile],
    results: Path,
    *,
    jobs: int,
    device: Device,
    replace: bool,
    note: Callable[[str], None],
) -> tuple[list[dict[str, Any]], int]:
    """Make the runs that the results do not have yet.

    Args:
        cells: the cells of the table.
        files: data files by data set, as `data_files` gives them.
        results: file with one JSON line a run.
        jobs: number of processes.
        device: where training runs.
        replace: make runs again that were made with other data or settings.
        note: is told what is run, and each run's result.

    Returns:
        The rows of the table, and the number of runs that failed.

    Raises:
        InputError: data that cannot be used, or results that were made with something else.
    """
    records = ResultsFile(results)
    failures: dict[Key, str] = {}
    data = {name: _read(file) for name, file in files.items()}
    planned = {name: plan_cases(needed_cases(cells, name), data[name], records) for name in data}
    for name, dataset in data.items():
        if not replace:
            refuse_changed(planned[name], records)
        sizes = (
            f"{len(dataset.train)} training, {len(dataset.query)} query and {len(dataset.retrieval)} retrieval items"
        )
        left = still_to_run(planned[name], replace=True)
        note(f"{dataset.name}: {sizes}; {len(left)} of {len(planned[name])} runs to make.")
    for name, file in files.items():
        for outcome in run_planned(planned[name], records, data[name], file, jobs=jobs, device=device, replace=replace):
            found = ", ".join(f"{task} {value:.4f}" for task, value in (outcome.figures or {"map": {}})["map"].items())
            note(f"{file.name}: {outcome.case}: {found or outcome.failure}")
            if outcome.figures is None:
                failures[key(outcome.case.identity(file.name, {}))] = outcome.failure
    lines = records.read()
    names = [files[cell.figure.dataset].name if cell.seeds else "" for cell in cells]
    return [table_row(cell, name, lines, failures) for cell, name in zip(cells, names, strict=True)], len(failures)


def _read(file: DataFile) -> Dataset:
    data = file.read()
    if set(data.train.modalities) != set(MODALITIES):
        raise InputError(
            f"{file.path}: the papers' modalities are {' and '.join(MODALITIES)}, the file has "
            f"{', '.join(data.train.modalities)}: say which is which with --modality image=COLUMN --modality "
            "text=COLUMN."
        )
    return data
