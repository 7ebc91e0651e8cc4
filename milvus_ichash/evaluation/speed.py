"""How long searches take: one query a call, and many queries a call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from milvus_ichash.codes import Codes, hamming_distance
from milvus_ichash.evaluation.milvus_retriever import MilvusRetriever, having
from milvus_ichash.index.batch import code_bytes
from milvus_ichash.index.rankings import Search, client_arguments

SAMPLE = 200
"""Queries that are timed one by one."""
TOGETHER = 64
"""Queries in one call, where queries/s are counted."""
_WARM_UP = 5


@dataclass(frozen=True)
class Speed:
    """Speed of one way to search.

    Attributes:
        p50_ms, p95_ms: milliseconds of a call with one query, median and 95th percentile.
        queries_per_second: of one client that asks 64 queries a call, one call after the other (in this process: one
            query).
    """

    p50_ms: float
    p95_ms: float
    queries_per_second: float


@dataclass(frozen=True)
class Way:
    """A way to search that can be timed.

    Attributes:
        search: searches for some queries, uint8 (Q, bits / 8).
        batched: whether one call with several queries is faster than one after the other.
    """

    search: Callable[[Codes], Any]
    batched: bool = True


def by_client(retriever: MilvusRetriever, code: str, required: Sequence[str], top_k: int) -> Way:
    """`MilvusClient.search`, as a program sees it that searches this collection.

    At Bounded consistency, as ours are once nothing was written for a while (`Connection.settled`): at Strong, Milvus
    waits up to a fifth of a second in every call, whatever it searches.
    """
    index, connection = retriever.index, retriever.index.connection
    wanted = Search(index.collection, code, expression=having(required), nprobe=retriever.about["nprobe"])

    def search(queries: Codes) -> Any:
        with connection.calling(f"search the collection '{index.collection}'"):
            arguments = client_arguments(connection, wanted, code_bytes(queries, index.bits), top_k, ())
            return connection.client.search(**{**arguments, "consistency_level": "Bounded"})

    return Way(search)


def in_this_process(codes: Codes, top_k: int) -> Way:
    """Comparing a query with all codes, uint8 (rows, bits / 8), and picking the nearest, in one thread."""
    k = min(top_k, len(codes)) - 1
    return Way(lambda query: np.argpartition(hamming_distance(query, codes)[0], k), batched=False)


def speeds(ways: Sequence[Way], query_codes: Codes) -> list[Speed]:
    """The speed of each way, query by query in turns: what else the machine does meets all of them.

    Raises:
        MilvusError: Milvus was not reached in time, or refused.
    """
    for way in ways:
        for query in query_codes[:_WARM_UP]:
            way.search(query[None, :])
    single = np.array([[_seconds(way.search, query[None, :]) for way in ways] for query in query_codes[:SAMPLE]])
    calls = [query_codes[first : first + TOGETHER] for first in range(0, len(query_codes), TOGETHER)]
    together = np.array([[_seconds(way.search, call) if way.batched else 0.0 for way in ways] for call in calls]).sum(
        axis=0
    )
    rates = [
        len(query_codes) / all_calls if way.batched else 1 / mean
        for way, all_calls, mean in zip(ways, together, single.mean(axis=0), strict=True)
    ]
    middle, slow = np.percentile(single * 1000, [50, 95], axis=0)
    return [Speed(float(p50), float(p95), float(rate)) for p50, p95, rate in zip(middle, slow, rates, strict=True)]


def _seconds(call: Callable[[Any], Any], argument: Any) -> float:
    start = time.perf_counter()
    call(argument)
    return time.perf_counter() - start
