"""How an evaluation measures: which rows count, how ties are broken, and at which ranks."""

from __future__ import annotations

from dataclasses import dataclass

from milvus_ichash.choices import DatabasePart, Ties
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.metrics import Normalisation

_LAST_RANK = 2**31 - 1


@dataclass(frozen=True)
class EvaluationSettings:
    """How to measure: which rows count, how ties are broken, and at which ranks.

    Attributes:
        part: the rows of the database that count, "observed" (the default), "all" or "complete"
            (`choices.DatabasePart`).
        ties: how rows at the same distance are ordered. "expected" orders them in every way and takes the mean of the
            metric; "stable" orders them by id.
        at_k: ranks at which mAP@k, P@k and NDCG@k are taken, each at least 1.
        normalisation: what mAP@k divides by: "min(R,k)", where R is the number of relevant rows, or "hits", the number
            of relevant rows among the first k.
        query_pdr: share of the queries from which one modality is hidden, from 0 (none) up to, but not including, 1
            (`incomplete.pdr_mask`).
        seed: random seed for `query_pdr`.

    Raises:
        InputError: a rank below 1, or beyond any database; a negative seed.
    """

    part: DatabasePart = "observed"
    ties: Ties = "expected"
    at_k: tuple[int, ...] = (50,)
    normalisation: Normalisation = "min(R,k)"
    query_pdr: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"a random seed of {self.seed} cannot be: take a whole number from 0.")
        for k in self.at_k:
            if not 1 <= k <= _LAST_RANK:
                raise InputError(f"metrics at rank {k} do not exist: ranks count from 1 to {_LAST_RANK:,}.")
