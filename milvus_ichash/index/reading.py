"""Reading whole collections: pages by primary key, since no query gives more than 16,384 rows and offsets lose some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from milvus_ichash.codes import Codes
from milvus_ichash.errors import MilvusError
from milvus_ichash.features import Ids, Mask
from milvus_ichash.index import filters
from milvus_ichash.index.client import Connection
from milvus_ichash.index.schema import ID, LABELS, Description, IdKind, has

LIMIT = 16_384
"""Most rows that Milvus gives for one query or one search vector."""

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


def pages(connection: Connection, collection: str, expression: str, fields: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """All rows that match, sorted by id, at most 16,384 at a time.

    Raises:
        MilvusError: a page came out of order or short (each is asked for beyond the last id of the one before).
    """
    reached = ""
    while True:
        # The limit is explicit: without one, Milvus Lite stops at 16,383 rows. The two flags make a server take the
        # smallest ids of all its segments, as pymilvus's own iterator asks for.
        with connection.calling(f"read the collection '{collection}'"):
            rows = connection.client.query(
                collection,
                filter=filters.both(expression, reached),
                output_fields=[ID, *fields],
                limit=LIMIT,
                timeout=connection.timeout,
                iterator="True",
                reduce_stop_for_best="True",
            )
        page = sorted(rows, key=lambda row: row[ID])
        if page:
            yield page
        if len(page) < LIMIT:
            return
        reached = filters.after(page[-1][ID])


def read_ids(connection: Connection, collection: str, expression: str, id_kind: IdKind) -> Ids:
    """The ids of all rows that match, sorted: (N,)."""
    found = [row[ID] for page in pages(connection, collection, expression, []) for row in page]
    complete(connection, collection, expression, len(found))
    return to_ids(found, id_kind)


def read_back(
    connection: Connection, collection: str, description: Description, id_kind: IdKind, codes: Sequence[str], expression: str
) -> ReadBack:
    """All rows that match, with these codes."""
    ids: list[Any] = []
    packed: dict[str, list[bytes]] = {name: [] for name in codes}
    present: list[list[bool]] = []
    labels: list[list[int] | None] = []
    has_fields = [has(modality) for modality in description.modalities]
    for page in pages(connection, collection, expression, [*codes, *has_fields, LABELS]):
        for row in page:
            ids.append(row[ID])
            present.append([row[name] for name in has_fields])
            labels.append(row.get(LABELS))
            for name in codes:
                packed[name].append(row[name][0])
    complete(connection, collection, expression, len(ids))
    width = description.bits // 8
    return ReadBack(
        ids=to_ids(ids, id_kind),
        codes={name: np.frombuffer(b"".join(parts), np.uint8).reshape(len(ids), width) for name, parts in packed.items()},
        present=np.array(present, np.bool_).reshape(len(ids), len(has_fields)),
        labels=labels if any(row is not None for row in labels) else None,
    )


def count(connection: Connection, collection: str, expression: str) -> int:
    """Number of rows that match."""
    with connection.calling(f"count the rows of '{collection}'"):
        rows = connection.client.query(collection, filter=expression, output_fields=["count(*)"], timeout=connection.timeout)
    return int(rows[0]["count(*)"])


def existing(connection: Connection, collection: str, keys: Sequence[Any]) -> set[Any]:
    """Those of these ids that are in the collection."""
    found: set[Any] = set()
    for start in range(0, len(keys), _LOOK_UP_IDS):
        expression = filters.among(keys[start : start + _LOOK_UP_IDS])
        with connection.calling(f"look up ids in '{collection}'"):
            rows = connection.client.query(collection, filter=expression, output_fields=[ID], limit=LIMIT, timeout=connection.timeout)
        found.update(row[ID] for row in rows)
    return found


def field_names(connection: Connection, collection: str, description: Description) -> list[str]:
    """The scalar fields of the schema, and the dynamic ones that the first 16,384 rows have."""
    with connection.calling(f"read the collection '{collection}'"):
        rows = connection.client.query(collection, filter="", output_fields=["$meta"], limit=LIMIT, timeout=connection.timeout)
    return list(dict.fromkeys([ID, *map(has, description.modalities), *(name for row in rows for name in row)]))


def complete(connection: Connection, collection: str, expression: str, found: int) -> None:
    """Raise MilvusError where the rows that were read are not all there are."""
    expected = count(connection, collection, expression)
    if found != expected:
        raise MilvusError(
            f"{found} rows of '{collection}' were read, and it has {expected}: it is being written to, or holds an id twice; read it again."
        )


def to_ids(values: Sequence[Any], kind: IdKind) -> Ids:
    """Ids as an array: int64 (N,), or object (N,) of str."""
    ids: Ids = np.empty(len(values), object if kind == "str" else np.int64)
    ids[:] = values
    return ids
