"""`milvus-ichash compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.cli.data_file_options import DataFileOptions
from milvus_ichash.cli.grid_options import GridOptions, HidingOptions
from milvus_ichash.cli.grid_progress import Failures, GridProgress, resumable
from milvus_ichash.cli.options import JobsOption, TrainingDeviceOption
from milvus_ichash.cli.output import OUTPUT, OutputOptions
from milvus_ichash.cli.packages import TRAINING, require
from milvus_ichash.cli.written_rows import Row

if TYPE_CHECKING:
    from ichash_export.compare.planned_cases import PlannedCase


def compare(
    data: Annotated[
        Path,
        typer.Argument(help="Features and labels: a file with splits, or one table with --holdout.", metavar="DATA"),
    ],
    *,
    grid: GridOptions,
    results: Annotated[
        Path,
        typer.Option("--results", help="File with one JSON line a run; runs that are in it are not run again."),
    ],
    hiding: HidingOptions,
    source: DataFileOptions,
    jobs: JobsOption = 1,
    device: TrainingDeviceOption = "auto",
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Run again what is in --results with other settings, and replace its lines."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs, say which of them are in --results, and stop.")
    ] = False,
    no_run: Annotated[
        bool, typer.Option("--no-run", help="Run nothing; show the table and the figures of what is in --results.")
    ] = False,
    figure_pdr: Annotated[
        Path | None,
        typer.Option(
            "--figure-pdr",
            help="Draw mAP over the partial data ratio into this file (.png, .svg, .pdf).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    figure_bits: Annotated[
        Path | None,
        typer.Option(
            "--figure-bits",
            help="Draw mAP over the code length into this file (.png, .svg, .pdf).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    output: OutputOptions,
) -> None:
    """Train methods, their ablations and baselines on the same data, and compare their mAP.

    Every run is one line of --results; the same command goes on where it was stopped. The table has the tie-aware mAP
    over the whole database by task, mean ± standard deviation over the seeds, and beside it what a random order has.
    Codes are those of the bundle that a user would get. A run that cannot be made is named, in the table and on stderr,
    and the others are made; the exit code is 2 only where no run has figures.

    Examples:

        milvus-ichash compare fashion.npz --methods pmch,nch,cosine --recipes fashion --pdr 0.5,0.9 --seeds 0,1,2
        --results runs.jsonl

        milvus-ichash compare items.parquet --holdout 500 --methods pmch --ablations --pdr 0.5 --results runs.jsonl
        --format markdown
    """
    require(TRAINING, extra="train", what="training")
    from ichash_export.compare import plots, tables
    from ichash_export.compare.grid import cases, remarks
    from ichash_export.compare.planned_cases import lines_of, plan_cases, refuse_changed, run_planned, still_to_run
    from ichash_export.compare.results_file import ResultsFile
    from ichash_export.train.device import resolve_device
    from milvus_ichash.evaluation.output_files import check_folder

    resolve_device(device)
    check_folder(results)
    plots.check(figure_pdr, hiding.pdrs, "--figure-pdr needs several --pdr")
    plots.check(figure_bits, [*grid.lengths, *grid.cuts], "--figure-bits needs several --bits")
    who, how, file = grid.contenders(), hiding.protocols(), source.file(data)
    read, records = file.read(), ResultsFile(results)
    planned = plan_cases(cases(who, grid.lengths, how, grid.seed_numbers, read, grid.cuts), read, records)
    if dry_run:
        output.emit([_planned(each) for each in planned])
        return
    if not replace:
        refuse_changed(planned, records)
    for remark in remarks(who, grid.recipe_set):
        output.note(remark)
    left = still_to_run(planned, replace=replace)
    if no_run and left:
        output.note(f"{len(planned) - len(left)} of {len(planned)} runs are in '{results}'.")
    failures = Failures(output)
    with (
        resumable(lambda: f"{len(lines_of(planned, records))} of {len(planned)} runs are in '{results}'"),
        output.progress(read.name, 0 if no_run else len(left), unit="runs", at_once=True) as advance,
    ):
        shown = GridProgress(advance)
        outcomes = run_planned(
            planned, records, read, file, jobs=jobs, device=device, replace=replace, watch=shown.watch
        )
        failures.among([] if no_run else shown.passing(outcomes))
    lines = lines_of(planned, records)
    failed = [each.identity for each in planned if str(each.case) in failures.cases]
    if lines or not failed:
        shown_rows = tables.rows(tables.groups([*lines, *failed]), numbers=not output.for_people)
        output.emit(shown_rows, columns=tables.COLUMNS)
    failures.tell(anything_there=bool(lines))
    for draw, path in ((plots.against_pdr, figure_pdr), (plots.against_bits, figure_bits)):
        if path is not None:
            draw(tables.groups(lines), path)


def _planned(each: PlannedCase) -> Row:
    return {
        "method": each.case.method,
        "variant": each.case.called,
        "bits": each.case.bits,
        "case": each.case.title,
        "seed": each.case.seed,
        "state": each.state,
        "changed": "; ".join(each.changed),
    }
