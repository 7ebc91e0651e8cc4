"""Searches: the k nearest codes, and complete rankings put together from searches over slices of the primary key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.errors import InputError, MilvusError
from milvus_ichash.features import Ids
from milvus_ichash.index import filters
from milvus_ichash.index.columnar import Columnar
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.id_rows import RowsOf, rows_of
from milvus_ichash.index.index_building import METRIC
from milvus_ichash.index.stored_rows import LIMIT

Distances = npt.NDArray[np.int32]

_HITS_AT_ONCE = 1 << 18
"""Hits asked for in one call: a few megabytes, well below the 64 that a server sends."""
_CALLS_AT_ONCE = 4


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
        nprobe: cells that are looked through, of BIN_IVF_FLAT; None for BIN_FLAT.
    """

    collection: str
    code: str
    radius: int | None = None
    expression: str = ""
    nprobe: int | None = None

    @property
    def params(self) -> dict[str, int]:
        """Search parameters. Milvus takes items nearer than `radius`, so it is one more than the largest distance.

        With cells to probe, the radius is left to us: in Milvus 2.3 such a search passes over nprobe, and finds next to
            nothing.
        """
        if self.nprobe is not None:
            return {"nprobe": self.nprobe}
        return {} if self.radius is None else {"radius": self.radius + 1}


def check_reach(top_k: int, radius: int | None, bits: int) -> None:
    """Raise InputError where Milvus cannot give so many items, or no distance is like this radius."""
    if not 1 <= top_k <= LIMIT:
        raise InputError(
            f"top-k is {top_k}; Milvus gives 1 to {LIMIT} items for a query (HashIndex.rank_all ranks all of them)."
        )
    # Milvus cuts a fractional radius to a whole one.
    if radius is not None and not (isinstance(radius, int | np.integer) and 0 <= radius <= bits):
        raise InputError(
            f"the radius is {radius}; Hamming distances of {bits}-bit codes are whole numbers from 0 to {bits}."
        )


def nearest(connection: Connection, search: Search, codes: Sequence[bytes], k: int, fields: Sequence[str]) -> Hits:
    """The k nearest items of each query."""
    return _hits(_found(connection, search, codes, k, fields), len(codes), k, search.radius, bool(fields))


async def nearest_async(
    connection: Connection, search: Search, codes: Sequence[bytes], k: int, fields: Sequence[str]
) -> Hits:
    """The k nearest items of each query, without blocking the event loop while Milvus looks for them."""
    found: list[Found] = []
    with connection.calling(f"search the collection '{search.collection}'"):
        client = await connection.async_client()
        for queries in _calls(codes, k):
            found += map(_of_hits, await client.search(**client_arguments(connection, search, queries, k, fields)))
    return _hits(found, len(codes), k, search.radius, bool(fields))


def _hits(found: Iterable[Found], queries: int, k: int, radius: int | None, fields: bool) -> Hits:
    shape = (queries, k)
    hits = Hits(np.full(shape, None, object), np.full(shape, -1, np.int32), np.zeros(queries, np.int64), [])
    for q, (ids, distances, entities) in enumerate(found):
        order = _order(ids, distances)
        if radius is not None:
            order = order[distances[order] <= radius]
        n = len(order)
        hits.ids[q, :n] = ids[order]
        hits.distances[q, :n] = distances[order]
        hits.counts[q] = n
        hits.fields.append([entities[i] for i in order.tolist()] if fields else [{} for _ in range(n)])
    return hits


def first_rankings(
    connection: Connection, search: Search, codes: Sequence[bytes], k: int
) -> Iterator[tuple[Ids, Distances]]:
    """For each query the k nearest items, or as many as its cells hold, sorted by (distance, id)."""
    for ids, distances, _ in _found(connection, search, codes, k, ()):
        order = _order(ids, distances)
        yield ids[order], distances[order]


def complete_rankings(
    connection: Connection, search: Search, codes: Sequence[bytes], keys: Ids
) -> Iterator[tuple[Ids, Distances]]:
    """For each query all items, sorted by (distance, id). Arguments and errors as `complete_distances`."""
    for distances in complete_distances(connection, search, codes, keys):
        order = by_distance(distances)
        yield keys[order], distances[order]


def by_distance(distances: Distances) -> npt.NDArray[np.intp]:
    """Places sorted by (distance, place): numpy sorts 16 bits by counting, several times faster than 32."""
    return np.argsort(distances.astype(np.min_scalar_type(int(distances.max(initial=0)))), kind="stable")


