"""Reading whole collections: pages by primary key, since no query gives more than 16,384 rows and offsets lose some."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from milvus_ichash.choices import IdKind
from milvus_ichash.codes import Codes
from milvus_ichash.errors import MilvusError
from milvus_ichash.features import Ids, Mask
from milvus_ichash.index import filters, lookups
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.description import Description
from milvus_ichash.index.field_names import ID, LABELS, META, has
from milvus_ichash.index.id_rows import to_ids
from milvus_ichash.index.search_request import LIMIT

Page = dict[str, Any]


@dataclass(frozen=True, eq=False)
class ReadBack:
    """N rows of a collection, sorted by id.

    Attributes:
        ids: (N,) int64, or object of str.
        codes: uint8 (N, bits / 8) by name.
        present: bool (N, M), False where the item lacks the modality.
        labels: for each row its class names, or class numbers in a collection that holds those; None where they are
            unknown. None where no row has labels.
    """

    ids: Ids
    codes: dict[str, Codes]
    present: Mask
    labels: list[list[Any] | None] | None


def pages(
    connection: Connection, collection: str, expression: str, codes: Sequence[str] = (), others: Sequence[str] = ()
) -> Iterator[Page]:
    """Yield all rows that match, sorted by id, at most 16,384 at a time, as columns by field.

    Ids are an array, codes uint8 (n, bits / 8), the others lists, with None where an item has no such field.

    Raises:
        MilvusError: Milvus could not.
    """
    ask = _rows_page if connection.columnar is None else _columnar_page
    reached = ""
    while True:
        with connection.calling(f"read the collection '{collection}'"):
            page = ask(connection, collection, filters.both(expression, reached), codes, others)
        ids = page[ID]
        if not len(ids):
            return
        # A short page need not be the last: of several segments, Milvus stops where the first of them has no more rows.
        order = np.argsort(ids, kind="stable")
        yield {
            name: values[order] if isinstance(values, np.ndarray) else [values[i] for i in order]
            for name, values in page.items()
        }
        reached = filters.after(ids[order[-1]])


def _columnar_page(
    connection: Connection, collection: str, expression: str, codes: Sequence[str], others: Sequence[str]
) -> Page:
    columnar: Any = connection.columnar
    page: Page = columnar.query(collection, expression, [*codes, *others], LIMIT, connection.timeout, page=True)
    page[ID] = to_ids(page[ID])
    if LABELS in others:
        meta = page.pop(META, None) or [b""] * len(page[ID])
        # One document is parsed much faster than one for each row.
        dynamic = json.loads(b"[%s]" % b",".join(text or b"null" for text in meta))
        page[LABELS] = [fields.get(LABELS) if fields else None for fields in dynamic]
    return {name: page.get(name, []) for name in (ID, *codes, *others)}


def _rows_page(
    connection: Connection, collection: str, expression: str, codes: Sequence[str], others: Sequence[str]
) -> Page:
    # The limit is explicit: without one, Milvus Lite stops at 16,383 rows. The two flags make a server take the
    # smallest ids of all its segments, as pymilvus's own iterator asks for.
    rows = connection.client.query(
        collection,
        filter=connection.ids.expression(expression),
        output_fields=[ID, *codes, *others],
        limit=LIMIT,
        timeout=connection.timeout,
        iterator="True",
        reduce_stop_for_best="True",
    )
    columns: Page = {name: [row.get(name) for row in rows] for name in others}
    for name in codes if rows else ():
        columns[name] = np.frombuffer(b"".join(row[name][0] for row in rows), np.uint8).reshape(len(rows), -1)
    return {ID: to_ids(connection.ids.shown([row[ID] for row in rows])), **columns}


def read_ids(connection: Connection, collection: str, expression: str, id_kind: IdKind) -> Ids:
    """Return the ids of all rows that match, sorted: (N,).

    Raises:
        MilvusError: Milvus could not, or the collection is being written to.
    """
    ids = _joined([page[ID] for page in pages(connection, collection, expression)], id_kind)
    check_count(connection, collection, expression, ids)
    return ids


def read_back(
    connection: Connection,
    collection: str,
    description: Description,
    id_kind: IdKind,
    codes: Sequence[str],
    expression: str,
) -> ReadBack:
    """Return all rows that match, with these codes. Errors as `read_ids`."""
    has_fields = [has(modality) for modality in description.modalities]
    found = [
        (page, np.array([page.pop(name) for name in has_fields], np.bool_).T)
        for page in pages(connection, collection, expression, codes, [*has_fields, LABELS])
    ]
    ids = _joined([page[ID] for page, _ in found], id_kind)
    check_count(connection, collection, expression, ids)
    labels = [row for page, _ in found for row in page[LABELS]]
    no_code = np.empty((0, description.bits // 8), np.uint8)
    return ReadBack(
        ids=ids,
        codes={name: np.concatenate([no_code, *(page[name] for page, _ in found)]) for name in codes},
        present=np.concatenate([np.empty((0, len(has_fields)), np.bool_), *(present for _, present in found)]),
        labels=labels if any(row is not None for row in labels) else None,
    )


def label_counts(connection: Connection, collection: str) -> Counter[Any]:
    """Return how many rows have each label, a class name or number."""
    found = (row for page in pages(connection, collection, "", (), (LABELS,)) for row in page[LABELS])
    return Counter(chain.from_iterable(row or () for row in found))


def field_names(connection: Connection, collection: str, description: Description) -> list[str]:
    """Return the scalar fields of the schema, and the dynamic ones that the first 16,384 rows have."""
    what = f"read the collection '{collection}'"
    rows = connection.call(what, "query", collection, filter="", output_fields=[META], limit=LIMIT)
    return list(dict.fromkeys([ID, *map(has, description.modalities), *(name for row in rows for name in row)]))


def check_count(connection: Connection, collection: str, expression: str, ids: Ids) -> None:
    """Raise MilvusError where the rows that were read, whose sorted ids these are, are not all there are."""
    expected = lookups.count(connection, collection, expression)
    if len(ids) == expected:
        return
    what = f"{len(ids)} rows of '{collection}' were read, and it has {expected}:"
    doubled = lookups.doubled_among_all(connection, collection, expression, ids) if len(ids) < expected else None
    if doubled is None:
        raise MilvusError(f"{what} it is being written to; read it again.")
    raise MilvusError(f"{what} {lookups.several_rows(doubled)}")


def _joined(parts: Sequence[Ids], kind: IdKind) -> Ids:
    return np.concatenate([np.empty(0, object if kind == "str" else np.int64), *parts])
