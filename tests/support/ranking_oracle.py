"""Retrieval metrics the slow and obvious way: on a list in order, and averaged over every order that ties allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import groupby, permutations, product
from math import log2

import numpy as np


def ap(relevant: Sequence[bool], total: int, k: int | None = None, by_hits: bool = False) -> Fraction:
    """Average precision of rows in order; `total` rows are relevant in the database."""
    hits, precisions = 0, Fraction(0)
    for rank, is_relevant in enumerate(relevant[:k], start=1):
        if is_relevant:
            hits += 1
            precisions += Fraction(hits, rank)
    divisor = hits if by_hits else min(total, k or total)
    return precisions / divisor if divisor else Fraction(0)


def precision(relevant: Sequence[bool], k: int) -> Fraction:
    return Fraction(sum(relevant[:k]), k)


def dcg(shared: Sequence[int], k: int) -> float:
    return sum((2**s - 1) / log2(1 + rank) for rank, s in enumerate(shared[:k], start=1))


def ndcg(shared: Sequence[int], everything: Sequence[int], k: int) -> float:
    best = dcg(sorted(everything, reverse=True), k)
    return dcg(shared, k) / best if best else 0.0


def rank_of(relevant: Sequence[bool], j: int) -> int:
    """Rank of the j-th relevant row."""
    return [rank for rank, is_relevant in enumerate(relevant, start=1) if is_relevant][j - 1]


def orders(distances: Sequence[int], values: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The values in every order in which rows of these distances may come."""
    ranked = sorted(zip(distances, values, strict=True), key=lambda pair: pair[0])
    ties = [[value for _, value in group] for _, group in groupby(ranked, key=lambda pair: pair[0])]
    for chosen in product(*(list(permutations(tie)) for tie in ties)):
        yield tuple(value for tie in chosen for value in tie)


def expected(
    metric: Callable[[Sequence[int]], Fraction | float], distances: Sequence[int], values: Sequence[int]
) -> Fraction | float:
    """Mean of a metric over every order."""
    found = [metric(order) for order in orders(distances, values)]
    return sum(found) / len(found)


def expected_ap(distances: list[int], relevant: list[bool]) -> float:
    """Expected AP by pairs: a relevant row's expected precision from the rows before it and those it is tied with."""
    total = sum(relevant)
    value = Fraction(0)
    for d in sorted(set(distances)):
        before = [r for x, r in zip(distances, relevant, strict=True) if x < d]
        tied = [r for x, r in zip(distances, relevant, strict=True) if x == d]
        n, r = len(tied), sum(tied)
        for place in range(n if r else 0):
            others = Fraction(place * (r - 1), n - 1) if n > 1 else Fraction(0)
            value += Fraction(r, n) * (sum(before) + 1 + others) / (len(before) + place + 1)
    return float(value / total)


def expected_aps(
    query_codes: np.ndarray, codes: np.ndarray, query_labels: np.ndarray, labels: np.ndarray
) -> list[float]:
    """Expected AP of each query that has a relevant row, from all pairs of codes and labels."""
    found = []
    for code, wanted in zip(query_codes, query_labels, strict=True):
        relevant = (labels @ wanted > 0).tolist()
        if any(relevant):
            found.append(expected_ap([hamming(code, other) for other in codes], relevant))
    return found


def hamming(a: np.ndarray, b: np.ndarray) -> int:
    return int((np.unpackbits(a) != np.unpackbits(b)).sum())
