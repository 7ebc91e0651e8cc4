"""Recall of the rows that a search returns against the exact ranking, by distance."""

from __future__ import annotations

import numpy as np

from milvus_ichash.evaluation.histograms import Counts
from milvus_ichash.evaluation.metrics import Floats


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
