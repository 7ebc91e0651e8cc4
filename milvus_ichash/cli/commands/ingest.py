"""`milvus-ichash ingest`."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.cli.options import (
    BundleOption,
    CollectionOption,
    DbOption,
    Device,
    DeviceOption,
    Format,
    FormatOption,
    HoldoutOption,
    IdColumnOption,
    IndexOption,
    LabelsColumnOption,
    ModalityOption,
    NlistOption,
    PatienceOption,
    QuietOption,
    SplitOption,
    TimeoutOption,
    TokenOption,
    UriOption,
    WaitOption,
    mapping,
)
from milvus_ichash.cli.output import complain, confirm, emit, note, progress, towards
from milvus_ichash.errors import InputError
from milvus_ichash.index.retries import PATIENCE

if TYPE_CHECKING:
    from milvus_ichash.index.connection import Connection
    from milvus_ichash.ingestion.into_milvus import IngestOptions, IngestReport, Listeners
    from milvus_ichash.io import FeatureSource
    from milvus_ichash.runtime.encoder import HashEncoder
    from milvus_ichash.settings import MilvusSettings

_WRITE = "Writing"


def ingest(
    data: Annotated[Path, typer.Argument(help="Features of the items: .parquet, .npz, .h5, .mat.", metavar="DATA")],
    bundle: BundleOption,
    collection: CollectionOption = "ichash",
    fields: Annotated[
        str | None,
        typer.Option(
            "--fields", help="Payload columns that go along: a,b or none.", rich_help_panel=_WRITE, show_default="all"
        ),
    ] = None,
    no_labels: Annotated[
        bool, typer.Option("--no-labels", help="Leave the labels out.", rich_help_panel=_WRITE)
    ] = False,
    codes: Annotated[
        str | None,
        typer.Option(
            "--codes",
            help="Codes that a new collection stores, such as text_code or a,b.",
            rich_help_panel=_WRITE,
            show_default="all",
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            "--bits",
            help="Cut the codes of a new collection to this length, one that the bundle was trained for (`inspect --bundle`).",
            rich_help_panel=_WRITE,
            show_default="the bundle's; that of a collection that is there",
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", help="Rows encoded and written at a time.", rich_help_panel=_WRITE)
    ] = 4096,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with an ingest that broke off: pass over rows that are there.",
            rich_help_panel=_WRITE,
        ),
    ] = False,
    recreate: Annotated[
        bool,
        typer.Option(
            "--recreate",
            help="Delete the collection first, with all its rows; asks, or takes --yes.",
            rich_help_panel=_WRITE,
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", rich_help_panel=_WRITE)] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Read, check and encode everything, and write nothing.", rich_help_panel=_WRITE),
    ] = False,
    to_parquet: Annotated[
        Path | None,
        typer.Option(
            "--to-parquet",
            help="Write files for `import` into this folder; Milvus is not needed.",
            rich_help_panel=_WRITE,
            metavar="DIR",
        ),
    ] = None,
    index: IndexOption = None,
    nlist: NlistOption = None,
    wait: WaitOption = True,
    split: SplitOption = None,
    holdout: HoldoutOption = None,
    modality: ModalityOption = None,
    id_column: IdColumnOption = None,
    labels_column: LabelsColumnOption = None,
    device: DeviceOption = Device.auto,
    uri: UriOption = None,
    token: TokenOption = None,
    db_name: DbOption = None,
    timeout: TimeoutOption = None,
    patience: PatienceOption = PATIENCE,
    style: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Encode items and write their codes into a collection, which is made where it is not there.

    Rows are written by id: an item that is there already is replaced. Of a file with splits, the retrieval split is
        taken.

    Examples:

        milvus-ichash ingest items.parquet --bundle runs/mine/bundle --collection items

        milvus-ichash ingest items.parquet --holdout 500 -b runs/mine/bundle -c items --fields title,url --uri
        http://localhost:19530

        milvus-ichash ingest items.parquet -b runs/mine/bundle -c items --recreate --yes

        milvus-ichash ingest items.parquet -b runs/mine/bundle -c items_64 --bits 64

        milvus-ichash ingest items.parquet -b runs/mine/bundle --to-parquet items_for_import
    """
    from milvus_ichash.ingestion.into_milvus import IngestOptions, IngestReport
    from milvus_ichash.io import ColumnNames, open_splits
    from milvus_ichash.runtime.encoder import HashEncoder
    from milvus_ichash.settings import load_settings

    settings = load_settings(uri=uri, token=token, db_name=db_name, timeout=timeout)
    if to_parquet is not None and (index is not None or nlist is not None):
        raise InputError("--to-parquet makes no collection: give --index and --nlist to `milvus-ichash import`.")
    columns = ColumnNames(mapping(modality, "--modality"), id_column, labels_column)
    source = open_splits(data, columns, holdout).choose(split.value if split else None, "retrieval")
    encoder = HashEncoder.load(bundle, device=device.value)
    again = command_again(sys.argv, "--resume")
    options = IngestOptions(
        codes=_names(codes),
        bits=bits,
        fields=[] if fields == "none" else _names(fields),
        labels=not no_labels,
        batch_size=batch_size,
        index=index and index.value,
        nlist=nlist,
        wait=wait,
        patience=patience,
        resume=resume,
        recreate=recreate,
        dry_run=dry_run,
        resume_hint=again,
    )
    report = IngestReport()
    try:
        if to_parquet is not None:
            _into_files(source, encoder, to_parquet, options, report, quiet)
        else:
            with _connected(settings, dry_run) as connection:
                if recreate and not (yes or dry_run):
                    _confirm(connection, collection)
                _into_milvus(source, encoder, connection, collection, options, report, quiet)
    except KeyboardInterrupt:
        complain(f"interrupted: {report.told()}; go on with: {again}")
        raise typer.Exit(130) from None
    if dry_run:
        note("Dry run: nothing was written.", quiet=quiet)
    row = {
        **({"collection": collection} if to_parquet is None else {"folder": str(to_parquet)}),
        "rows": report.rows,
        "written": 0 if dry_run else report.written,
        "skipped": report.skipped,
        **{f"missing {name}": number for name, number in report.missing.items()},
        "seconds": round(report.seconds, 3),
        "rows/s": round(report.written / report.seconds) if report.seconds else None,
    }
    emit([row], style)


