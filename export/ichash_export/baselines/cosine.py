"""Cosine of the float features: each modality scaled to length 1, side by side; no hashing at all.

The features are taken as they are, as a user of a float index would: neither centred nor standardised. A modality that
an item lacks contributes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.metrics import Groups, average_precision
from milvus_ichash.features import Features, FeatureTable, MultiHot

_QUERIES = 64
"""Number of queries that are ranked at a time, so that the scores take little memory."""
_STEP = 2.0**-20
"""Scores are rounded to multiples of this, because float32 products do not tell smaller differences apart."""


def fit(train: FeatureTable, bits: int, seed: int) -> Callable[[FeatureTable], dict[str, Features]]:
    """Return the function that embeds a table; there is nothing to learn."""
    return lambda table: {"code": unit_features(table)}


def unit_features(table: FeatureTable) -> Features:
    """Return float32 (N, sum of D_m): every modality scaled to length 1, missing ones zero, the whole scaled to length
    1."""
    parts = [_unit(np.where(table.present[:, [i]], x, 0)) for i, x in enumerate(table.features.values())]
    return _unit(np.concatenate(parts, axis=1))


def mean_ap(queries: Features, database: Features, query_labels: MultiHot, labels: MultiHot) -> float:
    """Return the mAP@all of a ranking by scalar product, exact but for the rounding of scores (`_STEP`).

    Rows with equal scores count with the expected value over all their orders.

    Args:
        queries: float32 (Q, D), rows of length 1 at most.
        database: float32 (N, D), rows of length 1 at most.
        query_labels: multi-hot, uint8 (Q, C). A row is relevant where it shares a label with the query.
        labels: multi-hot, uint8 (N, C).

    Raises:
        InputError: no query has a relevant row.
    """
    ours, theirs = query_labels.astype(np.float32), labels.astype(np.float32).T
    total, counted = 0.0, 0
    for start in range(0, len(queries), _QUERIES):
        block = slice(start, start + _QUERIES)
        groups = _ranked(queries[block] @ database.T, ours[block] @ theirs > 0)
        relevant = groups.relevant.sum(axis=1)
        total += float(average_precision(groups, relevant).sum())
        counted += int(np.count_nonzero(relevant))
    if not counted:
        raise InputError("no query shares a label with any row of the database: there is no mean average precision.")
    return total / counted


def _ranked(scores: Features, relevant: npt.NDArray[np.bool_]) -> Groups:
    """Rank the rows of the database from the highest score to the lowest, (Q, N), with one group per distinct score."""
    # Score and relevance in one whole number: sorting numbers is many times faster than sorting an order of them.
    keys = np.sort(-np.rint(scores / _STEP).astype(np.int32) * 2 + relevant, axis=1)
    hits, keys = keys & 1, keys >> 1
    starts = np.concatenate([np.ones((len(keys), 1), np.bool_), keys[:, 1:] != keys[:, :-1]], axis=1)
    group = (np.cumsum(starts, axis=1) - 1) + np.arange(len(keys))[:, None] * keys.shape[1]
    rows = np.bincount(group.ravel(), minlength=keys.size).reshape(keys.shape)
    found = np.bincount(group[hits == 1], minlength=keys.size).reshape(keys.shape)
    return Groups(rows, found, found.astype(np.float64))


def _unit(x: Features) -> Features:
    """Scale rows to length 1; rows of zeros stay as they are."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return (x / np.where(length > 0, length, 1)).astype(np.float32)
