"""Bulk import: Milvus reads the files of `ingest --to-parquet` itself, from where it keeps its data.

A server keeps both rows of an id that is imported twice, so a file is handed over only where none of its rows is there
(`resuming`). A file is imported as a whole or not at all (`import_tasks`), so that an import can be cut off anywhere
and made again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from milvus_ichash.errors import InputError, MilvusError, MismatchError
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.retries import Retries
from milvus_ichash.ingestion import bulk_files
from milvus_ichash.ingestion.bulk_files import ImportFile, ImportManifest
from milvus_ichash.ingestion.import_tasks import POLL_SECONDS, ImportTasks
from milvus_ichash.ingestion.ingest_options import ImportOptions
from milvus_ichash.ingestion.ingest_report import ImportReport, Listeners, partial_where_rows_are_there
from milvus_ichash.ingestion.resuming import files_not_imported
from milvus_ichash.ingestion.target_collection import TargetCollection, WantedIndex

OLDEST = (2, 3, 4)
"""The first server that imports parquet; those before it import JSON and NumPy files."""

NOT_LITE = (
    "Milvus Lite has no bulk import: ingest the data itself with `milvus-ichash ingest`, or give the address of a "
    "server (--uri)."
)

_AT_ONCE = 4
"""Files that are handed over at a time: one that waits for too long is given up by some servers."""
_SEEN_SECONDS = 120.0
"""Seconds after which imported rows must be seen by queries."""
_LOAD_SECONDS = 3600.0
"""Seconds for which loading imported segments may take."""


def import_files(
    folder: str | Path,
    connection: Connection,
    collection: str,
    options: ImportOptions = ImportOptions(),
    *,
    report: ImportReport | None = None,
    listeners: Listeners = Listeners(),
) -> ImportReport:
    """Have a server import files into a collection, which is made where it is not there. Done again, it goes on.

    Args:
        folder: the files of `to_parquet`, to make the collection by and to check them.
        connection: to a Milvus server.
        collection: name of the collection.
        options: where the server finds the files, and the index.
        report: filled while it runs, so that the caller can tell of an interrupted import.
        listeners: told of progress.

    Returns:
        The report: how many rows were imported, and were there before.

    Raises:
        InputError: Milvus Lite, files that are not there or damaged, a collection with other rows or another index.
        MismatchError: the collection was made with another bundle.
        MilvusError: a server before 2.3.4, one that cannot read the files, or that was not reached; or all is imported,
            but not indexed.
        PartialIngestError: one of these happened after some files were imported.
        BackendMissingError: a pymilvus without these calls.
    """
    report = ImportReport() if report is None else report
    folder = Path(folder)
    manifest = bulk_files.read_manifest(folder)
    _check_server(connection)
    report.files, report.rows = len(manifest.files), manifest.rows
    retries = Retries(options.patience, told=listeners.remark)
    tasks = ImportTasks(connection, collection, retries)
    began = time.perf_counter()
    target = TargetCollection(
        HashIndex(connection, collection, manifest.description, manifest.id_kind),
        WantedIndex.of(options, manifest.rows, lite=False),
        lambda found: _check_content(found, manifest),
        retries,
    )
    target.make()
    index = target.index
    tasks.wait_for_others()
    retries(lambda: _load_imported(index))
    absent = files_not_imported(index, folder, manifest, retries)
    report.skipped = manifest.rows - sum(file.rows for file in absent)
    listeners.advance(report.skipped)

    def imported(file: ImportFile) -> None:
        report.imported += file.rows
        report.seconds = time.perf_counter() - began
        listeners.advance(file.rows)

    with partial_where_rows_are_there(report, options.resume_hint):
        _hand_over(tasks, absent, (options.path or str(folder.resolve())).rstrip("/"), imported)
        _wait_until_seen(index, manifest.rows, retries)
    if options.wait:
        retries(lambda: index.wait_until_indexed(advance=listeners.indexed))
    return report


def _check_server(connection: Connection) -> None:
    if connection.is_lite:
        raise InputError(NOT_LITE)
    if connection.is_before(OLDEST):
        raise MilvusError(
            f"Milvus at {connection.address} is {connection.server_version}, which imports no parquet files: "
            f"{'.'.join(map(str, OLDEST))} or later is needed. Ingest the data itself with `milvus-ichash ingest`."
        )


def _check_content(found: HashIndex, manifest: ImportManifest) -> None:
    """Raise InputError or MismatchError where the rows of the files do not belong into a collection that is there."""
    ours, wanted = found.description, manifest.description
    codes = f"collection '{found.collection}' holds"
    elsewhere = "import them into another collection."
    if ours.fingerprint != wanted.fingerprint:
        raise MismatchError(
            f"{codes} codes of the bundle {ours.fingerprint}, and the files those of {wanted.fingerprint}: {elsewhere}"
        )
    if (ours.codes, found.id_kind) != (wanted.codes, manifest.id_kind):
        raise InputError(
            f"{codes} {', '.join(ours.codes)} by {found.id_kind} ids, and the files {', '.join(wanted.codes)} by "
            f"{manifest.id_kind} ids: {elsewhere}"
        )
    if ours.bits != wanted.bits:
        raise InputError(f"{codes} codes of {ours.bits} bits, and the files of {wanted.bits}: {elsewhere}")
    if ours.labels_by_name != wanted.labels_by_name:
        forms = ("class number", "name") if wanted.labels_by_name else ("name", "class number")
        raise InputError(f"{codes} labels by {forms[0]}, and the files by {forms[1]}: {elsewhere}")
    if ours.label_names != wanted.label_names:
        raise InputError(f"collection '{found.collection}' numbers other classes than the files: {elsewhere}")


def _hand_over(
    tasks: ImportTasks, files: list[ImportFile], place: str, imported: Callable[[ImportFile], object]
) -> None:
    """Hand the files over, a few at a time, and wait for each."""
    waiting = deque(files)
    running: dict[int, ImportFile] = {}
    while waiting or running:
        while waiting and len(running) < _AT_ONCE:
            file = waiting.popleft()
            running[tasks.start(f"{place}/{file.name}")] = file
        time.sleep(POLL_SECONDS)
        for task, file in list(running.items()):
            if tasks.done(task, f"{place}/{file.name}"):
                del running[task]
                imported(file)


def _wait_until_seen(index: HashIndex, rows: int, retries: Retries) -> None:
    """Have imported rows searched, and wait until there are as many as there must be.

    Raises:
        MilvusError: there are more, or fewer after two minutes.
    """
    end = time.monotonic() + _SEEN_SECONDS
    while True:
        retries(lambda: _load_imported(index))
        found = retries(index.count)
        if found == rows:
            return
        if found > rows or time.monotonic() > end:
            raise MilvusError(
                f"{rows:,} rows were imported into '{index.collection}', and it has {found:,}: it is being written to, "
                "or a file went in twice."
            )
        time.sleep(POLL_SECONDS)


def _load_imported(index: HashIndex) -> None:
    connection, name = index.connection, index.collection
    patience = max(connection.timeout, _LOAD_SECONDS)
    connection.call(f"load the collection '{name}'", "refresh_load", name, timeout=patience)
