"""Writing batches into a collection, and deleting rows: in columns where the client allows it, else row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from milvus_ichash.errors import MilvusError
from milvus_ichash.index import filters
from milvus_ichash.index.batch import Batch
from milvus_ichash.index.connection import Connection

_BYTES = 24 << 20
"""Of one call: a server takes 64 MiB."""
_ROWS = {True: 50_000, False: 10_000}
"""Of one call, in columns or as dicts."""
_DELETE_IDS = 4096


def upsert(connection: Connection, collection: str, batch: Batch) -> int:
    """Write items by id: those that are there are replaced. Returns how many.

    Raises:
        MilvusError: Milvus could not, or acknowledged fewer; some may have been written.
    """
    columnar = connection.columnar
    written = 0
    for part in batch.parts(_ROWS[columnar is not None], _BYTES):
        with _changing(connection, collection), connection.calling(f"write to the collection '{collection}'"):
            if columnar is not None:
                written += columnar.upsert(collection, part.columns(), len(part), connection.timeout)
            else:
                written += connection.client.upsert(collection, part.rows(), timeout=connection.timeout)["upsert_count"]
    return _acknowledged(written, len(batch), collection)


def insert(connection: Connection, collection: str, batch: Batch) -> int:
    """Write items whose ids are not there, which saves the server to look for them; returns how many.

    After an error, items of the batch may be there: write it again by `upsert`, since an insert would make them be
        there twice. For the
    same reason rows go in by `upsert` where there are no columnar calls: pymilvus sends an insert again by itself.

    Raises:
        MilvusError: as `upsert`.
    """
    columnar = connection.columnar
    if columnar is None:
        return upsert(connection, collection, batch)
    written = 0
    for part in batch.parts(_ROWS[True], _BYTES):
        with _changing(connection, collection), connection.calling(f"write to the collection '{collection}'"):
            written += columnar.insert(collection, part.columns(), len(part), connection.timeout)
    return _acknowledged(written, len(batch), collection)


def delete(connection: Connection, collection: str, keys: Sequence[Any]) -> None:
    """Delete the items with these ids.

    Raises:
        MilvusError: Milvus could not; some may have been deleted.
    """
    # By id: not every release deletes by any filter.
    for start in range(0, len(keys), _DELETE_IDS):
        expression = filters.among(keys[start : start + _DELETE_IDS])
        with _changing(connection, collection), connection.calling(f"delete from the collection '{collection}'"):
            connection.client.delete(collection, filter=expression, timeout=connection.timeout)


@contextmanager
def _changing(connection: Connection, collection: str) -> Iterator[None]:
    """The next searches are to see what is written inside, whether it ends well or not."""
    try:
        yield
    finally:
        connection.changed(collection)


def _acknowledged(written: int, rows: int, collection: str) -> int:
    if written != rows:
        raise MilvusError(
            f"Milvus acknowledged {written} of {rows} rows written to '{collection}': write them again.", may_pass=True
        )
    return written
