"""Joint histograms against comparing every pair."""

from __future__ import annotations

import numpy as np
import pytest
from support.ranking_oracle import hamming

from milvus_ichash.evaluation import histograms
from milvus_ichash.evaluation.histograms import LabelSets, joint_histograms, max_shared

Sides = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def random_sides(queries: int, rows: int, size: int, classes: int, seed: int = 0) -> Sides:
    """Codes of `size` bytes and labels of queries and rows, as `joint_histograms` takes them."""
    rng = np.random.default_rng(seed)
    codes = [rng.integers(0, 256, (n, size), dtype=np.uint8) for n in (queries, rows)]
    labels = [(rng.random((n, classes)) < 0.3).astype(np.uint8) for n in (queries, rows)]
    return *codes, *labels


def pair_by_pair(q: np.ndarray, b: np.ndarray, lq: np.ndarray, lb: np.ndarray, levels: int) -> np.ndarray:
    counts = np.zeros((len(q), q.shape[1] * 8 + 1, levels), np.int64)
    for i in range(len(q)):
        for j in range(len(b)):
            counts[i, hamming(q[i], b[j]), min(int(lq[i].astype(int) @ lb[j].astype(int)), levels - 1)] += 1
    return counts


@pytest.mark.parametrize("size", [1, 2, 3, 8, 12, 16, 32])
@pytest.mark.parametrize("classes", [1, 5, 64, 81, 200])
def test_every_pair_is_counted_once(size: int, classes: int) -> None:
    sides = random_sides(5, 30, size, classes, seed=size * 1000 + classes)
    levels = max_shared(*sides[2:]) + 1
    assert np.array_equal(joint_histograms(*sides), pair_by_pair(*sides, levels))
    assert np.array_equal(joint_histograms(*sides, graded=False), pair_by_pair(*sides, 2))


def test_all_bits_and_all_labels_differ_or_agree() -> None:
    """The corners of the histogram: distance 0 and 256, no label and 300 labels shared (more than a byte holds)."""
    q, b = np.zeros((1, 32), np.uint8), np.array([[0] * 32, [255] * 32], np.uint8)
    lq, lb = np.ones((1, 300), np.uint8), np.array([[1] * 300, [0] * 300], np.uint8)
    counts = joint_histograms(q, b, lq, lb)
    assert counts.shape == (1, 257, 301)
    assert counts[0, 0, 300] == counts[0, 256, 0] == 1 and counts.sum() == 2


def test_blocks_of_rows_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = random_sides(4, 100, 4, 6)
    whole = joint_histograms(*sides)
    monkeypatch.setattr(histograms, "_ROWS", 7)
    assert np.array_equal(joint_histograms(*sides), whole)


def test_nothing_on_either_side() -> None:
    q, b, lq, lb = np.zeros((3, 2), np.uint8), np.zeros((4, 2), np.uint8), np.ones((3, 4), np.uint8), np.ones((4, 4))
    assert joint_histograms(q[:0], b, lq[:0], lb).shape == (0, 17, 2)
    assert not joint_histograms(q, b[:0], lq, lb[:0]).any()


def test_arrays_in_any_memory_order_and_label_type() -> None:
    q, b, lq, lb = random_sides(4, 9, 4, 6, seed=1)
    turned = np.asfortranarray(q), np.asfortranarray(b), lq.astype(bool), lb.astype(np.float32)
    assert np.array_equal(joint_histograms(*turned), joint_histograms(q, b, lq, lb))


def test_shared_labels_of_one_query() -> None:
    labels = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]], np.uint8)
    assert LabelSets(labels).shared_with(np.array([1, 1, 1], np.uint8)).tolist() == [2, 1, 0]
