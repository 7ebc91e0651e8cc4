"""`milvus-ichash compare`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from milvus_ichash.cli.options import (
    Device,
    Format,
    FormatOption,
    HoldoutOption,
    IdColumnOption,
    LabelsColumnOption,
    ModalityOption,
    QuietOption,
    mapping,
)
from milvus_ichash.cli.output import complain, emit, note, progress
from milvus_ichash.errors import InputError

if TYPE_CHECKING:
    from ichash_export.compare.planned_cases import PlannedCase
    from ichash_export.compare.workers import Outcome
    from milvus_ichash.cli.output import Advance, Row

Value = TypeVar("Value")

_GRID = "Grid"
_HIDDEN = "What is hidden"
_DATA = "Data"
_OUTPUT = "Output"
_EXAMPLES = {
    "--methods": "pmch,nch:KNN",
    "--bits": "16,32",
    "--cut": "16,32,64",
    "--seeds": "0,1,2",
    "--pdr": "0.5,0.9",
    "--query-pdr": "0.1,0.5",
    "--level": "easy,hard",
    "--labelled": "0.1,1",
    "--unseen": "Shoes,Belts",
}


class Use(str, Enum):
    """What incomplete rows are used for."""

    complete = "complete"
    discard = "discard"
    enhance = "enhance"
    extend = "extend"


def compare(
    data: Annotated[Path, typer.Argument(help="Features and labels, with splits or cut by --holdout.", metavar="DATA")],
    methods: Annotated[
        list[str],
        typer.Option(
            "--methods",
            help="Methods, METHOD:ABLATION, and baselines, with commas between them; may be repeated.",
            rich_help_panel=_GRID,
        ),
    ],
    results: Annotated[Path, typer.Option("--results", help="JSON lines, one a run: what is there is not run again.")],
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Each method and all its ablations.", rich_help_panel=_GRID)
    ] = False,
    bits: Annotated[str, typer.Option("--bits", help="Code lengths, such as 16,32.", rich_help_panel=_GRID)] = "32",
    cut: Annotated[
        str | None,
        typer.Option(
            "--cut",
            help="Lengths that nested codes are cut to, such as 16,32,64: trainings are measured at shorter ones than their own too.",
            rich_help_panel=_GRID,
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        str, typer.Option("--seeds", help="Such as 0,1,2: of gaps, weights, order.", rich_help_panel=_GRID)
    ] = "0",
    recipe_set: Annotated[
        str | None,
        typer.Option(
            "--recipe-set",
            "--recipes",
            help="Each method takes the recipe METHOD/NAME where there is one, else its defaults.",
            metavar="NAME",
            rich_help_panel=_GRID,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of one method, or NAME=VALUE of all; repeat it.",
            metavar="METHOD.NAME=VALUE",
            rich_help_panel=_GRID,
        ),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            "--validation",
            help="Share held out to choose the epoch that is kept; 0: none.",
            rich_help_panel=_GRID,
            show_default="the recipe's, or 0.1",
        ),
    ] = None,
    pdr: Annotated[
        str | None,
        typer.Option(
            "--pdr",
            help="Shares of training items from which a modality is hidden, such as 0.5,0.9.",
            rich_help_panel=_HIDDEN,
            show_default="0",
        ),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            "--level",
            help="easy,medium,hard: as CICH and EGICH hide, beside or in place of --pdr.",
            rich_help_panel=_HIDDEN,
        ),
    ] = None,
    query_pdr: Annotated[
        str | None,
        typer.Option("--query-pdr", help="Shares of queries likewise.", rich_help_panel=_HIDDEN, show_default="0"),
    ] = None,
    use: Annotated[
        Use,
        typer.Option(
            "--use",
            help="complete: all training items, complete database. Else the database has gaps as the training items: discard trains on "
            "and searches complete items, enhance trains on all, extend searches all too.",
            rich_help_panel=_HIDDEN,
        ),
    ] = Use.complete,
    unseen: Annotated[
        str | None,
        typer.Option(
            "--unseen",
            help="Classes, with commas, kept out of training; queries and relevance are theirs.",
            rich_help_panel=_HIDDEN,
        ),
    ] = None,
    unseen_share: Annotated[
        float | None,
        typer.Option(
            "--unseen-share", help="As --unseen, this share of the classes, drawn by the seed.", rich_help_panel=_HIDDEN
        ),
    ] = None,
    labelled: Annotated[
        str | None,
        typer.Option(
            "--labelled",
            help="Shares of training items whose labels are known, such as 0.1,1: the others' are hidden.",
            rich_help_panel=_HIDDEN,
            show_default="1",
        ),
    ] = None,
    holdout: HoldoutOption = None,
    modality: ModalityOption = None,
    id_column: IdColumnOption = None,
    labels_column: LabelsColumnOption = None,
    zeros_missing: Annotated[
        list[str] | None,
        typer.Option(
            "--zeros-missing",
            help="An item whose row of this modality is all zeros lacks it; repeat it.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    complete_only: Annotated[
        bool,
        typer.Option(
            "--complete-only",
            help="Leave out items that lack a modality, before anything is cut.",
            rich_help_panel=_DATA,
        ),
    ] = False,
    held_out: Annotated[
        int,
        typer.Option(
            "--held-out",
            min=0,
            help="This many training items take the queries' place, to choose settings by; the query split is not looked at.",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ] = 0,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="What the results call the data.",
            rich_help_panel=_DATA,
            show_default="DATA without its ending",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes, which share out the cores.")] = 1,
    device: Annotated[Device, typer.Option("--device", help="auto: CUDA where torch has it.")] = Device.auto,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Run cells again that are there with other settings, and drop their old lines."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is there and what would run, and stop.")] = False,
    no_run: Annotated[bool, typer.Option("--no-run", help="Run nothing: table and figures of what is there.")] = False,
    figure_pdr: Annotated[
        Path | None,
        typer.Option(
            "--figure-pdr", help="Draw mAP against PDR into this file (.png, .svg, .pdf).", rich_help_panel=_OUTPUT
        ),
    ] = None,
    figure_bits: Annotated[
        Path | None, typer.Option("--figure-bits", help="Draw mAP against bits likewise.", rich_help_panel=_OUTPUT)
    ] = None,
    style: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Train methods, their ablations and baselines on the same data, and compare their mAP.

    Every run is one line of --results; the same command goes on where it was stopped. The table has the tie-aware mAP
    over the whole database by task, mean ± standard deviation over the seeds, and beside it what a random order has.
    Codes are those of the bundle that a user would get.

    Examples:

        milvus-ichash compare fashion.npz --methods pmch,nch,cosine --recipes fashion --pdr 0.5,0.9 --seeds 0,1,2
        --results runs.jsonl

        milvus-ichash compare items.parquet --holdout 500 --methods pmch --ablations --pdr 0.5 --results runs.jsonl
        --format markdown
    """
    from milvus_ichash.cli.backends import TRAINING, require

    require(TRAINING, extra="train", what="training")
    from ichash_export.compare import grid, plots, tables
    from ichash_export.compare.dataset import DataFile
    from ichash_export.compare.planned_cases import lines_of, plan_cases, refuse_changed, run_planned, still_to_run
    from ichash_export.compare.results_file import ResultsFile
    from ichash_export.papers.recipes import load_recipe_set
    from ichash_export.train.device import resolve_device
    from milvus_ichash.evaluation.output_files import check_folder
    from milvus_ichash.io import ColumnNames

    resolve_device(device.value)
    check_folder(results)
    lengths, cuts, pdrs = _listed(bits, int, "--bits"), _listed(cut, int, "--cut"), _listed(pdr, float, "--pdr")
    plots.check(figure_pdr, pdrs, "--figure-pdr needs several --pdr")
    plots.check(figure_bits, [*lengths, *cuts], "--figure-bits needs several --bits")
    who = grid.contenders(
        [each for group in methods for each in _listed(group, str, "--methods")],
        ablations=ablations,
        recipes=load_recipe_set(recipe_set),
        settings=settings or (),
        training={} if validation is None else {"validation": validation},
    )
    how = grid.protocols(
        pdrs,
        _listed(level, str, "--level"),
        _listed(query_pdr, float, "--query-pdr"),
        use.value,
        _listed(unseen, str, "--unseen"),
        unseen_share,
        _listed(labelled, float, "--labelled"),
    )
    file = DataFile(
        data,
        name or data.stem,
        ColumnNames(mapping(modality, "--modality"), id_column, labels_column),
        holdout,
        tuple(zeros_missing or ()),
        complete_only,
        held_out,
    )
    read, records = file.read(), ResultsFile(results)
    planned = plan_cases(grid.cases(who, lengths, how, _listed(seeds, int, "--seeds"), read, cuts), read, records)
    if dry_run:
        emit([_planned(each) for each in planned], style)
        return
    if not replace:
        refuse_changed(planned, records)
    for remark in grid.remarks(who, recipe_set):
        note(remark, quiet=quiet)
    left = still_to_run(planned, replace=replace)
    if no_run and left:
        note(f"{len(planned) - len(left)} of {len(planned)} runs are in '{results}'.", quiet=quiet)
    try:
        with progress(f"{read.name}: {len(left)} runs", 0 if no_run else len(left), quiet=quiet) as advance:
            outcomes = run_planned(planned, records, read, file, jobs=jobs, device=device.value, replace=replace)
            failures = [] if no_run else _watched(outcomes, advance, quiet)
    except KeyboardInterrupt:
        complain(
            f"interrupted; {len(lines_of(planned, records))} of {len(planned)} runs are in '{results}'. The same command goes on."
        )
        raise typer.Exit(130) from None
    lines = lines_of(planned, records)
    if lines:
        emit(tables.rows(tables.groups(lines), numbers=style not in (Format.table, Format.markdown)), style)
    for failure in failures:
        complain(failure)
    for draw, path in ((plots.against_pdr, figure_pdr), (plots.against_bits, figure_bits)):
        if path is not None:
            draw(tables.groups(lines), path)
    if failures:
        raise typer.Exit(InputError.exit_code)


