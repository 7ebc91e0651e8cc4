"""Exact tie-aware mAP@all: 2,000 queries, 17,857 rows, 64 bits, against one `np.argsort` per query; one thread each."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from support.timing import in_turns
from threadpoolctl import threadpool_limits

from milvus_ichash.evaluation.metrics import mean_average_precision

QUERIES, ROWS, BITS, KINDS, COLOURS = 2000, 17_857, 64, 18, 25


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Codes around one centre for each kind of item, two labels (kind and colour) each, like the data set `fashion`."""
    rng = np.random.default_rng(0)
    centres = rng.random((KINDS, BITS)) < 0.5
    sides = []
    for n in (QUERIES, ROWS):
        kind, colour = rng.integers(0, KINDS, n), rng.integers(0, COLOURS, n)
        codes = np.packbits(centres[kind] ^ (rng.random((n, BITS)) < 0.25), axis=1)
        sides.append((codes, np.hstack([np.eye(KINDS, dtype=np.uint8)[kind], np.eye(COLOURS, dtype=np.uint8)[colour]])))
    (q, lq), (b, lb) = sides
    return q, b, lq, lb


def by_argsort(q: np.ndarray, b: np.ndarray, lq: np.ndarray, lb: np.ndarray) -> float:
    """The same figure by sorting: products of +-1 codes as in the papers, one argsort a query, ties in closed form."""
    signs, asked = (2 * np.unpackbits(x, axis=1).astype(np.float32) - 1 for x in (b, q))
    row_labels, query_labels = lb.astype(np.float32), lq.astype(np.float32)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, len(b) + 1))])
    values = []
    for query, labels in zip(asked, query_labels, strict=True):
        distances = (BITS - signs @ query) / 2
        order = np.argsort(distances)
        relevant = (row_labels @ labels > 0)[order]
        ranked = distances[order]
        starts = np.concatenate([[0], np.flatnonzero(np.diff(ranked)) + 1])
        n, r = np.diff(np.append(starts, len(ranked))), np.add.reduceat(relevant, starts, dtype=np.int64)
        found = np.cumsum(r) - r
        slope = (r - 1) / np.maximum(n - 1, 1)
        sums = r / n * (slope * n + (found + 1 - slope * (starts + 1)) * (harmonic[starts + n] - harmonic[starts]))
        if r.any():
            values.append(sums.sum() / r.sum())
    return float(np.mean(values))


def test_map_is_ten_times_faster_than_sorting(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], benchmark: BenchmarkFixture
) -> None:
    # Ours uses one thread; the products of the other way would take all cores.
    with threadpool_limits(1):
        ours, baseline, ratio = in_turns(
            lambda: mean_average_precision(*problem), lambda: by_argsort(*problem), rounds=5
        )
    found = benchmark.pedantic(mean_average_precision, args=problem, rounds=5, warmup_rounds=1)
    benchmark.extra_info.update(argsort_seconds=baseline, ratio=ratio)
    print(
        f"\nmAP@all of {QUERIES} queries x {ROWS} rows: {ours:.3f} s, by argsort {baseline:.3f} s, {ratio:.1f} x faster"
    )
    assert found == pytest.approx(by_argsort(*problem), abs=1e-9)
    assert ratio >= 10
