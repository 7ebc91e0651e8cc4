"""Recall by distance, and the scores of lists that were cut, against doing it by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ranking_oracle as oracle

from milvus_ichash.evaluation.database import Database
from milvus_ichash.evaluation.metrics import recall_at
from milvus_ichash.evaluation.retriever import Retriever
from milvus_ichash.evaluation.scores import score

DISTANCES = st.lists(st.integers(0, 8), min_size=1, max_size=12)


def at_distance(distances: list[int]) -> np.ndarray:
    """Number of rows at each distance from one query."""
    return np.bincount(np.array(distances, int), minlength=9)[None, :]


def recall(k: int, found: list[int], everything: list[int]) -> float:
    return float(recall_at(k, at_distance(found), at_distance(everything))[0])


@given(st.data(), DISTANCES, st.integers(1, 15))
def test_recall_counts_rows_that_are_as_near_as_the_kth(data: st.DataObject, everything: list[int], k: int) -> None:
    kept = sorted(data.draw(st.lists(st.sampled_from(range(len(everything))), unique=True)))
    found = sorted(everything[i] for i in kept)
    kth_distance = sorted(everything)[min(k, len(everything)) - 1]
    by_hand = sum(d <= kth_distance for d in found[:k]) / min(k, len(everything))
    value = recall(k, found, everything)
    assert value == pytest.approx(by_hand) and 0 <= value <= 1
    # One more row found never lowers it, and all of them make it 1.
    for more in set(range(len(everything))) - set(kept):
        assert recall(k, [*found, everything[more]], everything) >= value
    assert recall(k, everything, everything) == 1


@pytest.mark.parametrize(("found", "expected"), [([1, 3], 1), ([3, 3], 1), ([1], 0.5)])
def test_ties_at_the_last_distance_are_no_misses(found: list[int], expected: float) -> None:
    """[3, 3] are as near as the second, and two of them."""
    assert recall(2, found, [1, 3, 3, 3, 3]) == expected


class Returned(Retriever):
    """One list that was returned, whatever was asked."""

    bits = 8

    def __init__(self, labels: np.ndarray, rows: np.ndarray, distances: np.ndarray) -> None:
        ids = np.arange(len(labels))
        self.database = Database(ids, labels, None, np.ones((len(ids), 1), bool), ("image",), {})
        self._list = rows, distances

    def found(self, code: str, query_codes: np.ndarray, required: Sequence[str]) -> Iterator[tuple]:
        yield self._list


@pytest.mark.parametrize("ties", ["expected", "stable"])
@pytest.mark.parametrize("seed", range(5))
def test_scores_of_a_cut_list_are_held_against_all_rows(ties: str, seed: int) -> None:
    """The rows returned in every order that ties allow; those that were not returned are misses."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((30, 3)) < 0.4).astype(np.uint8)
    query = np.array([1, 1, 0], np.uint8)
    rows = np.sort(rng.permutation(30)[:7])
    distances = np.sort(rng.integers(0, 3, 7)).astype(np.int32)
    everything = (labels @ query).astype(int)
    (ranked,) = Returned(labels, rows, distances).ranked("code", np.zeros((1, 1), np.uint8), query[None, :], (), ties)
    found = score(ranked, (4, 20), "min(R,k)")
    shared, relevant_in_all = everything[rows].tolist(), int((everything > 0).sum())
    in_no_order = [0, 1, 2, 3, 4, 5, 6] if ties == "stable" else distances.tolist()

    def mean(metric) -> float:
        return float(oracle.expected(metric, in_no_order, shared))

    for name, by_hand in {
        "mAP@all": mean(lambda order: oracle.ap([s > 0 for s in order], relevant_in_all)),
        "mAP@4": mean(lambda order: oracle.ap([s > 0 for s in order], relevant_in_all, 4)),
        "mAP@20": mean(lambda order: oracle.ap([s > 0 for s in order], relevant_in_all, 20)),
        "P@20": mean(lambda order: oracle.precision([s > 0 for s in order], 20)),
        "NDCG@4": mean(lambda order: oracle.ndcg(order, everything.tolist(), 4)),
    }.items():
        assert found.values[name][0] == pytest.approx(by_hand, abs=1e-12), name
    assert found.missing.tolist() == [[23, relevant_in_all - sum(s > 0 for s in shared)]]
