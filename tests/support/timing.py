"""Ratios of two ways to do the same, timed in turns so that a busy machine is busy for both."""

from __future__ import annotations

import time
from collections.abc import Callable


def in_turns(ours: Callable[[], object], bare: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Least seconds of ours, of the bare way, and bare / ours of these (1: as fast; above 1: faster).

    The least time is the one that the rest of the machine disturbed least.
    """
    ours(), bare()
    times = []
    for turn in range(rounds):
        first, second = (ours, bare) if turn % 2 else (bare, ours)
        a, b = _seconds(first), _seconds(second)
        times.append((a, b) if turn % 2 else (b, a))
    least, least_bare = min(a for a, _ in times), min(b for _, b in times)
    return least, least_bare, least_bare / least


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
