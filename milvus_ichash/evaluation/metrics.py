"""Retrieval metrics over rankings with ties, in closed form.

A ranking is a sequence of groups of rows. The order of the groups is known, the order inside a group is not: every
order is equally likely, and a metric is its expected value over all orders (McSherry and Najork, "Computing Information
Retrieval Performance Measures Efficiently in the Presence of Tied Scores", ECIR 2008). With one group for each Hamming
distance that is the tie-aware metric; with one row in each group it is the ordinary one. So the same formulas serve
both.

Rows that a retriever did not return are in no group. They count as misses, since recall is measured against all
relevant rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from milvus_ichash.codes import Codes
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.histograms import Counts, joint_histograms
from milvus_ichash.features import MultiHot

Floats = npt.NDArray[np.float64]
Normalisation = Literal["min(R,k)", "hits"]

RECALL_LEVELS = tuple(range(0, 101, 5))
"""Recall in per cent of the relevant rows; 0 stands for the first relevant row."""


@dataclass(frozen=True)
class Groups:
    """The ranked rows of Q queries in G groups; a group may be empty.

    Attributes:
        rows: int64 (Q, G), number of rows in each group.
        relevant: int64 (Q, G), number of rows in each group that share a label with the query.
        gain: float64 (Q, G), sum of the gains of a group's rows (`gains`).
    """

    rows: Counts
    relevant: Counts
    gain: Floats

    @classmethod
    def from_histograms(cls, counts: Counts) -> Groups:
        """Return one group for each distance, from int64 (Q, distances, levels) as `joint_histograms` counts them."""
        return cls(counts.sum(2), counts[:, :, 1:].sum(2), counts @ gains(counts.shape[2]))

    @classmethod
    def from_order(cls, shared: npt.NDArray[np.integer]) -> Groups:
        """Return one group for each row, from the number of labels shared at each rank: (Q, ranks)."""
        return cls(
            np.ones(shared.shape, np.int64),
            (shared > 0).astype(np.int64),
            gains(int(shared.max(initial=0)) + 1)[shared],
        )


def gains(levels: int) -> Floats:
    """Return the gain of a row by the number of labels shared with the query: 2^shared - 1, float64 (levels,)."""
    return np.asarray(np.exp2(np.arange(levels)) - 1)


def average_precision(
    groups: Groups, relevant: Counts, k: int | None = None, normalisation: Normalisation = "min(R,k)"
) -> Floats:
    """Return the expected average precision of each query: float64 (Q,), 0 where nothing is relevant.

    Args:
        groups: the ranking.
        relevant: int64 (Q,), number R of relevant rows in the database, returned or not.
        k: count the first k ranks only (AP@k); None: all ranks.
        normalisation: AP@k divides the sum of precisions by min(R, k), or by the number of relevant rows among the
            first k.
    """
    before = np.cumsum(groups.rows, axis=1) - groups.rows
    found = np.cumsum(groups.relevant, axis=1) - groups.relevant
    taken = groups.rows if k is None else np.clip(k - before, 0, groups.rows)
    if k is not None and normalisation == "hits":
        return _average_precision_by_hits(groups, before, found, taken)
    return _ratio(_total(groups, before, found, taken), relevant if k is None else np.minimum(relevant, k))


def _total(groups: Groups, before: Counts, found: Counts, taken: Counts) -> Floats:
    """Return the expected sum of the precisions at the relevant rows among the first `taken` of each group: (Q,)."""
    at = np.nonzero((groups.relevant > 0) & (taken > 0))
    sums = _precision_sum(groups.rows[at], groups.relevant[at], before[at], found[at], taken[at])
    return np.asarray(np.bincount(at[0], weights=sums, minlength=len(taken)), np.float64)


def _precision_sum(rows: Counts, relevant: Counts, before: Counts, found: Counts, taken: Counts) -> Floats:
    """Return the expected sum of the precisions at the relevant rows among the first `taken` of one group.

    Rank i of a group of n rows, r of them relevant, is relevant with probability r/n, and then (i-1)(r-1)/(n-1) of the
    ranks before it in the group are. With N rows and R relevant ones in earlier groups the sum over i = 1..m of

        r/n * (R + 1 + (i-1) s) / (N + i),   s = (r-1)/(n-1)

    is r/n * (s m + (R + 1 - s (N + 1)) (H(N+m) - H(N))), where H are the harmonic numbers.
    """
    slope = (relevant - 1) / np.maximum(rows - 1, 1)
    inner = slope * taken + (found + 1 - slope * (before + 1)) * harmonic_difference(before, before + taken)
    return np.asarray(relevant / rows * inner)


def _average_precision_by_hits(groups: Groups, before: Counts, found: Counts, taken: Counts) -> Floats:
    """Return E[sum of precisions / hits], also where rank k lies inside a group of which the first m rows are taken.

    The number h of hits among these m rows is hypergeometric; given h, the relevant rows among them are again in random
    order.
    """
    partly = (taken > 0) & (taken < groups.rows)
    whole = np.where(partly, 0, taken)
    total = _total(groups, before, found, whole)
    hits = np.where(whole > 0, groups.relevant, 0).sum(axis=1)
    result = _ratio(total, hits)
    for q, g in np.argwhere(partly):
        m, n, r = int(taken[q, g]), int(groups.rows[q, g]), int(groups.relevant[q, g])
        h = np.arange(max(0, m - (n - r)), min(m, r) + 1)
        inside = _precision_sum(
            np.full_like(h, m), h, np.full_like(h, before[q, g]), np.full_like(h, found[q, g]), np.full_like(h, m)
        )
        result[q] = _hypergeometric(h, n, r, m) @ _ratio(total[q] + inside, hits[q] + h)
    return result


def _hypergeometric(hits: Counts, n: int, r: int, m: int) -> Floats:
    """Return the probabilities of these consecutive numbers of hits among m of n rows, r of the n relevant."""
    h = hits[:-1].astype(float)
    # Each probability from the one before, as their ratio is simple.
    logs = np.concatenate([[0.0], np.cumsum(np.log((r - h) * (m - h) / ((h + 1) * (n - r - m + h + 1))))])
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def precision_at(groups: Groups, k: int) -> Floats:
    """Return the expected precision among the first k ranks: float64 (Q,). Ranks that were not returned are misses."""
    before = np.cumsum(groups.rows, axis=1) - groups.rows
    taken = np.clip(k - before, 0, groups.rows)
    return np.asarray((_ratio(groups.relevant, groups.rows) * taken).sum(axis=1) / k)


def ndcg_at(groups: Groups, shared: Counts, k: int) -> Floats:
    """Return the expected NDCG@k of each query: float64 (Q,), 0 where nothing is relevant.

    The gain is 2^shared - 1, the discount 1 / log2(1 + rank).

    Args:
        groups: the ranking.
        shared: int64 (Q, levels), number of database rows by the number of labels shared with the query, from which the
            ideal ranking follows.
        k: count the first k ranks only.
    """
    best_first = shared[:, ::-1]
    ideal = _discounted(best_first, best_first * gains(shared.shape[1])[::-1], k)
    return _ratio(_discounted(groups.rows, groups.gain, k), ideal)


def _discounted(rows: Counts, gain: Floats, k: int) -> Floats:
    discount = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    end = np.cumsum(rows, axis=1)
    ranks = discount[np.minimum(end, k)] - discount[np.minimum(end - rows, k)]
    return np.asarray((_ratio(gain, rows) * ranks).sum(axis=1))


def precision_at_recall(groups: Groups, relevant: Counts, levels: tuple[int, ...] = RECALL_LEVELS) -> Floats:
    """Return the precision at each level of recall: float64 (Q, levels).

    It is j over the expected rank of the j-th relevant row, where j is the level (in per cent) of the relevant rows,
    rounded up, at least 1. In a group of n rows, r of them relevant, the t-th relevant one stands at rank t (n+1)/(r+1)
    on average. At levels that the ranking does not reach, precision is 0.
    """
    wanted = np.maximum(1, -(-relevant[:, None] * np.array(levels) // 100))
    end = np.cumsum(groups.relevant, axis=1)
    group = (end[:, :, None] < wanted[:, None, :]).sum(axis=1)
    reached = group < end.shape[1]
    group = np.minimum(group, end.shape[1] - 1)
    rows, hits = (np.take_along_axis(x, group, axis=1) for x in (groups.rows, groups.relevant))
    before = np.take_along_axis(np.cumsum(groups.rows, axis=1), group, axis=1) - rows
    inside = wanted - (np.take_along_axis(end, group, axis=1) - hits)
    return np.where(reached, wanted / (before + inside * (rows + 1) / (hits + 1)), 0.0)


def recall_at(k: int, returned: Counts, existing: Counts) -> Floats:
    """Return the recall@k of each query, by distance, from 0 to 1: float64 (Q,).

    Recall@k is the share of the exact first k rows that the search has a row for that is as near. The rows at the exact
    k-th distance are tied, and which of them are among the first k is chance: so a row counts where its distance is at
    most the exact k-th one, whichever row it is. Where fewer than k rows exist, all of them should be returned.

    Args:
        k: the rank, at least 1.
        returned: int64 (Q, distances), number of rows at each distance from the query that the search returned.
        existing: int64 (Q, distances), number of rows at each distance that exist, at least one for each query.

    Example:
        With k = 10 and an exact 10th distance of 7, a search that returns nine rows within distance 7 has recall 0.9.
    """
    within = np.cumsum(existing, axis=1)
    wanted = np.minimum(k, within[:, -1])
    kth_distance = (within < wanted[:, None]).sum(axis=1)
    found = np.take_along_axis(np.cumsum(returned, axis=1), kth_distance[:, None], axis=1)[:, 0]
    return np.asarray(np.minimum(found, wanted) / wanted)


def random_average_precision(rows: Counts, relevant: Counts, k: int | None = None) -> Floats:
    """Return the expected average precision of a random order of the database: float64 (Q,).

    That is the ranking of one group which holds all rows. With R relevant of N rows, AP@all is s + (1 - s) H(N) / N,
    s = (R-1)/(N-1): a little more than R/N.

    Args:
        rows: int64 (Q,), number N of rows that each query is compared with.
        relevant: int64 (Q,), number R of relevant rows among them.
        k: as in `average_precision`.
    """
    return average_precision(Groups(rows[:, None], relevant[:, None], np.zeros((len(rows), 1))), relevant, k)


def mean_average_precision(
    query_codes: Codes, database_codes: Codes, query_labels: MultiHot, database_labels: MultiHot
) -> float:
    """Return the tie-aware mAP over the whole database, from 0 to 1.

    A row is relevant where it shares a label with the query. Queries without any relevant row are left out of the mean.

    Args:
        query_codes: uint8 (Q, bits / 8).
        database_codes: uint8 (N, bits / 8).
        query_labels: uint8 (Q, C).
        database_labels: uint8 (N, C).

    Raises:
        InputError: the arrays do not fit each other, or no query has a relevant row.

    Example:
        >>> mean_average_precision(codes[:10], codes[10:], labels[:10], labels[10:])
    """
    groups = Groups.from_histograms(
        joint_histograms(query_codes, database_codes, query_labels, database_labels, graded=False)
    )
    relevant = groups.relevant.sum(axis=1)
    if not relevant.any():
        raise InputError("no query shares a label with any row of the database: there is no mean average precision.")
    return float(average_precision(groups, relevant)[relevant > 0].mean())


_EXACT = 32
_SMALL = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, _EXACT + 1))])


def harmonic_difference(a: Counts, b: Counts) -> Floats:
    """Return H(b) - H(a) of the harmonic numbers, 0 <= a <= b, without the digits that are lost by subtracting them."""
    small = _SMALL[np.minimum(b, _EXACT)] - _SMALL[np.minimum(a, _EXACT)]
    # From 32 on, more terms of the asymptotic series would not change a float64:
    # H(n) = ln n + const + 1/2n - 1/12n^2 + 1/120n^4 - 1/252n^6.
    u, v = np.maximum(a, _EXACT), np.maximum(b, _EXACT)
    return np.asarray(small + np.log1p((v - u) / u) + _tail(1 / v) - _tail(1 / u))


def _tail(x: Floats) -> Floats:
    square = x * x
    return x / 2 - square * (1 / 12 - square * (1 / 120 - square / 252))


def _ratio(a: npt.NDArray[np.number], b: npt.NDArray[np.number]) -> Floats:
    """Return a / b, and 0 where b is 0 (an empty group, a query without relevant rows)."""
    out: Floats = np.zeros(np.broadcast_shapes(a.shape, b.shape))
    np.divide(a, b, out=out, where=b > 0)
    return out
