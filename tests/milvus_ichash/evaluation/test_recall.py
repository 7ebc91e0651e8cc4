"""Recall by distance, and the scores of lists that were cut, against doing it by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ranking_oracle as oracle

from milvus_ichash.evaluation.histograms import LabelSets
from milvus_ichash.evaluation.recall import kth_distance, recall_at
from milvus_ichash.evaluation.retriever import counted
from milvus_ichash.evaluation.scores import score

DISTANCES = st.lists(st.integers(0, 8), min_size=1, max_size=12)


def reach_of(everything: list[int], k: int) -> np.ndarray:
    return kth_distance(np.cumsum(np.bincount(everything, minlength=9))[None, :], k)


@given(DISTANCES, st.integers(1, 15))
def test_the_kth_distance_is_that_of_the_sorted_list(everything: list[int], k: int) -> None:
    assert reach_of(everything, k).tolist() == [sorted(everything)[min(k, len(everything)) - 1]]


@given(st.data(), DISTANCES, st.integers(1, 15))
def test_recall_counts_rows_that_are_as_near_as_the_kth(data: st.DataObject, everything: list[int], k: int) -> None:
    kept = sorted(data.draw(st.lists(st.sampled_from(range(len(everything))), unique=True)))
    found = np.array(sorted(everything[i] for i in kept), np.int32)
    reach = reach_of(everything, k)
    by_hand = sum(d <= sorted(everything)[min(k, len(everything)) - 1] for d in found[:k]) / min(k, len(everything))
    recall = recall_at(k, [found], reach, len(everything))[0]
    assert recall == pytest.approx(by_hand) and 0 <= recall <= 1
    # One more row found never lowers it, and all of them make it 1.
    for more in set(range(len(everything))) - set(kept):
        larger = np.array(sorted([*found.tolist(), everything[more]]), np.int32)
        assert recall_at(k, [larger], reach, len(everything))[0] >= recall
    assert recall_at(k, [np.array(sorted(everything), np.int32)], reach, len(everything))[0] == 1


def test_ties_at_the_last_distance_are_no_misses() -> None:
    everything = [1, 3, 3, 3, 3]
    assert recall_at(2, [np.array([1, 3])], reach_of(everything, 2), 5)[0] == 1
    assert recall_at(2, [np.array([3, 3])], reach_of(everything, 2), 5)[0] == 1, (
        "as near as the second, and two of them"
    )
    assert recall_at(2, [np.array([1])], reach_of(everything, 2), 5)[0] == 0.5


@pytest.mark.parametrize("ties", ["expected", "stable"])
@pytest.mark.parametrize("seed", range(5))
def test_scores_of_a_cut_list_are_held_against_all_rows(ties: str, seed: int) -> None:
    """The rows returned in every order that ties allow; those that were not returned are misses."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((30, 3)) < 0.4).astype(np.uint8)
    query = np.array([1, 1, 0], np.uint8)
    rows = np.sort(rng.permutation(30)[:7])
    distances = np.sort(rng.integers(0, 3, 7)).astype(np.int32)
    sets = LabelSets(labels)
    everything = (labels @ query).astype(int)
    there = np.bincount(everything, minlength=4)
    (ranked,) = counted([(rows, distances)], sets, query[None, :], [there], ties, 8)
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
