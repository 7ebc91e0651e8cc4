"""`milvus-ichash ingest`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.cli.command_again import command_again
from milvus_ichash.cli.ingest_progress import listening
from milvus_ichash.cli.option_groups import given, refuse_given
from milvus_ichash.cli.option_values import listed
from milvus_ichash.cli.options import (
    FEATURE_FILES,
    BundleOption,
    CodesOption,
    CollectionOption,
    DataOptions,
    DeviceOption,
    IndexOptions,
    LengthOption,
    MilvusOptions,
    PatienceOption,
)
from milvus_ichash.cli.output import OutputOptions, confirm
from milvus_ichash.cli.stopping import when_stopped
from milvus_ichash.errors import InputError
from milvus_ichash.index.retries import PATIENCE

if TYPE_CHECKING:
    from milvus_ichash.index.connection import Connection
    from milvus_ichash.settings import MilvusSettings

_WRITE = "Writing"


def ingest(
    data: Annotated[Path, typer.Argument(help=f"Features of the items: a {FEATURE_FILES} file.", metavar="DATA")],
    bundle: BundleOption,
    collection: CollectionOption = "ichash",
    fields: Annotated[
        str | None,
        typer.Option(
            "--fields",
            help="Other columns to store with the codes, with commas between them, or none.",
            rich_help_panel=_WRITE,
            show_default="all",
        ),
    ] = None,
    no_labels: Annotated[
        bool, typer.Option("--no-labels", help="Do not store the labels.", rich_help_panel=_WRITE)
    ] = False,
    row_ids: Annotated[
        bool,
        typer.Option(
            "--row-ids",
            help="Take row numbers as ids, for a file that has none. A second such file would replace the rows of the "
            "first.",
            rich_help_panel=_WRITE,
        ),
    ] = False,
    codes: CodesOption = None,
    bits: LengthOption = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", help="Rows encoded and written at a time.", rich_help_panel=_WRITE)
    ] = 4096,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with an ingest that was interrupted: write only what is not stored yet just so.",
            rich_help_panel=_WRITE,
        ),
    ] = False,
    insert: Annotated[
        bool,
        typer.Option(
            "--insert",
            help="For a first load by one writer only: insert rows instead of replacing those with the same ids, which "
            "spares Milvus the search for these. The collection must be new or empty, and no other program may write "
            "the same ids meanwhile.",
            rich_help_panel=_WRITE,
        ),
    ] = False,
    recreate: Annotated[
        bool,
        typer.Option(
            "--recreate",
            help="Delete the collection first, with all its rows; asks before, unless there is --yes.",
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
    *,
    index: IndexOptions,
    rows: DataOptions,
    device: DeviceOption = "auto",
    milvus: MilvusOptions,
    patience: PatienceOption = PATIENCE,
    output: OutputOptions,
) -> None:
    """Encode items and write their codes into a collection, which is created if it does not exist.

    Rows are written by id: an item that is stored already is replaced, and several ingests may write into a collection
    at the same time. Of a file with splits, the retrieval split is taken.

    Examples:

        milvus-ichash ingest items.parquet --bundle runs/mine/bundle --collection items

        milvus-ichash ingest items.parquet --holdout 500 -b runs/mine/bundle -c items --fields title,url --uri
        http://localhost:19530

        milvus-ichash ingest items.parquet -b runs/mine/bundle -c items --recreate --yes

        milvus-ichash ingest items.parquet -b runs/mine/bundle -c items_64 --bits 64

        milvus-ichash ingest items.parquet -b runs/mine/bundle --to-parquet items_for_import
    """
    from milvus_ichash.ingestion.ingest_options import IngestOptions
    from milvus_ichash.ingestion.ingest_report import IngestReport
    from milvus_ichash.ingestion.into_files import to_parquet as write_files
    from milvus_ichash.ingestion.into_milvus import ingest as write_rows
    from milvus_ichash.runtime.encoder import HashEncoder

    settings = milvus.settings()
    if to_parquet is not None and (index.kind is not None or index.nlist is not None):
        raise InputError("--to-parquet makes no collection: give --index and --nlist to `milvus-ichash import`.")
    if to_parquet is not None:
        named = ["--collection"] if collection != "ichash" else []
        unused = [*named, *given(milvus), *(["--patience"] if patience != PATIENCE else []), *given(index, "wait")]
        refuse_given(unused, "--to-parquet writes files, without Milvus")
    source = rows.open(data, "retrieval")
    encoder = HashEncoder.load(bundle, device=device)
    once = ("--recreate", "--yes", "-y", "--insert")
    again = command_again("--resume", without=once)
    options = IngestOptions(
        codes=listed(codes, str, "--codes", "text_code") or None,
        bits=bits,
        fields=[] if fields == "none" else listed(fields, str, "--fields", "title,url") or None,
        labels=not no_labels,
        row_ids=row_ids,
        batch_size=batch_size,
        index=index.kind,
        nlist=index.nlist,
        wait=index.wait,
        patience=patience,
        resume=resume,
        insert=insert,
        recreate=recreate,
        dry_run=dry_run,
        resume_hint=again,
        repair_hint=command_again(without=(*once, "--resume")),
    )
    report = IngestReport()
    with when_stopped(lambda: f"interrupted: {report.in_words()}; go on with: {again}"):
        if to_parquet is not None:
            with listening(f"into {to_parquet}", source.info.rows, output) as listeners:
                write_files(source, encoder, to_parquet, options, report=report, listeners=listeners)
        else:
            with _connected(settings, dry_run=dry_run) as connection:
                if recreate and not (yes or dry_run):
                    _confirm_deletion(connection, collection)
                with listening(f"into {collection}", source.info.rows, output) as listeners:
                    write_rows(source, encoder, connection, collection, options, report=report, listeners=listeners)
    if dry_run:
        output.note("Dry run: nothing was written.")
    row = {
        **({"collection": collection} if to_parquet is None else {"folder": str(to_parquet)}),
        "rows": report.rows,
        "written": 0 if dry_run else report.written,
        "unchanged": report.unchanged,
        **{f"missing {name}": number for name, number in report.missing.items()},
        "seconds": round(report.seconds, 3),
        "rows/s": round(report.written / report.seconds) if report.seconds else None,
    }
    output.emit([row])


@contextmanager
def _connected(settings: MilvusSettings, *, dry_run: bool) -> Iterator[Connection]:
    """Connect to Milvus; for a dry run without a database file, to a database that is deleted afterwards."""
    from milvus_ichash.index.connection import connect
    from milvus_ichash.temporary import TemporaryFolder

    with TemporaryFolder() as folder:
        if dry_run and settings.is_lite and not Path(settings.uri).expanduser().exists():
            settings = settings.model_copy(update={"uri": str(folder / "dry_run.db")})
        with connect(settings) as connection:
            yield connection


def _confirm_deletion(connection: Connection, collection: str) -> None:
    from milvus_ichash.index.hash_index import HashIndex

    if HashIndex.exists(connection, collection):
        confirm(f"--recreate deletes the collection '{collection}' at {connection.address} with all its rows")
