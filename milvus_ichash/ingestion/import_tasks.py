"""Milvus's import tasks: each imports one file, as a whole or not at all.

The calls are public in Milvus (gRPC `Import`, `GetImportState`, `ListImportTasks`); the way to them is private in
pymilvus: `MilvusClient._get_connection()` with `do_bulk_insert`, `get_bulk_insert_state` and `list_bulk_insert_tasks`.
"""

from __future__ import annotations

import re
import time
from functools import partial
from typing import Any

from milvus_ichash.errors import BackendMissingError, MilvusError
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.retries import Retries

POLL_SECONDS = 0.5

_FAILED, _DONE = (1, 7), 6
"""Of `pymilvus.BulkInsertState`: failed, failed and cleaned; completed."""
_NOT_READ = re.compile(r"no such file|not exist|not found|NoSuchKey|file size|access denied", re.IGNORECASE)


class ImportTasks:
    """The import tasks of one collection. A task is named by its number."""

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
        """Hand a file over, and return the number of its task. Not tried again: the first try may have arrived."""
        with self._connection.calling(f"import '{path}'"):
            # One try (a timeout would be the time for many), and no deadline: pymilvus notices a lost
            # connection by itself.
            return int(self._start(self._collection, "", [path], retry_times=0, **self._options))

    def done(self, task: int, path: str) -> bool:
        """Return True once the file is imported.

        Raises:
            MilvusError: the import failed; says where the server looked for the file.
        """
        ask = partial(self._connection.call, "tell how an import goes", self._state, task, **self._options)
        state = self._retries(ask)
        if state.state in _FAILED:
            raise self._failed(path, state.infos.get("failed_reason") or "no reason given")
        return bool(state.state == _DONE)

    def wait_for_others(self) -> None:
        """Wait until the tasks of a run before this one have ended."""
        if self._others_run():
            self._retries.told(f"An import into '{self._collection}' was begun before: waiting for it.")
        while self._others_run():
            time.sleep(POLL_SECONDS)

    def _others_run(self) -> bool:
        what = f"list the imports into '{self._collection}'"
        ask = partial(self._connection.call, what, self._list, 0, self._collection, **self._options)
        return any(state.state not in (*_FAILED, _DONE) for state in self._retries(ask))

    def _failed(self, path: str, reason: str) -> MilvusError:
        where = f"Milvus at {self._connection.address}"
        if _NOT_READ.search(reason):
            return MilvusError(
                f"{where} does not find '{path}' ({reason.strip('. ')}). It reads files from where it keeps its data: "
                "copy the .parquet files into the bucket of its object storage, or, where its storage is local, into a "
                "folder on its machine, and give their path there with --path."
            )
        return MilvusError(f"{where} could not import '{path}': {reason.strip('. ')}.")