def _into_milvus(
    source: FeatureSource,
    encoder: HashEncoder,
    connection: Connection,
    collection: str,
    options: IngestOptions,
    report: IngestReport,
    quiet: bool,
) -> None:
    from milvus_ichash.ingestion.into_milvus import ingest as run

    with listening(f"into {collection}", source.info.rows, quiet=quiet) as listeners:
        run(source, encoder, connection, collection, options, report=report, listeners=listeners)


def _into_files(
    source: FeatureSource, encoder: HashEncoder, folder: Path, options: IngestOptions, report: IngestReport, quiet: bool
) -> None:
    from milvus_ichash.ingestion.into_files import to_parquet as run

    with listening(f"into {folder}", source.info.rows, quiet=quiet) as listeners:
        run(source, encoder, folder, options, report=report, listeners=listeners)


@contextmanager
def listening(what: str, rows: int | None, *, quiet: bool) -> Iterator[Listeners]:
    """Progress bars on stderr for rows, and then for the index; remarks too."""
    from milvus_ichash.ingestion.into_milvus import Listeners

    with ExitStack() as bars:
        advance = bars.enter_context(progress(what, rows, quiet=quiet))
        show: Callable[[int, int], None] | None = None

        def indexed(done: int, total: int) -> None:
            nonlocal show
            if show is None:
                bars.close()  # one bar at a time
                show = towards(bars.enter_context(progress("indexing", total, quiet=quiet)))
            show(done, total)

        yield Listeners(advance=advance, indexed=indexed, remark=lambda sentence: note(sentence, quiet=quiet))


@contextmanager
def _connected(settings: MilvusSettings, dry_run: bool) -> Iterator[Connection]:
    """The connection; for a dry run without a database file, to one that is gone afterwards."""
    from tempfile import TemporaryDirectory

    from milvus_ichash.index.connection import connect

    if dry_run and settings.is_lite and not Path(settings.uri).expanduser().exists():
        with (
            TemporaryDirectory() as folder,
            connect(settings.model_copy(update={"uri": str(Path(folder) / "dry_run.db")})) as connection,
        ):
            yield connection
    else:
        with connect(settings) as connection:
            yield connection


def _confirm(connection: Connection, collection: str) -> None:
    """Ask before a collection is deleted."""
    from milvus_ichash.index.hash_index import HashIndex

    if HashIndex.exists(connection, collection):
        confirm(f"--recreate deletes the collection '{collection}' at {connection.address} with all its rows")


def _names(given: str | None) -> list[str] | None:
    return None if given is None else [name.strip() for name in given.split(",") if name.strip()]


def command_again(argv: list[str], *more: str) -> str:
    """This command, to go on with: without what deletes rows, and without secrets."""
    words = [word for word in argv[1:] if word not in ("--recreate", "--yes", "-y", *more)]
    for i, word in enumerate(words):
        if word == "--token" and i + 1 < len(words):
            words[i + 1] = "..."
        words[i] = re.sub(r"^--token=.*", "--token=...", re.sub(r"://[^/]*@", "://...@", words[i]))
    return shlex.join(["milvus-ichash", *words, *more])
