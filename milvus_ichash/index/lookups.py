"""Looking items up by id: which are there, which are stored exactly as they would be written, which are there twice.

A server keeps both rows of an id that was inserted twice, and gives one of them to whoever asks; only a count tells.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from milvus_ichash.features import Ids, Mask
from milvus_ichash.index import filters
from milvus_ichash.index.batch import Batch
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.field_names import ID, META
from milvus_ichash.index.search_request import LIMIT

_ROWS, _BYTES = 4096, 24 << 20
"""Of one answer, about."""


@dataclass(frozen=True)
class Lookup:
    """What became of ids that must have one row each.

    Attributes:
        asked: number of ids.
        missing: those that have no row.
        surplus: number of rows beyond one for each id.
        doubled: one of the ids that have several rows; None where there is none.
    """

    asked: int
    missing: Sequence[Any]
    surplus: int
    doubled: Any


@dataclass(frozen=True)
class _Stored:
    """n items as they are stored: ids, codes uint8 (n, bits / 8) and marks by field, labels and payload."""

    keys: Sequence[Any]
    fields: Mapping[str, Any]
    dynamic: Sequence[bytes | dict[str, Any]]


def existing(connection: Connection, collection: str, keys: Sequence[Any]) -> set[Any]:
    """Return those of these ids that are in the collection."""
    found: set[Any] = set()
    for expression in filters.among_few(keys):
        rows = connection.call(
            f"look up ids in '{collection}'",
            "query",
            collection,
            filter=connection.ids.expression(expression),
            output_fields=[ID],
            limit=LIMIT,
        )
        found.update(connection.ids.shown([row[ID] for row in rows]))
    return found


def count(connection: Connection, collection: str, expression: str) -> int:
    """Return the number of rows that match."""
    what = f"count the rows of '{collection}'"
    stored = connection.ids.expression(expression)
    rows = connection.call(what, "query", collection, filter=stored, output_fields=["count(*)"])
    return int(rows[0]["count(*)"])


def look_up(connection: Connection, collection: str, keys: Sequence[Any]) -> Lookup:
    """Return what became of a few thousand ids, at most."""
    there = existing(connection, collection, keys)

    def rows_of(some: Sequence[Any]) -> int:
        return count(connection, collection, filters.among(some)) if len(some) else 0

    found = [key for key in keys if key in there]
    surplus = rows_of(found) - len(found)
    missing = [key for key in keys if key not in there]
    return Lookup(len(keys), missing, surplus, _doubled(found, rows_of) if surplus > 0 else None)


def doubled_among_all(connection: Connection, collection: str, expression: str, ids: Ids) -> Any:
    """Return an id that is there twice, or None where none is found.

    Args:
        connection: to Milvus.
        collection: its name.
        expression: a filter.
        ids: of all rows that match it, sorted: (N,).
    """

    def rows_of(some: Sequence[Any]) -> int:
        return count(connection, collection, filters.both(expression, filters.between(some[0], some[-1])))

    return _doubled(ids.tolist(), rows_of) if len(ids) else None


def _doubled(keys: Sequence[Any], rows_of: Callable[[Sequence[Any]], int]) -> Any:
    """Return one of these ids that has several rows, found by halving; None where there is none."""
    first, end = 0, len(keys)
    while end - first > 1:
        middle = (first + end) // 2
        if rows_of(keys[first:middle]) > middle - first:
            end = middle
        else:
            first = middle
    return keys[first] if rows_of(keys[first:end]) > 1 else None


def several_rows(doubled: Any) -> str:
    """Return what is said of an id that has several rows, and what helps."""
    return (
        f"the id {doubled!r} has several rows, as after an ingest with --insert beside another one. Ingest the same "
        "items again without --insert and --resume (from Python: `HashIndex.upsert`), which leaves one row of each id."
    )


def unchanged(connection: Connection, collection: str, batch: Batch) -> Mask:
    """Return which items are stored exactly as they are in the batch, in all fields: bool (n,).

    Labels and payload are compared as JSON, whatever the order of their names. Where it is not certain that two values
    are the same (1 and 1.0, say), the item counts as changed.

    Raises:
        MilvusError: Milvus could not.
    """
    ask = _by_rows if connection.columnar is None else _by_columns
    masks = [np.empty(0, np.bool_)]
    for part in batch.parts(_ROWS, _BYTES):
        with connection.calling(f"read the collection '{collection}'"):
            stored = ask(connection, collection, part)
        masks.append(_same(part, stored))
    return np.concatenate(masks)


def _by_columns(connection: Connection, collection: str, part: Batch) -> _Stored:
    columnar: Any = connection.columnar
    fields = [*part.codes, *part.present, META]
    page = columnar.query(collection, filters.among(part.ids), fields, LIMIT, connection.timeout, page=False)
    # Where nothing dynamic was ever written, Milvus may leave the field out.
    return _Stored(page[ID], page, page.get(META) or [b""] * len(page[ID]))


def _by_rows(connection: Connection, collection: str, part: Batch) -> _Stored:
    rows = connection.client.query(
        collection,
        filter=connection.ids.expression(filters.among(part.ids)),
        output_fields=[ID, *part.codes, *part.present, META],
        limit=LIMIT,
        timeout=connection.timeout,
    )
    fields: dict[str, Any] = {name: [row[name] for row in rows] for name in part.present}
    for name in part.codes if rows else ():
        fields[name] = np.frombuffer(b"".join(row[name][0] for row in rows), np.uint8).reshape(len(rows), -1)
    own = {ID, *fields}
    dynamic = [{name: value for name, value in row.items() if name not in own} for row in rows]
    return _Stored(connection.ids.shown([row[ID] for row in rows]), fields, dynamic)


def _same(batch: Batch, stored: _Stored) -> Mask:
    place = {key: row for row, key in enumerate(stored.keys)}
    rows = np.array([place.get(key, -1) for key in batch.ids], np.intp)
    same = rows >= 0
    if not same.any():
        return same
    at, meta = rows[same], batch.meta
    pairs = zip(at.tolist(), np.flatnonzero(same).tolist(), strict=True)
    equal = np.array([_same_dynamic(stored.dynamic[row], meta[own]) for row, own in pairs], np.bool_)
    for name, codes in batch.codes.items():
        equal &= (stored.fields[name][at] == codes[same]).all(axis=1)
    for name, marks in batch.present.items():
        equal &= np.array(stored.fields[name], np.bool_)[at] == np.array(marks, np.bool_)[same]
    same[same] = equal
    return same


def _same_dynamic(stored: bytes | dict[str, Any], wanted: bytes) -> bool:
    return stored == wanted or _canonical(stored) == _canonical(wanted)


def _canonical(dynamic: bytes | dict[str, Any]) -> str:
    """Return JSON with sorted names. Not the values: to Python, 1, 1.0 and True are the same."""
    return json.dumps(json.loads(dynamic or b"{}") if isinstance(dynamic, bytes) else dynamic, sort_keys=True)
