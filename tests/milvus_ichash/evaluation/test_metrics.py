"""Closed forms against the mean over every order of ties, in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ranking_oracle as oracle

from milvus_ichash.errors import InputError
from milvus_ichash.evaluation import metrics
from milvus_ichash.evaluation.metrics import Groups

DISTANCES = 5
LEVELS = 4

rankings = st.lists(st.tuples(st.integers(0, DISTANCES - 1), st.integers(0, LEVELS - 1)), min_size=1, max_size=6)
"""(distance, shared labels) of each row: few enough rows to try every order."""
quick = settings(deadline=None, max_examples=60)
long_rankings = st.lists(st.tuples(st.integers(0, 30), st.integers(0, LEVELS - 1)), min_size=1, max_size=200)


def histogram(pairs: list[tuple[int, int]], distances: int = DISTANCES) -> np.ndarray:
    counts = np.zeros((1, distances, LEVELS), np.int64)
    for d, s in pairs:
        counts[0, d, s] += 1
    return counts


def groups_of(pairs: list[tuple[int, int]], distances: int = DISTANCES) -> Groups:
    return Groups.from_histograms(histogram(pairs, distances))


def relevant_of(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array([sum(s > 0 for _, s in pairs)])


def unzip(pairs: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [d for d, _ in pairs], [s for _, s in pairs]


@quick
@given(rankings, st.none() | st.integers(1, 9), st.integers(0, 3))
def test_average_precision_is_the_mean_over_every_order(
    pairs: list[tuple[int, int]], k: int | None, unseen: int
) -> None:
    # `unseen` relevant rows were not returned at all.
    total = int(relevant_of(pairs)[0]) + unseen
    exact = oracle.expected(lambda order: oracle.ap([s > 0 for s in order], total, k), *unzip(pairs))
    found = metrics.average_precision(groups_of(pairs), np.array([total]), k)[0]
    assert found == pytest.approx(float(exact), abs=1e-12)


@quick
@given(rankings, st.integers(1, 9))
def test_metrics_at_a_rank_are_the_mean_over_every_order(pairs: list[tuple[int, int]], k: int) -> None:
    distances, shared = unzip(pairs)
    groups = groups_of(pairs)
    for found, by_hand in (
        (
            metrics.average_precision(groups, relevant_of(pairs), k, "hits"),
            lambda order: oracle.ap([s > 0 for s in order], 0, k, by_hits=True),
        ),
        (metrics.precision_at(groups, k), lambda order: oracle.precision([s > 0 for s in order], k)),
        (metrics.ndcg_at(groups, histogram(pairs).sum(axis=1), k), lambda order: oracle.ndcg(order, shared, k)),
    ):
        assert found[0] == pytest.approx(float(oracle.expected(by_hand, distances, shared)), abs=1e-12)


@quick
@given(rankings)
def test_precision_at_recall_is_over_the_mean_rank(pairs: list[tuple[int, int]]) -> None:
    total = int(relevant_of(pairs)[0])
    found = metrics.precision_at_recall(groups_of(pairs), np.array([total]), (0, 30, 50, 100))[0]
    if not total:
        assert not found.any()
        return
    for level, value in zip((0, 30, 50, 100), found, strict=True):
        j = max(1, -(-total * level // 100))
        rank = oracle.expected(lambda order, j=j: Fraction(oracle.rank_of([s > 0 for s in order], j)), *unzip(pairs))
        assert value == pytest.approx(float(j / rank), abs=1e-12)


@quick
@given(long_rankings)
def test_without_ties_it_is_the_ordinary_metric(pairs: list[tuple[int, int]]) -> None:
    shared = np.array([s for _, s in pairs])
    relevant = [s > 0 for s in shared]
    groups = Groups.from_order(shared[None, :])
    total = relevant_of(pairs)
    everything = np.bincount(shared, minlength=LEVELS)[None, :]
    for found, by_hand in (
        (metrics.average_precision(groups, total), oracle.ap(relevant, int(total[0]))),
        (metrics.average_precision(groups, total, 10), oracle.ap(relevant, int(total[0]), 10)),
        (metrics.average_precision(groups, total, 10, "hits"), oracle.ap(relevant, 0, 10, by_hits=True)),
        (metrics.ndcg_at(groups, everything, 10), oracle.ndcg(shared.tolist(), shared.tolist(), 10)),
    ):
        assert found[0] == pytest.approx(float(by_hand), abs=1e-12)


@quick
@given(long_rankings)
def test_expected_lies_between_the_best_and_the_worst_order(pairs: list[tuple[int, int]]) -> None:
    best = [s for _, s in sorted(pairs, key=lambda p: (p[0], p[1] == 0))]
    worst = [s for _, s in sorted(pairs, key=lambda p: (p[0], p[1] > 0))]
    total = relevant_of(pairs)
    found = metrics.average_precision(groups_of(pairs, 31), total)[0]
    low, high = (float(oracle.ap([s > 0 for s in order], int(total[0]))) for order in (worst, best))
    assert low - 1e-12 <= found <= high + 1e-12


@quick
@given(st.integers(1, 6), st.integers(0, 6), st.none() | st.integers(1, 9))
def test_random_order_is_the_mean_over_every_order(rows: int, relevant: int, k: int | None) -> None:
    values = [1] * min(relevant, rows) + [0] * (rows - min(relevant, rows))
    exact = oracle.expected(lambda order: oracle.ap([s > 0 for s in order], sum(values), k), [0] * rows, values)
    found = metrics.random_average_precision(np.array([rows]), np.array([sum(values)]), k)[0]
    assert found == pytest.approx(float(exact), abs=1e-12)


def test_random_order_of_many_rows_is_what_shuffling_gives() -> None:
    rng = np.random.default_rng(0)
    rows, relevant = 2000, 300
    base = np.arange(rows) < relevant
    ranks = (np.flatnonzero(rng.permutation(base)) + 1 for _ in range(400))
    seen = [np.mean(np.arange(1, relevant + 1) / each) for each in ranks]
    found = metrics.random_average_precision(np.array([rows]), np.array([relevant]))[0]
    assert found == pytest.approx(np.mean(seen), abs=4 * np.std(seen) / 20)
    assert found > relevant / rows


def test_hits_in_a_wide_cut_group_keep_their_digits() -> None:
    """The first k ranks end inside a group of 60,000 rows: the sum over hypergeometric hits in exact fractions."""
    from math import comb

    n, r, k = 60_000, 20_000, 40
    exact = Fraction(0)
    for h in range(1, k + 1):
        # h relevant among k ranks in random order: sum of precisions by the same closed form, in fractions.
        slope = Fraction(h - 1, k - 1)
        precisions = Fraction(h, k) * sum((1 + (i - 1) * slope) / i for i in range(1, k + 1))
        exact += Fraction(comb(r, h) * comb(n - r, k - h), comb(n, k)) * precisions / h
    groups = Groups(np.array([[n]]), np.array([[r]]), np.zeros((1, 1)))
    assert metrics.average_precision(groups, np.array([r]), k, "hits")[0] == pytest.approx(float(exact), rel=1e-12)


@quick
@given(st.integers(0, 5000), st.integers(0, 5000))
def test_harmonic_differences_keep_their_digits(a: int, more: int) -> None:
    if more < 300:
        wanted = float(sum((Fraction(1, i) for i in range(a + 1, a + more + 1)), Fraction(0)))
    else:
        # Telescoped from pieces that the other branch checks exactly.
        middle = a + more // 2
        wanted = metrics.harmonic_difference(np.array([a, middle]), np.array([middle, a + more])).sum()
    found = metrics.harmonic_difference(np.array([a]), np.array([a + more]))[0]
    assert found == pytest.approx(wanted, rel=1e-12)


@quick
@given(st.integers(0, 2**32 - 1))
def test_mean_average_precision_on_codes(seed: int) -> None:
    """From packed codes and label vectors to the figure, against pairs compared one by one."""
    rng = np.random.default_rng(seed)
    queries, rows, classes = 4, 12, 3
    q, b = rng.integers(0, 2, (queries, 16)), rng.integers(0, 2, (rows, 16))
    q[:, 2:], b[:, 2:] = 0, 0  # two bits that differ: many ties
    lq, lb = (rng.integers(0, 2, (n, classes)).astype(np.uint8) for n in (queries, rows))
    q_codes, b_codes = np.packbits(q, axis=1), np.packbits(b, axis=1)
    if not (lq @ lb.T).any():
        with pytest.raises(InputError, match="no query shares a label"):
            metrics.mean_average_precision(q_codes, b_codes, lq, lb)
        return
    by_hand = np.mean(oracle.expected_aps(q_codes, b_codes, lq, lb))
    assert metrics.mean_average_precision(q_codes, b_codes, lq, lb) == pytest.approx(float(by_hand), abs=1e-12)


@quick
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_rows_and_queries_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q, b = rng.integers(0, 256, (5, 4), dtype=np.uint8), rng.integers(0, 256, (40, 4), dtype=np.uint8)
    lq, lb = np.eye(3, dtype=np.uint8)[rng.integers(0, 3, 5)], np.eye(3, dtype=np.uint8)[np.arange(40) % 3]
    at, qt = rng.permutation(40), rng.permutation(5)
    one = metrics.mean_average_precision(q, b, lq, lb)
    assert metrics.mean_average_precision(q[qt], b[at], lq[qt], lb[at]) == pytest.approx(one, abs=1e-12)


def test_queries_without_a_relevant_row_are_left_out_of_the_mean() -> None:
    codes, labels = np.zeros((2, 1), np.uint8), np.array([[1, 0], [1, 0]], np.uint8)
    assert metrics.mean_average_precision(codes, codes, labels, labels) == pytest.approx(1.0)
    one_finds_nothing = np.array([[1, 0], [0, 1]], np.uint8)
    assert metrics.mean_average_precision(codes, codes, one_finds_nothing, labels) == pytest.approx(1.0)
    assert metrics.average_precision(groups_of([(0, 0)]), np.array([0]))[0] == 0.0


CODES, LABELS = np.zeros((3, 2), np.uint8), np.ones((3, 4), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((CODES, CODES[:, :1], LABELS, LABELS), "16 bits, the database of 8"),
        ((CODES, CODES, LABELS, LABELS[:, :3]), "4 classes, the database 3"),
        ((CODES, CODES, LABELS[:2], LABELS), "3 query codes, but 2 rows"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: tuple[np.ndarray, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        metrics.mean_average_precision(*arrays)
