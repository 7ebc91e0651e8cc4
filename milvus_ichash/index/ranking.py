"""Searches: the k nearest codes, and complete rankings put together from searches over slices of the primary key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.errors import InputError, MilvusError
from milvus_ichash.features import Ids
from milvus_ichash.index import filters
from milvus_ichash.index.client import Connection
from milvus_ichash.index.reading import LIMIT
from milvus_ichash.index.schema import METRIC

Distances = npt.NDArray[np.int32]

_HITS_AT_ONCE = 1 << 17
"""Hits asked for in one call: a few megabytes, well below the 64 that a server sends."""


@dataclass(frozen=True, eq=False)
class Hits:
    """The nearest items of Q queries, sorted by (distance, id).

    Attributes:
        ids: object (Q, k); None where fewer than k items were found.
        distances: int32 (Q, k), Hamming distances; -1 where fewer than k items were found.
        counts: int64 (Q,), items found.
        fields: for each query and each item found, the output fields that were asked for and that it has.
    """

    ids: npt.NDArray[np.object_]
    distances: Distances
    counts: npt.NDArray[np.int64]
    fields: list[list[dict[str, Any]]]


@dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Attributes:
        collection, code: the field that holds the codes.
        radius: largest distance, or None.
        expression: filter.
    """

    collection: str
    code: str
    radius: int | None = None
    expression: str = ""

    @property
    def params(self) -> dict[str, Any]:
        """Search parameters. Milvus takes items nearer than `radius`, so it is one more than the largest distance."""
        return {"metric_type": METRIC, "params": {} if self.radius is None else {"radius": self.radius + 1}}


def check_reach(top_k: int, radius: int | None, bits: int) -> None:
    """Raise InputError where Milvus cannot give so many items, or no distance is like this radius."""
    if not 1 <= top_k <= LIMIT:
        raise InputError(f"top-k is {top_k}; Milvus gives 1 to {LIMIT} items for a query (HashIndex.rank_all ranks all of them).")
    # Milvus cuts a fractional radius to a whole one.
    if radius is not None and not (isinstance(radius, int | np.integer) and 0 <= radius <= bits):
        raise InputError(f"the radius is {radius}; Hamming distances of {bits}-bit codes are whole numbers from 0 to {bits}.")


def nearest(connection: Connection, search: Search, codes: Sequence[bytes], k: int, fields: Sequence[str]) -> Hits:
    """The k nearest items of each query."""
    shape = (len(codes), k)
    hits = Hits(np.full(shape, None, object), np.full(shape, -1, np.int32), np.zeros(len(codes), np.int64), [])
    for q, found in enumerate(_found(connection, search, codes, k, fields)):
        # In the order of Milvus, items at the same distance come as they like.
        order = sorted(range(len(found.ids)), key=lambda i, d=found.distances, ids=found.ids: (d[i], ids[i]))  # type: ignore[misc]
        n = len(order)
        hits.ids[q, :n] = [found.ids[i] for i in order]
        hits.distances[q, :n] = [found.distances[i] for i in order]
        hits.counts[q] = n
        entities = [hit["entity"] for hit in found] if fields else [{} for _ in order]
        hits.fields.append([entities[i] for i in order])
    return hits


def complete_rankings(connection: Connection, search: Search, codes: Sequence[bytes], keys: Ids) -> Iterator[tuple[Ids, Distances]]:
    """For each query all items, sorted by (distance, id).

    Args:
        connection: to Milvus.
        search: what is searched.
        codes: of the queries.
        keys: the ids of all items, sorted.

    Raises:
        MilvusError: a search gave other items than `keys`.
    """
    slices = [keys[start : start + LIMIT] for start in range(0, len(keys), LIMIT)]
    at_once = max(1, _HITS_AT_ONCE // min(LIMIT, max(1, len(keys))))
    for start in range(0, len(codes), at_once):
        queries = codes[start : start + at_once]
        distances = np.empty((len(queries), len(keys)), np.int32)
        for part, first in zip(slices, range(0, len(keys), LIMIT), strict=True):
            # One slice is the whole collection: then the range would only cost time.
            within = filters.between(part[0], part[-1]) if len(slices) > 1 else ""
            sliced = Search(search.collection, search.code, None, filters.both(search.expression, within))
            place = {key: first + i for i, key in enumerate(part.tolist())}
            for q, found in enumerate(_found(connection, sliced, queries, len(part), ())):
                columns = [place.get(key, -1) for key in found.ids]
                distances[q, columns] = found.distances
                if -1 in columns or len(set(columns)) < len(part):
                    raise MilvusError(f"the rows of '{search.collection}' changed while they were ranked: do it again when nobody writes.")
        for row in distances:
            order = np.argsort(row, kind="stable")
            yield keys[order], row[order]


def _found(connection: Connection, search: Search, codes: Sequence[bytes], limit: int, fields: Sequence[str]) -> Iterator[Any]:
    """pymilvus's hits of each query, in calls of a bounded size."""
    at_once = max(1, _HITS_AT_ONCE // limit)
    for start in range(0, len(codes), at_once):
        with connection.calling(f"search the collection '{search.collection}'"):
            found = connection.client.search(
                search.collection,
                data=list(codes[start : start + at_once]),
                anns_field=search.code,
                search_params=search.params,
                filter=search.expression,
                limit=limit,
                output_fields=list(fields),
                timeout=connection.timeout,
            )
        yield from found
