"""Running a published table with our methods: its cells, its data files, and the runs that are not there yet."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ichash_export.compare.case import key
from ichash_export.compare.dataset import DataFile, Dataset
from ichash_export.compare.planned_cases import PlannedCase, plan_cases, refuse_changed, run_planned, still_to_run
from ichash_export.compare.results_file import ResultsFile
from ichash_export.compare.workers import Outcome, Watch, unwatched
from ichash_export.papers.published import PublishedFigure, published_table
from ichash_export.papers.reproduction import MODALITIES, ReproducedCell, needed_cases, slug, table_row
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


@dataclass(frozen=True)
class TablePlan:
    """A table that is to be run: its cells, and the runs that they need.

    Attributes:
        cells: the cells of the table.
        files: data files by data set, as `data_files` gives them.
        data: the data by data set, read.
        planned: the runs by data set.
        records: the file with one JSON line a run.
        replace: whether runs are made again that were made with other data or settings.
    """

    cells: Sequence[ReproducedCell]
    files: Mapping[str, DataFile]
    data: Mapping[str, Dataset]
    planned: Mapping[str, list[PlannedCase]]
    records: ResultsFile
    replace: bool

    @property
    def runs_to_make(self) -> dict[str, int]:
        """How many runs the results do not have yet, by data set."""
        return {name: len(still_to_run(planned, replace=self.replace)) for name, planned in self.planned.items()}

    def in_words(self, name: str) -> str:
        """Return what is run on a data set, as a remark for the user."""
        data = self.data[name]
        return (
            f"{data.name}: {len(data.train)} training, {len(data.query)} query and {len(data.retrieval)} retrieval "
            f"items; {self.runs_to_make[name]} of {len(self.planned[name])} runs to make."
        )

    def rows(self, failures: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the rows of the table; `failures` says why runs failed, by the words for their case (`str(case)`)."""
        lines = self.records.read()
        failed = {
            key(each.identity): failures[str(each.case)]
            for planned in self.planned.values()
            for each in planned
            if str(each.case) in failures and key(each.identity) not in lines
        }
        names = [self.files[cell.figure.dataset].name if cell.seeds else "" for cell in self.cells]
        return [table_row(cell, name, lines, failed) for cell, name in zip(self.cells, names, strict=True)]


def plan_table(
    cells: Sequence[ReproducedCell], files: Mapping[str, DataFile], results: Path, *, replace: bool
) -> TablePlan:
    """Read the data, and look up which runs the results do not have yet.

    Args:
        cells: the cells of the table.
        files: data files by data set, as `data_files` gives them.
        results: file with one JSON line a run.
        replace: make runs again that were made with other data or settings.

    Raises:
        InputError: data that cannot be used, or results that were made with something else.
    """
    records = ResultsFile(results)
    data = {name: _read(file) for name, file in files.items()}
    planned = {name: plan_cases(needed_cases(cells, name), data[name], records) for name in data}
    for each in () if replace else planned.values():
        refuse_changed(each, records)
    return TablePlan(cells, files, data, planned, records, replace)


def run_table(plan: TablePlan, *, jobs: int, device: Device, watch: Watch = unwatched) -> Iterator[Outcome]:
    """Make the runs that the results do not have yet, and yield what became of each.

    Args:
        plan: the table.
        jobs: number of processes.
        device: where training runs.
        watch: is told how far the trainings are.

    Raises:
        WriteError: the results, or a file that a run needs, cannot be written.
    """
    for name, file in plan.files.items():
        yield from run_planned(
            plan.planned[name],
            plan.records,
            plan.data[name],
            file,
            jobs=jobs,
            device=device,
            replace=plan.replace,
            watch=watch,
        )


def _read(file: DataFile) -> Dataset:
    data = file.read()
    if set(data.train.modalities) != set(MODALITIES):
        raise InputError(
            f"{file.path}: the papers' modalities are {' and '.join(MODALITIES)}, the file has "
            f"{', '.join(data.train.modalities)}: say which is which with --modality image=COLUMN --modality "
            "text=COLUMN."
        )
    return data
