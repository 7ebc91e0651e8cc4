"""The scores of rankings: every metric for each query, before the means over the queries are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from milvus_ichash.evaluation import metrics
from milvus_ichash.evaluation.histograms import Counts
from milvus_ichash.evaluation.metrics import Floats, Normalisation
from milvus_ichash.evaluation.retriever import NEAR, Ranked

MAP = "mAP@all"
RANDOM = "random"
"""The mAP@all of a random order, as tables call it."""


@dataclass(frozen=True)
class Scores:
    """The figures of Q queries.

    Attributes:
        values: float64 (Q,) by the metric's name.
        precision: float64 (Q, levels), precision at each of `metrics.RECALL_LEVELS`.
        random_precision: float64 (Q,), precision of a random order, which is the same at every level of recall.
        missing: int64 (Q, 2), number of rows that were not returned, and of relevant rows among them.
        near: int64 (Q,), number of rows within radius 2.
    """

    values: dict[str, Floats]
    precision: Floats
    random_precision: Floats
    missing: Counts
    near: Counts

    @classmethod
    def concat(cls, parts: Sequence[Scores]) -> Scores:
        """Return the scores of several blocks of queries, at least one, as one."""
        return cls(
            values={name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values},
            precision=np.concatenate([part.precision for part in parts]),
            random_precision=np.concatenate([part.random_precision for part in parts]),
            missing=np.concatenate([part.missing for part in parts]),
            near=np.concatenate([part.near for part in parts]),
        )


def score(ranked: Ranked, at_k: Sequence[int], normalisation: Normalisation) -> Scores:
    """Return all metrics of a block of queries.

    Args:
        ranked: their rankings.
        at_k: ranks at which mAP@k, P@k and NDCG@k are taken.
        normalisation: what mAP@k divides by (`metrics.average_precision`).
    """
    groups, shared = ranked.groups, ranked.shared
    rows, relevant = shared.sum(axis=1), shared[:, 1:].sum(axis=1)
    values = {
        MAP: metrics.average_precision(groups, relevant),
        RANDOM: metrics.random_average_precision(rows, relevant),
    }
    for k in at_k:
        values[f"mAP@{k}"] = metrics.average_precision(groups, relevant, k, normalisation)
        values[f"P@{k}"] = metrics.precision_at(groups, k)
        values[f"NDCG@{k}"] = metrics.ndcg_at(groups, shared, k)
    near = ranked.returned[:, : NEAR + 1].sum(axis=1)
    # A lookup that finds nothing has precision 0, as it is usually counted.
    values[f"P@r<={NEAR}"] = ranked.near_relevant / np.maximum(near, 1)
    returned = np.stack([groups.rows.sum(axis=1), groups.relevant.sum(axis=1)], axis=1)
    return Scores(
        values=values,
        precision=metrics.precision_at_recall(groups, relevant),
        random_precision=(relevant + 1) / (rows + 1),
        missing=np.stack([rows, relevant], axis=1) - returned,
        near=near,
    )
