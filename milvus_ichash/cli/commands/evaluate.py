"""`milvus-ichash evaluate`."""

from __future__ import annotations

from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from milvus_ichash.cli.options import (
    BundleOption,
    DbOption,
    Device,
    DeviceOption,
    Format,
    FormatOption,
    HoldoutOption,
    IdColumnOption,
    LabelsColumnOption,
    ModalityOption,
    QuietOption,
    SplitOption,
    TimeoutOption,
    TokenOption,
    UriOption,
    mapping,
)
from milvus_ichash.cli.output import emit, note, progress
from milvus_ichash.cli.retriever_options import Ranking, Via

_MEASURE = "Measure"
_SWEEP = "Measure several nprobe"


class TieBreaking(str, Enum):
    """What is done about rows at the same distance."""

    expected = "expected"
    stable = "stable"


class DatabasePart(str, Enum):
    """Which rows take part."""

    observed = "observed"
    all = "all"
    complete = "complete"


class Normalise(str, Enum):
    """What mAP@k divides by."""

    relevant = "relevant"
    hits = "hits"


def evaluate(
    queries: Annotated[
        Path, typer.Argument(help="Features and labels of the queries: .parquet, .npz, .h5, .mat.", metavar="QUERIES")
    ],
    bundle: BundleOption,
    collection: Annotated[
        list[str] | None,
        typer.Option(
            "--collection",
            "-c",
            help="Collection to search in; repeat it where the codes are in several.",
            rich_help_panel="Milvus",
            show_default=False,
        ),
    ] = None,
    via: Annotated[
        Via | None,
        typer.Option(
            "--via",
            help="search: rankings out of Milvus searches. readback: codes read out of the collection once, ranked here; the figures of "
            "BIN_FLAT, much faster. exact: no Milvus, the database is a file.",
            rich_help_panel=_MEASURE,
            show_default="search; exact with --against",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            help="File with the database for --via exact: its retrieval split, or all of it where it has none.",
            rich_help_panel=_MEASURE,
            show_default="QUERIES",
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            help="Such as 'image->text' or 'image->image' (cross-modal codes); both, image, text or observed (fused codes); repeat it.",
            rich_help_panel=_MEASURE,
            show_default="the usual ones",
        ),
    ] = None,
    database: Annotated[
        DatabasePart,
        typer.Option(
            "--database",
            help="Rows that take part: those whose target modality is observed, all (completed codes too), or complete ones.",
            rich_help_panel=_MEASURE,
        ),
    ] = DatabasePart.observed,
    ties: Annotated[
        TieBreaking,
        typer.Option(
            "--ties",
            help="Rows at the same distance: expected value over their order, or stable (by id), the papers' way.",
            rich_help_panel=_MEASURE,
        ),
    ] = TieBreaking.expected,
    at_k: Annotated[
        list[int] | None,
        typer.Option(
            "--at-k",
            help="Rank of mAP@k, P@k and NDCG@k; repeat it.",
            rich_help_panel=_MEASURE,
            show_default="50; 10 and 100 with --sweep",
        ),
    ] = None,
    normalise: Annotated[
        Normalise,
        typer.Option(
            "--normalise",
            help="mAP@k divides by min(R, k), R all relevant rows, or by the hits among the first k.",
            rich_help_panel=_MEASURE,
        ),
    ] = Normalise.relevant,
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            help="With --via search: one search for this many rows a query, in place of all; the others count as misses.",
            rich_help_panel=_MEASURE,
            show_default="all rows; 16384 of BIN_IVF_FLAT; the largest --at-k with --sweep",
        ),
    ] = None,
    nprobe: Annotated[
        int | None,
        typer.Option(
            "--nprobe",
            help="With --via search: cells of BIN_IVF_FLAT that are looked through.",
            rich_help_panel=_MEASURE,
            show_default="nlist / 64, at least 8",
        ),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            "--sweep",
            help="Such as nprobe=1,2,4,8,16,32,64: for each, recall and mAP at --at-k, latency and queries/s, beside exact rankings.",
            rich_help_panel=_SWEEP,
            show_default=False,
        ),
    ] = None,
    flat: Annotated[
        list[str] | None,
        typer.Option(
            "--flat",
            help="A collection of the same rows with BIN_FLAT, the line to beat; repeat it for several --collection.",
            rich_help_panel=_SWEEP,
            show_default=False,
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            "--bits",
            help="With --via exact: cut the codes to this length, one that the bundle was trained for. Those of a collection have its own.",
            rich_help_panel=_MEASURE,
            show_default="the bundle's",
        ),
    ] = None,
    query_pdr: Annotated[
        float,
        typer.Option("--query-pdr", help="Hide one modality of this share of the queries.", rich_help_panel=_MEASURE),
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Of --query-pdr.", rich_help_panel=_MEASURE)] = 0,
    split: SplitOption = None,
    holdout: HoldoutOption = None,
    modality: ModalityOption = None,
    id_column: IdColumnOption = None,
    labels_column: LabelsColumnOption = None,
    uri: UriOption = None,
    token: TokenOption = None,
    db_name: DbOption = None,
    timeout: TimeoutOption = None,
    device: DeviceOption = Device.auto,
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure",
            help="Draw precision over recall into this file (.png, .svg, .pdf); with --sweep, recall and mAP over latency.",
            rich_help_panel="Output",
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", help="Write everything, with what it was measured on, into this file.", rich_help_panel="Output"
        ),
    ] = None,
    style: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Measure retrieval: mAP, precision and NDCG of queries with labels against a collection or a file.

    A row is relevant to a query where they share a label. Queries are the file's query split, those that --holdout
    cuts, or all rows of a file without splits.

    Examples:

        milvus-ichash evaluate items.parquet --holdout 500 --bundle runs/mine/bundle --collection items

        milvus-ichash evaluate fashion.npz --bundle runs/fashion/bundle --via exact --figure pr.png

        milvus-ichash evaluate fashion.npz --bundle runs/fashion/bundle -c fashion --via readback --json result.json

        milvus-ichash evaluate queries.npz -b runs/mine/bundle -c items_image -c items_text --via readback

        milvus-ichash evaluate queries.npz -b runs/mine/bundle -c items --sweep nprobe=1,4,16,64 --flat items_flat
        --figure sweep.png
    """
    from milvus_ichash.cli.commands import sweep as sweeping
    from milvus_ichash.cli.retriever_options import open_retrievers
    from milvus_ichash.evaluation import output_files, report
    from milvus_ichash.evaluation.evaluate import evaluate as measure
    from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
    from milvus_ichash.io import ColumnNames, open_database, open_splits
    from milvus_ichash.runtime.encoder import HashEncoder
    from milvus_ichash.settings import load_settings

    ranking = Ranking(via, against, tuple(collection or ()), top_k, nprobe, sweep, tuple(flat or ()), bits)
    ranking.check()
    nprobes = None if sweep is None else sweeping.parse(sweep)
    milvus = None if ranking.way is Via.exact else load_settings(uri=uri, token=token, db_name=db_name, timeout=timeout)
    settings = EvaluationSettings(
        part=database.value,
        ties=ties.value,
        at_k=tuple(at_k or ((50,) if nprobes is None else (10, 100))),
        normalisation="hits" if normalise is Normalise.hits else "min(R,k)",
        query_pdr=query_pdr,
        seed=seed,
    )
    for path, check in ((figure, output_files.check_figure), (json_file, output_files.check_folder)):
        if path is not None:
            check(path)
    columns = ColumnNames(mapping(modality, "--modality"), id_column, labels_column)
    splits = open_splits(queries, columns, holdout)
    table = splits.choose(split.value if split else None, "query").read()
    database_rows = partial(open_database, splits, against, columns)
    encoder = HashEncoder.load(bundle, device=device.value, bits=bits)
    if nprobes is not None and milvus is not None:
        sweeping.run(
            encoder,
            table,
            milvus,
            ranking.collections,
            ranking.flat,
            nprobes,
            bits=bits,
            tasks=task,
            top_k=top_k,
            settings=settings,
            figure=figure,
            json_file=json_file,
            style=style,
            quiet=quiet,
        )
        return
    with open_retrievers(
        ranking, database_rows, encoder, milvus, len(table), tasks=task or (), quiet=quiet
    ) as retrievers:
        result = measure(
            encoder,
            table,
            retrievers,
            tasks=task,
            settings=settings,
            progress=lambda name, total: progress(name, total, quiet=quiet),
        )
    for remark in result.notes:
        note(remark, quiet=quiet)
    if json_file:
        result.save(json_file)
    if figure:
        report.figure(result, figure)
    emit(report.table(result), style, title=report.title(result))
