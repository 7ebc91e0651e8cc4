"""`milvus-ichash reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from milvus_ichash.cli.grid_options import with_epochs
from milvus_ichash.cli.grid_progress import Failures, GridProgress, resumable
from milvus_ichash.cli.option_values import listed, pairs
from milvus_ichash.cli.options import DATA, ColumnOptions, JobsOption, TrainingDeviceOption
from milvus_ichash.cli.output import OutputOptions
from milvus_ichash.cli.packages import TRAINING, require
from milvus_ichash.cli.written_rows import filled
from milvus_ichash.errors import InputError
from milvus_ichash.temporary import TemporaryFolder


def reproduce(
    table: Annotated[
        str | None,
        typer.Argument(help='Name of a published table, such as "PMCH 3" or "CICH II".', show_default=False),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the published tables, and stop.")] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            help="File with a data set of the table, with the splits train, query and retrieval; may be given several "
            "times.",
            metavar="NAME=FILE",
            rich_help_panel=DATA,
        ),
    ] = None,
    *,
    columns: ColumnOptions,
    bits: Annotated[
        str | None,
        typer.Option(
            "--bits", help="Code lengths to run, with commas between them, such as 16,32.", show_default="all"
        ),
    ] = None,
    seeds: Annotated[
        str, typer.Option("--seeds", help="Random seeds, with commas between them, such as 0,1,2; a run for each.")
    ] = "0",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting in place of the recipe's, of all methods or of one; may be given several times.",
            metavar="[METHOD.]NAME=VALUE",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Short for --set epochs=N, of all methods.")] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results", help="File with one JSON line a run; runs that are in it are not run again.", metavar="FILE"
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Run again what is in --results with other data or settings.")
    ] = False,
    jobs: JobsOption = 1,
    device: TrainingDeviceOption = "auto",
    output: OutputOptions,
) -> None:
    """Run a published table with our methods, and print our figures beside the published ones.

    Every run takes the method's recipe for the data set (`recipes/METHOD/DATA.toml`), hides what the table hides from
    training, queries and database, and takes the ablation that the cell names. The numbers of items are those of the
    data file. Cells whose data is not given say so; cells of other methods show the published figure only. Our
    figures are tie-aware mAP@all of the exported bundle. A run that cannot be made leaves its cells empty, with the
    reason; the exit code is 2 only where every run failed. For a quick try: --bits 16 --epochs 2.

    Examples:

        milvus-ichash reproduce --list

        milvus-ichash reproduce "PMCH 3" --data MIRFlickr-25K=mirflickr.npz --results runs/reproduced.jsonl
    """
    from ichash_export.papers.published import list_tables

    if list_all:
        output.emit(list_tables(), title="Published tables")
        return
    if table is None:
        raise InputError('name a table, such as "PMCH 3"; --list shows all.')
    require(TRAINING, extra="train", what="training")
    from ichash_export.papers.reproduction import reproduced_cells
    from ichash_export.papers.table_run import data_files, figures_of_lengths, plan_table, run_table
    from ichash_export.train.device import resolve_device
    from milvus_ichash.evaluation.output_files import check_folder

    resolve_device(device)
    if results:
        check_folder(results)
    figures = figures_of_lengths(table, listed(bits, int, "--bits", "16,32"))
    files = data_files(pairs(data, "--data") or {}, figures, columns.column_names)
    cells = reproduced_cells(figures, files, listed(seeds, int, "--seeds", "0,1,2"), with_epochs(settings, epochs))
    failures = Failures(output)
    with TemporaryFolder() as folder:
        plan = plan_table(cells, files, results or folder / "runs.jsonl", replace=replace)
        for name in plan.files:
            output.note(plan.in_words(name))
        runs = sum(plan.runs_to_make.values())
        with (
            resumable(lambda: f"what has ended is in '{results}'" if results else "nothing is kept without --results"),
            output.progress(figures[0].table, runs, unit="runs", at_once=True) as advance,
        ):
            shown = GridProgress(advance)
            failures.among(shown.passing(run_table(plan, jobs=jobs, device=device, watch=shown.watch)))
        rows = plan.rows(failures.cases)
    output.emit(filled(rows) if output.for_people else rows, title=f"{figures[0].table}: published and ours")
    failures.tell(anything_there=any(row["ours"] is not None for row in rows))
