"""Ratios of two ways to do the same, timed in turns so that a busy machine is busy for both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def in_turns(ours: Callable[[], object], bare: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median seconds of ours, of the bare way, and the median over rounds of bare / ours (1: as fast; above 1: faster)."""
    ours(), bare()
    times = []
    for turn in range(rounds):
        first, second = (ours, bare) if turn % 2 else (bare, ours)
        a, b = _seconds(first), _seconds(second)
        times.append((a, b) if turn % 2 else (b, a))
    return statistics.median(a for a, _ in times), statistics.median(b for _, b in times), statistics.median(b / a for a, b in times)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
