"""Searches: the k nearest codes, and complete rankings put together from searches over slices of the primary key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.codes import Distances
from milvus_ichash.errors import MilvusError
from milvus_ichash.features import Ids
from milvus_ichash.index import filters
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.field_names import ID
from milvus_ichash.index.id_rows import RowsOf, rows_of, to_ids
from milvus_ichash.index.index_spec import METRIC
from milvus_ichash.index.search_request import LIMIT, SearchRequest

QueryHits = tuple[Ids, Distances, Sequence[dict[str, Any]]]
"""Ids and int32 distances (n,) of one query, and the output fields of each hit; no fields where none were asked for."""

_HITS_AT_ONCE = 1 << 18
"""Hits asked for in one call: a few megabytes, well below the 64 that a server sends."""
_CALLS_AT_ONCE = 4
_SLICE = 16_000
"""Ids of a slice, so that a search of all its rows does not reach the limit even where a few are written meanwhile."""


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


def nearest(connection: Connection, request: SearchRequest, codes: Sequence[bytes]) -> Hits:
    """Return the nearest items of each query."""
    return _hits(_found(connection, request, codes), request, len(codes))


def all_within(connection: Connection, request: SearchRequest, codes: Sequence[bytes], keys: Callable[[], Ids]) -> Hits:
    """Return all items of each query within the radius of the request, however many there are.

    One search gives 16,384 at most. Queries that find so many are asked again, slice by slice of the primary key.

    Args:
        connection: to Milvus.
        request: what is searched; its `top_k` is ignored.
        codes: of the queries.
        keys: gives the ids of all items that match the filter, sorted; called where they are needed.
    """
    request = replace(request, top_k=LIMIT)
    found = _per_query(nearest(connection, request, codes))
    cut_off = [q for q, (ids, _, _) in enumerate(found) if len(ids) >= LIMIT]
    if cut_off:
        ids = keys()
        parts = []
        for first in range(0, len(ids), _SLICE):
            within = filters.between(ids[first], ids[min(first + _SLICE, len(ids)) - 1])
            sliced = replace(request, filter=filters.both(request.filter, within))
            parts.append(_per_query(nearest(connection, sliced, [codes[q] for q in cut_off])))
        for q, of_slices in zip(cut_off, zip(*parts, strict=True), strict=True):
            found[q] = (
                np.concatenate([ids for ids, _, _ in of_slices]),
                np.concatenate([distances for _, distances, _ in of_slices]),
                list(chain.from_iterable(fields for _, _, fields in of_slices)),
            )
    most = max((len(ids) for ids, _, _ in found), default=0)
    return _hits(found, replace(request, top_k=most), len(codes))


def _per_query(hits: Hits) -> list[QueryHits]:
    return [(hits.ids[q, :n], hits.distances[q, :n], hits.fields[q]) for q, n in enumerate(hits.counts.tolist())]


async def nearest_async(connection: Connection, request: SearchRequest, codes: Sequence[bytes]) -> Hits:
    """Return the nearest items of each query, without blocking the event loop while Milvus looks for them."""
    found: list[QueryHits] = []
    with connection.calling(f"search the collection '{request.collection}'"):
        client = await connection.async_client()
        for queries in _calls(codes, request.top_k):
            hits = await client.search(**_client_arguments(connection, request, queries))
            found += [_of_client(connection, each) for each in hits]
    return _hits(found, request, len(codes))


def plain_search(connection: Connection, request: SearchRequest, codes: Sequence[bytes]) -> Any:
    """Call `MilvusClient.search` at Bounded consistency; return what it returns."""
    with connection.calling(f"search the collection '{request.collection}'"):
        arguments = _client_arguments(connection, request, codes)
        return connection.client.search(**{**arguments, "consistency_level": "Bounded"})


def _hits(found: Iterable[QueryHits], request: SearchRequest, queries: int) -> Hits:
    shape = (queries, request.top_k)
    hits = Hits(np.full(shape, None, object), np.full(shape, -1, np.int32), np.zeros(queries, np.int64), [])
    for q, (ids, distances, entities) in enumerate(found):
        order = _order(ids, distances)
        if request.radius is not None:
            order = order[distances[order] <= request.radius]
        n = len(order)
        hits.ids[q, :n] = ids[order]
        hits.distances[q, :n] = distances[order]
        hits.counts[q] = n
        hits.fields.append([entities[i] for i in order.tolist()] if request.output_fields else [{} for _ in range(n)])
    return hits


def first_rankings(
    connection: Connection, request: SearchRequest, codes: Sequence[bytes]
) -> Iterator[tuple[Ids, Distances]]:
    """Yield for each query its nearest items, fewer where the probed cells hold fewer, sorted by (distance, id)."""
    for ids, distances, _ in _found(connection, request, codes):
        order = _order(ids, distances)
        yield ids[order], distances[order]


def complete_rankings(
    connection: Connection, request: SearchRequest, codes: Sequence[bytes], keys: Ids
) -> Iterator[tuple[Ids, Distances]]:
    """Yield for each query all items, sorted by (distance, id). Arguments and errors as `complete_distances`."""
    for distances in complete_distances(connection, request, codes, keys):
        order = by_distance(distances)
        yield keys[order], distances[order]


def by_distance(distances: Distances) -> npt.NDArray[np.intp]:
    """Return row numbers sorted by (distance, row number): intp (N,), out of int32 (N,)."""
    # numpy sorts 16 bits by counting, several times faster than 32.
    return np.argsort(distances.astype(np.min_scalar_type(int(distances.max(initial=0)))), kind="stable")


def complete_distances(
    connection: Connection, request: SearchRequest, codes: Sequence[bytes], keys: Ids
) -> Iterator[Distances]:
    """Yield for each query its distances from all items, in the order of `keys`: int32 (N,).

    Collections beyond 16,384 rows are searched slice by slice of the primary key. A server searches several slices at
    once: it works on a call with one core, and at Strong consistency a call waits up to a fifth of a second first.

    Args:
        connection: to Milvus.
        request: what is searched; its `top_k` is ignored.
        codes: of the queries.
        keys: the ids of all items, sorted.

    Raises:
        MilvusError: a search gave other items than `keys`.
    """
    slices = [slice(first, min(first + LIMIT, len(keys))) for first in range(0, len(keys), LIMIT)]
    row_numbers = [rows_of(keys[part]) for part in slices]
    at_once = max(1, _HITS_AT_ONCE // min(LIMIT, max(1, len(keys))))
    with ThreadPoolExecutor(1 if connection.is_lite else _CALLS_AT_ONCE) as pool:
        for start in range(0, len(codes), at_once):
            queries = codes[start : start + at_once]
            distances = np.full((len(queries), len(keys)), -1, np.int32)

            def fill(
                part: slice, rows: RowsOf, queries: Sequence[bytes] = queries, all_of: Distances = distances
            ) -> None:
                # One slice is the whole collection: then the range would only cost time.
                within = filters.between(keys[part.start], keys[part.stop - 1]) if len(slices) > 1 else ""
                expression = filters.both(request.filter, within)
                sliced = replace(request, filter=expression, top_k=part.stop - part.start)
                for row, (ids, found, _) in zip(all_of[:, part], _found(connection, sliced, queries), strict=True):
                    at = rows(ids)
                    row[at[at >= 0]] = found[at >= 0]
                    if (at < 0).any() or (row < 0).any():
                        raise MilvusError(
                            f"the rows of '{request.collection}' changed while they were ranked: "
                            "do it again when nobody writes."
                        )

            for _ in pool.map(fill, slices, row_numbers):
                pass
            yield from distances


def _order(ids: Ids, distances: Distances) -> npt.NDArray[np.intp]:
    """Return the order by (distance, id): Milvus gives items at the same distance in no particular order."""
    if ids.dtype != object:
        return np.lexsort((ids, distances))
    pairs = list(zip(distances.tolist(), ids.tolist(), strict=True))
    return np.array(sorted(range(len(pairs)), key=pairs.__getitem__), np.intp)


def _found(connection: Connection, request: SearchRequest, codes: Sequence[bytes]) -> Iterator[QueryHits]:
    """Yield what Milvus finds for each query, in its order, out of calls of a bounded size."""
    columnar = None if request.output_fields else connection.columnar
    for queries in _calls(codes, request.top_k):
        with connection.calling(f"search the collection '{request.collection}'"):
            if columnar is None:
                hits = connection.client.search(**_client_arguments(connection, request, queries))
                found = [_of_client(connection, each) for each in hits]
            else:
                bounded = connection.settled(request.collection)
                pairs = columnar.search(request, queries, bounded=bounded, timeout=connection.timeout)
                found = [(ids, distances, ()) for ids, distances in pairs]
        yield from found


def _calls(codes: Sequence[bytes], limit: int) -> Iterator[Sequence[bytes]]:
    """Yield the queries of each call."""
    at_once = max(1, _HITS_AT_ONCE // limit)
    return (codes[start : start + at_once] for start in range(0, len(codes), at_once))


def _client_arguments(connection: Connection, request: SearchRequest, codes: Sequence[bytes]) -> dict[str, Any]:
    """Return the arguments of `MilvusClient.search`."""
    relaxed = {"consistency_level": "Bounded"} if connection.settled(request.collection) else {}
    return relaxed | {
        "collection_name": request.collection,
        "data": list(codes),
        "anns_field": request.code,
        "search_params": {"metric_type": METRIC, "params": request.params},
        "filter": connection.ids.expression(request.filter),
        "limit": request.top_k,
        "output_fields": list(request.output_fields),
        "timeout": connection.timeout,
    }


def _of_client(connection: Connection, found: Any) -> QueryHits:
    """Return one query's hits, which pymilvus gives one by one, as arrays."""
    ids = connection.ids.shown(found.ids)
    distances = np.array(found.distances, np.float32).astype(np.int32)
    entities = [hit["entity"] for hit in found]
    for key, entity in zip(ids, entities, strict=True):
        if ID in entity:
            entity[ID] = key
    return to_ids(ids), distances, entities
