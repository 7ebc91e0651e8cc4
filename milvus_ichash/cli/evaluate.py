"""`milvus-ichash evaluate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from milvus_ichash.errors import InputError

if TYPE_CHECKING:
    from milvus_ichash.evaluation.files import Files
    from milvus_ichash.evaluation.retrievers import Retriever
    from milvus_ichash.runtime.encoder import HashEncoder
    from milvus_ichash.settings import MilvusSettings

_MEASURE = "Measure"
_SECONDS_PER_ROW = 2e-6
"""What one row of one ranking takes through MilvusClient."""
_LONG = 20


class Via(str, Enum):
    """Who ranks."""

    search = "search"
    readback = "readback"
    exact = "exact"


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
    queries: Annotated[Path, typer.Argument(help="Features and labels of the queries: .parquet, .npz, .h5, .mat.", metavar="QUERIES")],
    bundle: BundleOption,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="Collection to search in.", rich_help_panel="Milvus", show_default=False)
    ] = None,
    via: Annotated[
        Via | None,
        typer.Option(
            "--via",
            help="search: rankings out of Milvus searches. readback: codes read out of the collection once, ranked here; the same figures, "
            "much faster. exact: no Milvus, the database is a file.",
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
            help="Such as 'image->text' or 'image->image' (cross-modal codes); both, image, text or observed (fused codes), and with --via "
            "exact 'image->text', against codes made from words alone; repeat it.",
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
        typer.Option("--at-k", help="Rank of mAP@k, P@k and NDCG@k; repeat it.", rich_help_panel=_MEASURE, show_default="50"),
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
            show_default="all rows",
        ),
    ] = None,
    query_pdr: Annotated[
        float, typer.Option("--query-pdr", help="Hide one modality of this share of the queries.", rich_help_panel=_MEASURE)
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
        typer.Option("--figure", help="Draw precision over recall into this file (.png, .svg, .pdf).", rich_help_panel="Output"),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write everything, with what it was measured on, into this file.", rich_help_panel="Output"),
    ] = None,
    style: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Measure retrieval: mAP, precision and NDCG of queries with labels against a collection or a file.

    A row is relevant to a query where they share a label. Queries are the file's query split, those that --holdout cuts, or
    all rows of a file without splits.

    Examples:

        milvus-ichash evaluate items.parquet --holdout 500 --bundle runs/mine/bundle --collection items

        milvus-ichash evaluate fashion.npz --bundle runs/fashion/bundle --via exact --figure pr.png

        milvus-ichash evaluate fashion.npz --bundle runs/fashion/bundle -c fashion --via readback --json result.json
    """
    from milvus_ichash.evaluation import report
    from milvus_ichash.evaluation.files import Files
    from milvus_ichash.evaluation.harness import Settings
    from milvus_ichash.evaluation.harness import evaluate as measure
    from milvus_ichash.io import Columns
    from milvus_ichash.runtime.encoder import HashEncoder
    from milvus_ichash.settings import load_settings

    way = _way(via, against, collection, top_k)
    milvus = None if way is Via.exact else load_settings(uri=uri, token=token, db_name=db_name, timeout=timeout)
    settings = Settings(
        part=database.value,
        ties=ties.value,
        at_k=tuple(at_k or (50,)),
        normalisation="hits" if normalise is Normalise.hits else "min(R,k)",
        query_pdr=query_pdr,
        seed=seed,
    )
    for path, check in ((figure, report.check_figure), (json_file, report.check_folder)):
        if path is not None:
            check(path)
    files = Files(queries, against or queries, Columns(mapping(modality, "--modality"), id_column, labels_column), holdout)
    table = files.queries(split.value if split else None).read()
    encoder = HashEncoder.load(bundle, device=device.value)
    with _retriever(way, files, encoder, milvus, collection, top_k, task or ()) as retriever:
        if way is Via.search and top_k is None:
            _warn_of_time(len(table), len(retriever.database), quiet)
        result = measure(
            encoder, table, retriever, tasks=task, settings=settings, progress=lambda name, total: progress(name, total, quiet=quiet)
        )
    for remark in result.notes:
        note(remark, quiet=quiet)
    if json_file:
        result.save(json_file)
    if figure:
        report.figure(result, figure)
    emit(report.table(result), style, title=report.title(result))


def _way(via: Via | None, against: Path | None, collection: str | None, top_k: int | None) -> Via:
    """How to rank, from the options together.

    Raises:
        InputError: options that do not go with each other.
    """
    way = via or (Via.exact if against else Via.search)
    if way is Via.exact and collection:
        raise InputError("--via exact ranks a file, not a collection: leave --collection out, or take --via readback.")
    if way is not Via.exact and against:
        raise InputError(f"--against goes with --via exact; --via {way.value} ranks a collection.")
    if way is not Via.exact and not collection:
        raise InputError(f"--via {way.value} needs a --collection; --via exact ranks a file without Milvus.")
    if top_k is not None and way is not Via.search:
        raise InputError("--top-k goes with --via search: the other ways rank every row.")
    return way


def _warn_of_time(queries: int, rows: int, quiet: bool) -> None:
    seconds = queries * rows * _SECONDS_PER_ROW
    if seconds > _LONG:
        note(
            f"{queries} queries rank all {rows} rows by searches in Milvus, about {max(1, round(seconds / 60))} min for each task; "
            "--via readback gives the same figures in seconds.",
            quiet=quiet,
        )


@contextmanager
def _retriever(
    way: Via,
    files: Files,
    encoder: HashEncoder,
    settings: MilvusSettings | None,
    collection: str | None,
    top_k: int | None,
    tasks: Sequence[str],
) -> Iterator[Retriever]:
    from milvus_ichash.evaluation.retrievers import ExactRetriever, SearchRetriever
    from milvus_ichash.evaluation.tasks import alone_targets

    if settings is None:
        yield ExactRetriever.encode(encoder, files.database(), alone_targets(encoder.manifest, tasks))
        return
    from milvus_ichash.index.client import connect
    from milvus_ichash.index.hash_index import HashIndex

    with connect(settings, create=False) as connection:
        index = HashIndex.open(connection, collection or "")
        index.check(encoder.manifest)
        yield ExactRetriever.read_back(index) if way is Via.readback else SearchRetriever(index, top_k=top_k)
