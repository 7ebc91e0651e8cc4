"""Writing batches into a collection, and deleting rows: in columns where the client allows it, else row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from milvus_ichash.errors import MilvusError
from milvus_ichash.index import filters
from milvus_ichash.index.batch import Batch, Row
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.field_names import ID

_BYTES = 24 << 20
"""Of one call: a server takes 64 MiB."""
_ROWS_IN_COLUMNS, _ROWS_AS_DICTS = 50_000, 10_000
"""Of one call."""


def write(connection: Connection, collection: str, batch: Batch, *, insert: bool) -> int:
    """Write items by id, in place of those that are there; return how many.

    With `insert`, none of the ids may be there, which saves the server to look for them. After an error, items of the
    batch may be there: write it again without `insert`, which would make them be there twice. For the same reason rows
    never go in by insert where there are no columnar calls: pymilvus sends an insert again by itself.

    Raises:
        MilvusError: Milvus could not, or acknowledged fewer; some may have been written.
    """
    columnar, timeout, written = connection.columnar, connection.timeout, 0
    for part in batch.parts(_ROWS_AS_DICTS if columnar is None else _ROWS_IN_COLUMNS, _BYTES):
        with _changing(connection, collection, "write to"):
            if columnar is not None:
                written += columnar.write(collection, part.columns(), len(part), insert=insert, timeout=timeout)
            else:
                written += connection.client.upsert(collection, _rows(connection, part), timeout=timeout)[
                    "upsert_count"
                ]
    if written != len(batch):
        raise MilvusError(
            f"Milvus acknowledged {written} of {len(batch)} rows written to '{collection}': write them again.",
            may_pass=True,
        )
    return written


def delete(connection: Connection, collection: str, keys: Sequence[Any]) -> None:
    """Delete the items with these ids.

    Raises:
        MilvusError: Milvus could not; some may have been deleted.
    """
    # By id: not every release deletes by any filter.
    for expression in map(connection.ids.expression, filters.among_few(keys)):
        with _changing(connection, collection, "delete from"):
            connection.client.delete(collection, filter=expression, timeout=connection.timeout)


def _rows(connection: Connection, part: Batch) -> list[Row]:
    stored = connection.ids.stored(part.ids)
    return [{**row, ID: key} for row, key in zip(part.rows(), stored, strict=True)]


@contextmanager
def _changing(connection: Connection, collection: str, what: str) -> Iterator[None]:
    """Have the next searches see what is written inside, whether it ends well or not."""
    try:
        with connection.calling(f"{what} the collection '{collection}'", writes=True):
            yield
    finally:
        connection.changed(collection)
