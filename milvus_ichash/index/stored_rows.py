"""Reading whole collections: pages by primary key, since no query gives more than 16,384 rows and offsets lose some."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from milvus_ichash.codes import Codes
from milvus_ichash.errors import MilvusError
from milvus_ichash.features import Ids, Mask
from milvus_ichash.index import filters
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.description import Description, IdKind
from milvus_ichash.index.field_names import ID, LABELS, META, has
from milvus_ichash.index.search_request import LIMIT

Page = dict[str, Any]

_LOOK_UP_IDS = 4096


@dataclass(frozen=True, eq=False)
class ReadBack:
    """N rows of a collection, sorted by id.

    Attributes:
        ids: (N,) int64, or object of str.
        codes: uint8 (N, bits / 8) by name.
        present: bool (N, M), False where the modality was completed.
        labels: for each row its class indices, or None where they are unknown; None where no row has labels.
    """

    ids: Ids
    codes: dict[str, Codes]
    present: Mask
    labels: list[list[int] | None] | None


def pages(
    connection: Connection, collection: str, expression: str, codes: Sequence[str] = (), others: Sequence[str] = ()
) -> Iterator[Page]:
    """All rows that match, sorted by id, at most 16,384 at a time, as columns by field.

    Ids are an array, codes uint8 (n, bits / 8), the others lists, with None where an item has no such field.

    Raises:
        MilvusError: a page came out of order or short (each is asked for beyond the last id of the one before).
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
    page: Page = columnar.query(collection, expression, [*codes, *others], LIMIT, connection.timeout)
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
        filter=expression,
        output_fields=[ID, *codes, *others],
        limit=LIMIT,
        timeout=connection.timeout,
        iterator="True",
        reduce_stop_for_best="True",
    )
    packed = {
        name: np.frombuffer(b"".join(row[name][0] for row in rows), np.uint8).reshape(len(rows), -1)
        for name in codes
        if rows
    }
    return {
        ID: to_ids([row[ID] for row in rows]),
        **packed,
        **{name: [row.get(name) for row in rows] for name in others},
    }


def read_ids(connection: Connection, collection: str, expression: str, id_kind: IdKind) -> Ids:
    """The ids of all rows that match, sorted: (N,)."""
    found = [page[ID] for page in pages(connection, collection, expression)]
    ids = _joined(found, id_kind)
    check_count(connection, collection, expression, len(ids))
    return ids


def read_back(
    connection: Connection,
    collection: str,
    description: Description,
    id_kind: IdKind,
    codes: Sequence[str],
    expression: str,
) -> ReadBack:
    """All rows that match, with these codes."""
    ids: list[Ids] = []
    stored: dict[str, list[Codes]] = {name: [] for name in codes}
    present: list[Mask] = []
    labels: list[list[int] | None] = []
    has_fields = [has(modality) for modality in description.modalities]
    for page in pages(connection, collection, expression, codes, [*has_fields, LABELS]):
        ids.append(page[ID])
        present.append(np.array([page[name] for name in has_fields], np.bool_).T)
        labels += page[LABELS]
        for name in codes:
            stored[name].append(page[name])
    all_ids = _joined(ids, id_kind)
    check_count(connection, collection, expression, len(all_ids))
    width = description.bits // 8
    return ReadBack(
        ids=all_ids,
        codes={name: np.concatenate([np.empty((0, width), np.uint8), *parts]) for name, parts in stored.items()},
        present=np.concatenate([np.empty((0, len(has_fields)), np.bool_), *present]),
        labels=labels if any(row is not None for row in labels) else None,
    )


def count(connection: Connection, collection: str, expression: str) -> int:
    """Number of rows that match."""
    with connection.calling(f"count the rows of '{collection}'"):
        rows = connection.client.query(
            collection, filter=expression, output_fields=["count(*)"], timeout=connection.timeout
        )
    return int(rows[0]["count(*)"])


def existing(connection: Connection, collection: str, keys: Sequence[Any]) -> set[Any]:
    """Those of these ids that are in the collection."""
    found: set[Any] = set()
    for start in range(0, len(keys), _LOOK_UP_IDS):
        expression = filters.among(keys[start : start + _LOOK_UP_IDS])
        with connection.calling(f"look up ids in '{collection}'"):
            rows = connection.client.query(
                collection, filter=expression, output_fields=[ID], limit=LIMIT, timeout=connection.timeout
            )
        found.update(row[ID] for row in rows)
    return found


def field_names(connection: Connection, collection: str, description: Description) -> list[str]:
    """The scalar fields of the schema, and the dynamic ones that the first 16,384 rows have."""
    with connection.calling(f"read the collection '{collection}'"):
        rows = connection.client.query(
            collection, filter="", output_fields=["$meta"], limit=LIMIT, timeout=connection.timeout
        )
    return list(dict.fromkeys([ID, *map(has, description.modalities), *(name for row in rows for name in row)]))


def check_count(connection: Connection, collection: str, expression: str, found: int) -> None:
    """Raise MilvusError where the rows that were read are not all there are."""
    expected = count(connection, collection, expression)
    if found != expected:
        raise MilvusError(
            f"{found} rows of '{collection}' were read, and it has {expected}: it is being written to, or holds an id twice; read it again."
        )


def to_ids(values: Sequence[Any]) -> Ids:
    """Ids as an array: int64 (N,), or object (N,) of str."""
    ids: Ids = np.empty(len(values), object if len(values) and isinstance(values[0], str) else np.int64)
    ids[:] = values
    return ids


def _joined(parts: Sequence[Ids], kind: IdKind) -> Ids:
    return np.concatenate([np.empty(0, object if kind == "str" else np.int64), *parts])
