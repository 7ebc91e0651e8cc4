"""How long searches take: one query a call, and many queries a call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from milvus_ichash.codes import Codes, hamming_distance
from milvus_ichash.evaluation.milvus_retriever import MilvusRetriever
from milvus_ichash.index.filters import having

SAMPLE = 200
"""Number of queries that are timed one by one."""
TOGETHER = 64
"""Number of queries in one call, where queries per second are counted."""
_WARM_UP = 5


@dataclass(frozen=True)
class Speed:
    """The speed of one way to search.

    Attributes:
        p50_ms: milliseconds of a call with one query, median.
        p95_ms: milliseconds of a call with one query, 95th percentile.
        queries_per_second: of one client that asks 64 queries a call, one call after the other (in this process: one
            query a call).
    """

    p50_ms: float
    p95_ms: float
    queries_per_second: float


@dataclass(frozen=True)
class TimedSearch:
    """A way to search that can be timed.

    Attributes:
        search: searches for some queries, uint8 (Q, bits / 8).
        batched: whether one call with several queries is faster than one after the other.
    """

    search: Callable[[Codes], Any]
    batched: bool = True


def by_client(retriever: MilvusRetriever, code: str, required: Sequence[str], top_k: int) -> TimedSearch:
    """Return a search by `MilvusClient.search` at Bounded consistency, as another program would make it.

    A `HashIndex` searches at that consistency too, once nothing was written for a while. At Strong consistency Milvus
    waits up to a fifth of a second in every call, whatever it searches.
    """
    nprobe = retriever.about["nprobe"]
    rows = having(required)
    return TimedSearch(
        lambda queries: retriever.index.plain_search(queries, top_k=top_k, code=code, nprobe=nprobe, filter=rows)
    )


def in_this_process(codes: Codes, top_k: int) -> TimedSearch:
    """Return a search that compares a query with all codes, uint8 (rows, bits / 8), in one thread of this process."""
    k = min(top_k, len(codes)) - 1
    return TimedSearch(lambda query: np.argpartition(hamming_distance(query, codes)[0], k), batched=False)


def speeds(searches: Sequence[TimedSearch], query_codes: Codes) -> list[Speed]:
    """Return the speed of each search, measured query by query in turns, so that other load meets all of them alike.

    Args:
        searches: at least one.
        query_codes: uint8 (Q, bits / 8), at least one. The first 200 are timed one by one.

    Raises:
        MilvusError: Milvus was not reached in time, or refused.
    """
    for way in searches:
        for query in query_codes[:_WARM_UP]:
            way.search(query[None, :])
    single = _seconds(searches, [query[None, :] for query in query_codes[:SAMPLE]])
    calls = [query_codes[first : first + TOGETHER] for first in range(0, len(query_codes), TOGETHER)]
    together = iter(_seconds([way for way in searches if way.batched], calls).sum(axis=0))
    rates = [
        len(query_codes) / next(together) if way.batched else 1 / seconds
        for way, seconds in zip(searches, single.mean(axis=0), strict=True)
    ]
    middle, slow = np.percentile(single * 1000, [50, 95], axis=0)
    return [Speed(float(p50), float(p95), float(rate)) for p50, p95, rate in zip(middle, slow, rates, strict=True)]


def _seconds(searches: Sequence[TimedSearch], calls: Sequence[Codes]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the seconds of each call by each search, in turns: float64 (calls, searches)."""
    seconds = np.zeros((len(calls), len(searches)))
    for row, queries in zip(seconds, calls, strict=True):
        for column, way in enumerate(searches):
            start = time.perf_counter()
            way.search(queries)
            row[column] = time.perf_counter() - start
    return seconds
