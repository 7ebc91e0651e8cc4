"""Bulk import: Milvus reads the files of `ingest --to-parquet` itself, from where it keeps its data.

The calls are public in Milvus (gRPC `Import`, `GetImportState`, `ListImportTasks`); the way to them is private in pymilvus:
`MilvusClient._get_connection()` with `do_bulk_insert`, `get_bulk_insert_state` and `list_bulk_insert_tasks`.

A server keeps both rows of an id that is imported twice, so a file is handed over only where none of its rows is there; and it
imports a file as a whole or not at all, so that an import can be cut off anywhere and made again.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milvus_ichash.errors import (
    BackendMissingError,
    IchashError,
    InputError,
    MilvusError,
    MismatchError,
    PartialIngestError,
)
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.index_spec import IndexSpec
from milvus_ichash.index.retries import PATIENCE, Retries
from milvus_ichash.ingestion import bulk_files
from milvus_ichash.ingestion.bulk_files import ImportFile, ImportManifest
from milvus_ichash.ingestion.into_milvus import check_index
from milvus_ichash.ingestion.options import Listeners

OLDEST = (2, 3, 4)
"""Servers before it import JSON and NumPy files, and no parquet."""

NOT_LITE = "Milvus Lite has no bulk import: ingest the data itself with `milvus-ichash ingest`, or give the address of a server (--uri)."

_AT_ONCE = 4
"""Files that are handed over at a time: one that waits for too long is given up by some servers."""
_POLL_SECONDS = 0.5
_SEEN_SECONDS = 120.0
"""After which imported rows must be seen by queries."""
_LOAD_SECONDS = 3600.0
"""For which loading imported segments may take."""
_LOOKED_UP = 1000
_FAILED, _DONE = (1, 7), 6
"""Of `pymilvus.BulkInsertState`: failed, failed and cleaned; completed."""
_NOT_READ = re.compile(r"no such file|not exist|not found|NoSuchKey|file size|access denied", re.IGNORECASE)


@dataclass(frozen=True)
class ImportOptions:
    """How to import.

    Attributes:
        path: where the server finds the files: a folder of its own, or a path in the bucket of its object storage.
            None: where they are here.
        index: "BIN_FLAT" or "BIN_IVF_FLAT" for a new collection; `IndexSpec.of` has the defaults.
        nlist: cells of BIN_IVF_FLAT.
        wait: wait until all rows are indexed.
        patience: seconds for which a call is tried again while the server is busy or gone.
        resume_hint: how to go on, for the message of an import that broke off.
    """

    path: str | None = None
    index: str | None = None
    nlist: int | None = None
    wait: bool = True
    patience: float = PATIENCE
    resume_hint: str = "import again"


@dataclass
class ImportReport:
    """What an import did, kept up to date while it runs.

    Attributes:
        files, rows: of the folder.
        imported: rows that Milvus has imported.
        skipped: rows that were there before.
        seconds: without the wait for the index.
    """

    files: int = 0
    rows: int = 0
    imported: int = 0
    skipped: int = 0
    seconds: float = 0.0

    def told(self) -> str:
        """How far it got, in words."""
        return f"{self.imported + self.skipped:,} of {self.rows:,} rows are there"


def import_files(
    folder: str | Path,
    connection: Connection,
    collection: str,
    options: ImportOptions = ImportOptions(),
    *,
    report: ImportReport | None = None,
    listeners: Listeners = Listeners(),
) -> ImportReport:
    """Have a server import files into a collection, which is made where it is not there; made again, it goes on.

    Raises:
        InputError: Milvus Lite, files that are missing or damaged, a collection with other rows or another index.
        MismatchError: the collection was made with another bundle.
        MilvusError: a server before 2.3.4, one that cannot read the files, or that was not reached; or all is imported,
            but not indexed.
        PartialIngestError: some files were imported, then one of these happened.
        BackendMissingError: a pymilvus without these calls.
    """
    report = ImportReport() if report is None else report
    folder = Path(folder)
    manifest = bulk_files.read_manifest(folder)
    _check_server(connection)
    report.files, report.rows = len(manifest.files), manifest.rows
    retries = Retries(options.patience, told=listeners.remark)
    tasks = _Tasks(connection, collection, retries)
    began = time.perf_counter()
    index = retries(lambda: _target(connection, collection, manifest, options))
    missing = _missing(index, folder, manifest, tasks, retries)
    report.skipped = manifest.rows - sum(file.rows for file in missing)
    listeners.advance(report.skipped)

    def kept(rows: int) -> None:
        report.imported += rows
        report.seconds = time.perf_counter() - began
        listeners.advance(rows)

    try:
        _run(tasks, missing, (options.path or str(folder.resolve())).rstrip("/"), kept)
        _wait_until_seen(index, manifest.rows, retries)
    except IchashError as error:
        if report.imported or report.skipped:
            raise PartialIngestError(f"{error} {report.told()}; go on with: {options.resume_hint}") from error
        raise
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


def _target(connection: Connection, collection: str, manifest: ImportManifest, options: ImportOptions) -> HashIndex:
    """The collection, made where it is not there."""
    spec = IndexSpec.of(options.index, options.nlist, manifest.rows, lite=False)
    wanted = manifest.description
    if not HashIndex.exists(connection, collection):
        index = HashIndex(connection, collection, wanted, manifest.id_kind)
        index.make(spec)
        return index
    index = HashIndex.find(connection, collection)
    description, id_kind = index.description, index.id_kind
    if description.fingerprint != wanted.fingerprint:
        raise MismatchError(
            f"collection '{collection}' holds codes of the bundle {description.fingerprint}, and the files those of "
            f"{wanted.fingerprint}: import them into another collection."
        )
    if (description.codes, id_kind) != (wanted.codes, manifest.id_kind):
        raise InputError(
            f"collection '{collection}' holds {', '.join(description.codes)} by {id_kind} ids, and the files {', '.join(wanted.codes)} by "
            f"{manifest.id_kind} ids: import them into another collection."
        )
    if description.bits != wanted.bits:
        raise InputError(
            f"collection '{collection}' holds codes of {description.bits} bits, and the files of {wanted.bits}: import them into another "
            "collection."
        )
    if description.label_names != wanted.label_names:
        raise InputError(
            f"collection '{collection}' numbers other classes than the files: import them into another collection."
        )
    index.load(spec)
    check_index(collection, index.spec, options.index, options.nlist, spec)
    return index


def _missing(
    index: HashIndex, folder: Path, manifest: ImportManifest, tasks: _Tasks, retries: Retries
) -> list[ImportFile]:
    """The files whose rows are not in the collection.

    Raises:
        InputError: it holds rows that are not of these files, or some of the rows of one.
    """
    tasks.wait_for_others()
    retries(lambda: _refresh(index))
    rows = retries(index.count)
    if not rows:
        return list(manifest.files)
    missing = []
    for file in manifest.files:
        ids = bulk_files.ids_of(folder / file.name)
        some = ids[:: max(1, len(ids) // _LOOKED_UP)]
        if not retries(lambda some=some: index.existing(some)):  # type: ignore[misc]
            missing.append(file)
    if rows != manifest.rows - sum(file.rows for file in missing):
        raise InputError(
            f"collection '{index.collection}' holds {rows:,} rows that are not of these files, or not as they were imported; Milvus would "
            "keep both rows of an id: import into another collection, or `milvus-ichash ingest` the data."
        )
    return missing


def _run(tasks: _Tasks, missing: list[ImportFile], place: str, kept: Callable[[int], object]) -> None:
    """Hand the files over, a few at a time, and wait for each."""
    waiting = deque(missing)
    running: dict[int, ImportFile] = {}
    while waiting or running:
        while waiting and len(running) < _AT_ONCE:
            file = waiting.popleft()
            running[tasks.start(f"{place}/{file.name}")] = file
        time.sleep(_POLL_SECONDS)
        for task, file in list(running.items()):
            if tasks.done(task, f"{place}/{file.name}"):
                del running[task]
                kept(file.rows)


def _wait_until_seen(index: HashIndex, rows: int, retries: Retries) -> None:
    """Have imported rows searched, and count them."""
    end = time.monotonic() + _SEEN_SECONDS
    while True:
        retries(lambda: _refresh(index))
        found = retries(index.count)
        if found == rows:
            return
        if found > rows or time.monotonic() > end:
            raise MilvusError(
                f"{rows:,} rows were imported into '{index.collection}', and it has {found:,}: it is being written to, "
                "or a file went in twice."
            )
        time.sleep(_POLL_SECONDS)


def _refresh(index: HashIndex) -> None:
    with index.connection.calling(f"load the collection '{index.collection}'"):
        index.connection.client.refresh_load(index.collection, timeout=max(index.connection.timeout, _LOAD_SECONDS))


class _Tasks:
    """The import tasks of one collection."""

    def __init__(self, connection: Connection, collection: str, retries: Retries) -> None:
        self._connection, self._collection, self._retries = connection, collection, retries
        client = connection.client
        try:
            handler = client._get_connection()
            self._start, self._state, self._list = (
                handler.do_bulk_insert,
                handler.get_bulk_insert_state,
                handler.list_bulk_insert_tasks,
            )
            # Early pymilvus 2.6 keeps the name of the database elsewhere.
            context = getattr(client, "_generate_call_context", None)
        except AttributeError as error:
            raise BackendMissingError(
                f"this pymilvus has no bulk import ({error}): pip install 'pymilvus>=2.6,<3.1'."
            ) from error
        self._options: dict[str, Any] = {} if context is None else {"context": context()}

    def start(self, path: str) -> int:
        """Hand a file over; returns the number of its task. Not tried again: the first try may have arrived."""
        with self._connection.calling(f"import '{path}'"):
            # One try (a timeout would be the time for many), and no deadline: pymilvus notices a lost
            # connection by itself.
            return int(self._start(self._collection, "", [path], retry_times=0, **self._options))

    def done(self, task: int, path: str) -> bool:
        """True once the file is imported.

        Raises:
            MilvusError: it was not; says where the server looked for it.
        """
        state = self._state_of(task)
        if state.state in _FAILED:
            raise self._failed(path, state.infos.get("failed_reason") or "no reason given")
        return bool(state.state == _DONE)

    def wait_for_others(self) -> None:
        """Wait for tasks of a run before this one."""
        if self._others():
            self._retries.told(f"An import into '{self._collection}' was begun before: waiting for it.")
        while self._others():
            time.sleep(_POLL_SECONDS)

    def _others(self) -> bool:
        return any(state.state not in (*_FAILED, _DONE) for state in self._retries(self._all))

    def _all(self) -> list[Any]:
        with self._connection.calling(f"list the imports into '{self._collection}'"):
            found: list[Any] = self._list(0, self._collection, timeout=self._connection.timeout, **self._options)
            return found

    def _state_of(self, task: int) -> Any:
        def ask() -> Any:
            with self._connection.calling("tell how an import goes"):
                return self._state(task, timeout=self._connection.timeout, **self._options)

        return self._retries(ask)

    def _failed(self, path: str, reason: str) -> MilvusError:
        where = f"Milvus at {self._connection.address}"
        if _NOT_READ.search(reason):
            return MilvusError(
                f"{where} does not find '{path}' ({reason.strip('. ')}). It reads files from where it keeps its data: copy the .parquet "
                "files into the bucket of its object storage, or, where its storage is local, into a folder on its machine, and give "
                "their path there with --path."
            )
        return MilvusError(f"{where} could not import '{path}': {reason.strip('. ')}.")