def complete_distances(
    connection: Connection, search: Search, codes: Sequence[bytes], keys: Ids
) -> Iterator[Distances]:
    """For each query its distances from all items, in the order of `keys`: int32 (N,).

    Collections beyond 16,384 rows are searched slice by slice of the primary key, on a server several slices at once:
        it works on
    a call with one core, and at Strong consistency a call waits up to a fifth of a second before that.

    Args:
        connection: to Milvus.
        search: what is searched.
        codes: of the queries.
        keys: the ids of all items, sorted.

    Raises:
        MilvusError: a search gave other items than `keys`.
    """
    slices = [slice(first, min(first + LIMIT, len(keys))) for first in range(0, len(keys), LIMIT)]
    places = [rows_of(keys[part]) for part in slices]
    at_once = max(1, _HITS_AT_ONCE // min(LIMIT, max(1, len(keys))))
    with ThreadPoolExecutor(1 if connection.is_lite else _CALLS_AT_ONCE) as pool:
        for start in range(0, len(codes), at_once):
            queries = codes[start : start + at_once]
            distances = np.full((len(queries), len(keys)), -1, np.int32)

            def fill(
                part: slice, place: RowsOf, queries: Sequence[bytes] = queries, distances: Distances = distances
            ) -> None:
                # One slice is the whole collection: then the range would only cost time.
                within = filters.between(keys[part.start], keys[part.stop - 1]) if len(slices) > 1 else ""
                sliced = replace(search, expression=filters.both(search.expression, within))
                rows = distances[:, part]
                for row, (ids, found, _) in zip(
                    rows, _found(connection, sliced, queries, rows.shape[1], ()), strict=True
                ):
                    columns = place(ids)
                    row[columns[columns >= 0]] = found[columns >= 0]
                    if (columns < 0).any() or (row < 0).any():
                        raise MilvusError(
                            f"the rows of '{search.collection}' changed while they were ranked: do it again when nobody writes."
                        )

            for _ in pool.map(fill, slices, places):
                pass
            yield from distances


def _order(ids: Ids, distances: Distances) -> npt.NDArray[np.intp]:
    """By (distance, id): in the order of Milvus, items at the same distance come as they like."""
    if ids.dtype != object:
        return np.lexsort((ids, distances))
    pairs = list(zip(distances.tolist(), ids.tolist(), strict=True))
    return np.array(sorted(range(len(pairs)), key=pairs.__getitem__), np.intp)


Found = tuple[Ids, Distances, Sequence[dict[str, Any]]]
"""Ids and int32 distances (hits,) of one query, and the fields asked for of each hit."""


def _found(
    connection: Connection, search: Search, codes: Sequence[bytes], limit: int, fields: Sequence[str]
) -> Iterator[Found]:
    """What Milvus finds for each query, in its order, in calls of a bounded size."""
    for queries in _calls(codes, limit):
        with connection.calling(f"search the collection '{search.collection}'"):
            if connection.columnar is None or fields:
                found = [
                    _of_hits(hits)
                    for hits in connection.client.search(**client_arguments(connection, search, queries, limit, fields))
                ]
            else:
                found = _columnar(connection, connection.columnar, search, queries, limit)
        yield from found


def _calls(codes: Sequence[bytes], limit: int) -> Iterator[Sequence[bytes]]:
    """The queries of each call."""
    at_once = max(1, _HITS_AT_ONCE // limit)
    return (codes[start : start + at_once] for start in range(0, len(codes), at_once))


def _columnar(
    connection: Connection, columnar: Columnar, search: Search, codes: Sequence[bytes], limit: int
) -> list[Found]:
    bounded = connection.settled(search.collection)
    found = columnar.search(
        search.collection,
        search.code,
        codes,
        search.params,
        search.expression,
        limit,
        bounded=bounded,
        timeout=connection.timeout,
    )
    ends = np.cumsum(found.counts)[:-1]
    return [
        (ids, distances, ())
        for ids, distances in zip(np.split(found.ids, ends), np.split(found.distances, ends), strict=True)
    ]


def plain_search(connection: Connection, search: Search, codes: Sequence[bytes], k: int) -> Any:
    """`MilvusClient.search` at Bounded consistency; what it returns is not looked at."""
    with connection.calling(f"search the collection '{search.collection}'"):
        arguments = client_arguments(connection, search, codes, k, ())
        return connection.client.search(**{**arguments, "consistency_level": "Bounded"})


def client_arguments(
    connection: Connection, search: Search, codes: Sequence[bytes], limit: int, fields: Sequence[str]
) -> dict[str, Any]:
    """Of `MilvusClient.search`."""
    relaxed = {"consistency_level": "Bounded"} if connection.settled(search.collection) else {}
    return relaxed | {
        "collection_name": search.collection,
        "data": list(codes),
        "anns_field": search.code,
        "search_params": {"metric_type": METRIC, "params": search.params},
        "filter": search.expression,
        "limit": limit,
        "output_fields": list(fields),
        "timeout": connection.timeout,
    }


def _of_hits(found: Any) -> Found:
    """One query's hits, as pymilvus gives them."""
    ids: Ids = (
        np.array(found.ids, np.int64) if found.ids and isinstance(found.ids[0], int) else np.array(found.ids, object)
    )
    return ids, np.array(found.distances, np.float32).astype(np.int32), [hit["entity"] for hit in found]
