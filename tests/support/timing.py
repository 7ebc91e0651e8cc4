"""Two ways to do the same, timed in turns so that a busy machine is busy for both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

Call = Callable[[], object]


def in_turns(ours: Call, bare: Call, rounds: int) -> tuple[float, float, float]:
    """Least seconds of ours, of the bare way, and bare / ours of these (1: as fast; above 1: faster).

    The least time is the one that the rest of the machine disturbed least.
    """
    ours(), bare()
    least, least_bare = map(min, zip(*pairs_in_turns([(ours, bare)] * rounds), strict=True))
    return least, least_bare, least_bare / least


def sums_in_turns(pairs: Iterable[tuple[Call, Call]]) -> tuple[float, float]:
    """Seconds of all first calls, and of all second ones."""
    first, second = map(sum, zip(*pairs_in_turns(pairs), strict=True))
    return first, second


def pairs_in_turns(pairs: Iterable[tuple[Call, Call]]) -> list[tuple[float, float]]:
    """Seconds of both calls of each pair; of every other pair the second call is made first."""
    times = []
    for turn, (first, second) in enumerate(pairs):
        if turn % 2:
            times.append((seconds(first), seconds(second)))
        else:
            times.append((seconds(second), seconds(first))[::-1])
    return times


def seconds(call: Call) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
