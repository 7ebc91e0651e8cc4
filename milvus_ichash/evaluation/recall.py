"""Recall of the lists that a search returns against the exact ranking, by distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from milvus_ichash.evaluation.histograms import Counts
from milvus_ichash.evaluation.metrics import Floats
from milvus_ichash.evaluation.retriever import Distances


def kth_distance(within: Counts, k: int) -> Counts:
    """Distance of the k-th row (of the last one, where there are fewer) from the rows within each distance: (Q, distances) -> (Q,)."""
    return np.asarray((within < np.minimum(k, within[:, -1:])).sum(axis=1))


def recall_at(k: int, distances: Sequence[Distances], reach: Counts, rows: int) -> Floats:
    """Recall@k of each query, by distance: the share of the exact first k that a list has a row for that is as near.

    The rows at the exact k-th distance are tied, and which of them are among the first k is chance: so a row counts
    where its distance is at most the exact k-th one, not where it is one of k certain rows. Of k = 10 and an exact 10th
    distance of 7, a list with nine rows within 7 has recall 0.9, whichever they are.

    Args:
        k: rank.
        distances: of the rows that each query was given, sorted: (returned,).
        reach: int (Q,), the exact k-th distance (`kth_distance`).
        rows: rows that there are; where they are fewer than k, all of them should be found.
    """
    hits = np.array(
        [np.searchsorted(found[:k], far, side="right") for found, far in zip(distances, reach, strict=True)]
    )
    return np.asarray(hits / min(k, rows))
