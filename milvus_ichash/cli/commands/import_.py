"""`milvus-ichash import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from milvus_ichash.cli.command_again import command_again
from milvus_ichash.cli.ingest_progress import listening
from milvus_ichash.cli.options import CollectionOption, IndexOptions, MilvusOptions, PatienceOption
from milvus_ichash.cli.output import OutputOptions
from milvus_ichash.cli.stopping import when_stopped
from milvus_ichash.errors import InputError
from milvus_ichash.index.retries import PATIENCE


def import_(
    folder: Annotated[Path, typer.Argument(help="Folder of files that `ingest --to-parquet` wrote.", metavar="DIR")],
    collection: CollectionOption = "ichash",
    path: Annotated[
        str | None,
        typer.Option(
            "--path",
            help="Where the server finds the files: a folder on its machine (local storage), or a path in its bucket "
            "(object storage).",
            show_default="the path of DIR here",
        ),
    ] = None,
    *,
    index: IndexOptions,
    milvus: MilvusOptions,
    patience: PatienceOption = PATIENCE,
    output: OutputOptions,
) -> None:
    """Have a Milvus server import files into a collection, which is created if it does not exist.

    The server reads the files itself, from its own object storage or disk: copy them there first, and
    say where with --path.
    DIR is read here too, to create the collection and to check the files. After an interruption, run the same command
    again: it goes on.

    Examples:

        milvus-ichash import items_for_import --collection items --uri http://localhost:19530

        milvus-ichash import items_for_import -c items --path imports/items --index BIN_IVF_FLAT --nlist 1024
    """
    from milvus_ichash.index.connection import connect
    from milvus_ichash.ingestion.bulk_import import NOT_LITE, import_files
    from milvus_ichash.ingestion.ingest_options import ImportOptions
    from milvus_ichash.ingestion.ingest_report import ImportReport

    settings = milvus.settings()
    if settings.is_lite:
        raise InputError(NOT_LITE)
    again = command_again()
    options = ImportOptions(
        path=path, index=index.kind, nlist=index.nlist, wait=index.wait, patience=patience, resume_hint=again
    )
    report = ImportReport()
    with (
        when_stopped(
            lambda: (
                f"interrupted: {report.in_words()}; files that were handed over go on being imported. "
                f"Go on with: {again}"
            )
        ),
        connect(settings) as connection,
        listening(f"into {collection}", None, output) as listeners,
    ):
        import_files(folder, connection, collection, options, report=report, listeners=listeners)
    row = {
        "collection": collection,
        "files": report.files,
        "rows": report.rows,
        "imported": report.imported,
        "skipped": report.skipped,
        "seconds": round(report.seconds, 3),
        "rows/s": round(report.imported / report.seconds) if report.seconds else None,
    }
    output.emit([row])
