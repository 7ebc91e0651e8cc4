"""Run a published table with our methods and print ours beside what is published.

    python export/reproduce.py --list
    python export/reproduce.py "PMCH 3" --data MIRFlickr-25K=mirflickr.npz --results runs/reproduced.jsonl

Every run takes the method's recipe for the data set (`recipes/<method>/<data set>.toml`), what the table hides from training,
queries and database, and the ablation that the cell names. How many items train, are searched and are queried is the data file's
business: it needs the splits train, query and retrieval. Cells whose data is not given say so; cells of other methods have the
published figure only. Figures are tie-aware mAP@all of the exported bundle. For a quick try: --bits 16 --set epochs=2.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ichash_export.methods import registry
from ichash_export.papers.published import PublishedFigure, published_table, published_tables
from milvus_ichash.cli import guarded
from milvus_ichash.cli.options import Device, Format, mapping
from milvus_ichash.cli.output import emit, filled, note
from milvus_ichash.errors import InputError
from milvus_ichash.io import ColumnNames

if TYPE_CHECKING:
    from ichash_export.compare.dataset import DataFile, Dataset
    from ichash_export.papers.reproduction import Key, ReproducedCell


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", help='such as "PMCH 3" or "CICH II"; --list shows all')
    parser.add_argument("--list", action="store_true", help="list the tables")
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="features of a data set of the table; repeat it",
    )
    parser.add_argument(
        "--modality", action="append", metavar="NAME=COLUMN", help="columns of image and text, in all files; repeat it"
    )
    parser.add_argument("--bits", type=numbers, metavar="N,N", help="only these code lengths")
    parser.add_argument(
        "--seeds", type=numbers, default=[0], metavar="N,N", help="a run for each, such as 0,1,2; default: 0"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="[METHOD.]NAME=VALUE", help="instead of the recipe's; repeat it"
    )
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="JSON lines, one a run; what is there is not run again"
    )
    parser.add_argument("--replace", action="store_true", help="run again what is there with other data or settings")
    parser.add_argument("--jobs", type=int, default=1, help="processes, which share out the cores")
    parser.add_argument("--device", choices=[each.value for each in Device], default="auto", help="where training runs")
    parser.add_argument(
        "--format", "-f", choices=[each.value for each in Format], default="table", help="how the table is written"
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="no notes on stderr")
    return parser.parse_args()


def listed() -> list[dict[str, Any]]:
    """What `--list` shows: one row a table."""
    here = registry.method_names()
    rows = []
    for name, figures in published_tables().items():
        ours = dict.fromkeys(figure.method for figure in figures if figure.method.lower() in here)
        rows.append(
            {
                "table": name,
                "cells": len(figures),
                "data": list(dict.fromkeys(f.dataset for f in figures)),
                "ours": list(ours),
            }
        )
    return rows


def chosen(table: str, bits: Sequence[int] | None) -> tuple[PublishedFigure, ...]:
    """The table's cells of these code lengths."""
    figures = published_table(table)
    there = sorted({figure.bits for figure in figures})
    for length in bits or ():
        if length not in there:
            raise InputError(
                f"table {figures[0].table} has no codes of {length} bits; it has: {', '.join(map(str, there))}."
            )
    return tuple(figure for figure in figures if not bits or figure.bits in bits)


def files(pairs: list[str], figures: Sequence[PublishedFigure], columns: ColumnNames) -> dict[str, DataFile]:
    """The data files that were given, by the name that the table has for them."""
    from ichash_export.compare.dataset import DataFile
    from ichash_export.papers.reproduction import slug

    names = {slug(figure.dataset): figure.dataset for figure in figures}
    found = {}
    for given, path in (mapping(pairs, "--data") or {}).items():
        name = names.get(slug(given))
        if name is None:
            raise InputError(
                f"table {figures[0].table} has no data set '{given}'; it has: {', '.join(names.values())}."
            )
        stem = Path(path).stem
        found[name] = DataFile(Path(path), name if slug(stem) == slug(name) else f"{name}: {stem}", columns)
    return found


def read(file: DataFile) -> Dataset:
    from ichash_export.papers.reproduction import MODALITIES

    data = file.read()
    if set(data.train.modalities) != set(MODALITIES):
        raise InputError(
            f"{file.path}: the papers' modalities are {' and '.join(MODALITIES)}, the file has {', '.join(data.train.modalities)}: "
            "say which is which with --modality image=COLUMN --modality text=COLUMN."
        )
    return data


def run(
    args: argparse.Namespace, table: Sequence[ReproducedCell], given: dict[str, DataFile], results: Path
) -> tuple[list[dict[str, Any]], int]:
    """Run what the results do not hold yet; the rows of the table, and how many runs failed."""
    from ichash_export.compare.case import key
    from ichash_export.compare.planned_cases import plan_cases, refuse_changed, run_planned
    from ichash_export.compare.results_file import ResultsFile
    from ichash_export.papers.reproduction import needed_cases, table_row

    records = ResultsFile(results)
    failures: dict[Key, str] = {}
    data = {name: read(file) for name, file in given.items()}
    planned = {name: plan_cases(needed_cases(table, name), data[name], records) for name in data}
    for name, dataset in data.items():
        if not args.replace:
            refuse_changed(planned[name], records)
        sizes = (
            f"{len(dataset.train)} training, {len(dataset.query)} query and {len(dataset.retrieval)} retrieval items"
        )
        left = sum(each.state != "there" for each in planned[name])
        note(f"{dataset.name}: {sizes}; {left} of {len(planned[name])} runs to make.", quiet=args.quiet)
    for name, file in given.items():
        outcomes = run_planned(
            planned[name], records, data[name], file, jobs=args.jobs, device=args.device, replace=args.replace
        )
        for outcome in outcomes:
            found = ", ".join(f"{task} {value:.4f}" for task, value in (outcome.figures or {"map": {}})["map"].items())
            note(f"{file.name}: {outcome.case}: {found or outcome.failure}", quiet=args.quiet)
            if outcome.figures is None:
                failures[key(outcome.case.identity(file.name, {}))] = outcome.failure
    lines = records.read()
    return [
        table_row(cell, given[cell.figure.dataset].name if cell.seeds else "", lines, failures) for cell in table
    ], len(failures)


def main() -> None:
    args = arguments()
    if args.list:
        emit(listed(), Format(args.format), title="Published tables")
        return
    if args.table is None:
        raise InputError('name a table, such as "PMCH 3"; --list shows all.')
    if args.jobs < 1:
        raise InputError(f"--jobs {args.jobs}: at least one process is needed.")
    from ichash_export.papers.reproduction import reproduced_cells
    from ichash_export.train.device import resolve_device
    from milvus_ichash.evaluation.output_files import check_folder

    resolve_device(args.device)
    if args.results:
        check_folder(args.results)
    figures = chosen(args.table, args.bits)
    given = files(args.data, figures, ColumnNames(mapping(args.modality, "--modality")))
    table = reproduced_cells(figures, given, args.seeds, args.set)
    with tempfile.TemporaryDirectory() as folder:
        rows, failed = run(args, table, given, args.results or Path(folder) / "runs.jsonl")
    style = Format(args.format)
    emit(
        filled(rows) if style in (Format.table, Format.markdown) else rows,
        style,
        title=f"{figures[0].table}: published and ours",
    )
    if failed:
        sys.exit(InputError.exit_code)


if __name__ == "__main__":
    guarded(main)