def _listed(text: str | None, kind: Callable[[str], Value], option: str) -> list[Value]:
    """The values between the commas, each once.

    Raises:
        InputError: no value, or one that is not of this kind.
    """
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    try:
        values = [kind(part) for part in parts]
    except ValueError:
        values = []
    if text is not None and not values:
        raise InputError(f"{option} takes values with commas between them, such as {_EXAMPLES[option]}; got '{text}'.")
    return list(dict.fromkeys(values))


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


def _watched(outcomes: Iterator[Outcome], advance: Advance, quiet: bool) -> list[str]:
    """Go through the runs, showing them; why some failed, in sentences, one for those that failed alike."""
    failed: dict[str, list[str]] = {}
    noted: set[str] = set()
    for outcome in outcomes:
        for remark in outcome.notes:
            if remark not in noted:
                note(f"{outcome.case.title}: {remark}", quiet=quiet)
            noted.add(remark)
        if outcome.figures is None:
            failed.setdefault(outcome.failure, []).append(str(outcome.case))
            advance(1, f"{outcome.case} failed")
        else:
            advance(
                1,
                f"{outcome.case}: "
                + ", ".join(f"{task} {value:.3f}" for task, value in outcome.figures["map"].items()),
            )
    return [
        f"{len(cases)} runs failed ({'; '.join(cases[:5])}{'; ...' * (len(cases) > 5)}): {why}"
        for why, cases in failed.items()
    ]
