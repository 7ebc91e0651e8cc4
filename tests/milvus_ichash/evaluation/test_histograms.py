"""Joint histograms against comparing every pair."""

from __future__ import annotations

import numpy as np
import pytest

from milvus_ichash.evaluation import histograms
from milvus_ichash.evaluation.histograms import LabelSets, joint_histograms, max_shared


def pair_by_pair(q: np.ndarray, b: np.ndarray, lq: np.ndarray, lb: np.ndarray, levels: int) -> np.ndarray:
    counts = np.zeros((len(q), q.shape[1] * 8 + 1, levels), np.int64)
    for i in range(len(q)):
        for j in range(len(b)):
            distance = int((np.unpackbits(q[i]) != np.unpackbits(b[j])).sum())
            counts[i, distance, min(int(lq[i].astype(int) @ lb[j].astype(int)), levels - 1)] += 1
    return counts


@pytest.mark.parametrize("size", [1, 2, 3, 8, 12, 16, 32])
@pytest.mark.parametrize("classes", [1, 5, 64, 81, 200])
def test_every_pair_is_counted_once(size: int, classes: int) -> None:
    rng = np.random.default_rng(size * 1000 + classes)
    q, b = rng.integers(0, 256, (5, size), dtype=np.uint8), rng.integers(0, 256, (30, size), dtype=np.uint8)
    lq, lb = ((rng.random((n, classes)) < 0.3).astype(np.uint8) for n in (5, 30))
    levels = max_shared(lq, lb) + 1
    graded = joint_histograms(q, b, lq, lb)
    assert np.array_equal(graded, pair_by_pair(q, b, lq, lb, levels))
    assert np.array_equal(joint_histograms(q, b, lq, lb, graded=False), pair_by_pair(q, b, lq, lb, 2))


def test_all_bits_and_all_labels_differ_or_agree() -> None:
    """The corners of the histogram: distance 0 and 256, no label and 300 labels shared (more than a byte holds)."""
    q, b = np.zeros((1, 32), np.uint8), np.array([[0] * 32, [255] * 32], np.uint8)
    lq, lb = np.ones((1, 300), np.uint8), np.array([[1] * 300, [0] * 300], np.uint8)
    counts = joint_histograms(q, b, lq, lb)
    assert counts.shape == (1, 257, 301)
    assert counts[0, 0, 300] == counts[0, 256, 0] == 1 and counts.sum() == 2


def test_blocks_of_rows_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    q, b = rng.integers(0, 256, (4, 4), dtype=np.uint8), rng.integers(0, 256, (100, 4), dtype=np.uint8)
    lq, lb = ((rng.random((n, 6)) < 0.3).astype(np.uint8) for n in (4, 100))
    whole = joint_histograms(q, b, lq, lb)
    monkeypatch.setattr(histograms, "_ROWS", 7)
    assert np.array_equal(joint_histograms(q, b, lq, lb), whole)


def test_nothing_on_either_side() -> None:
    q, b = np.zeros((3, 2), np.uint8), np.zeros((4, 2), np.uint8)
    lq, lb = np.ones((3, 4), np.uint8), np.ones((4, 4), np.uint8)
    assert joint_histograms(q[:0], b, lq[:0], lb).shape == (0, 17, 2)
    assert not joint_histograms(q, b[:0], lq, lb[:0]).any()


def test_arrays_in_any_memory_order_and_label_type() -> None:
    rng = np.random.default_rng(1)
    q, b = rng.integers(0, 256, (4, 4), dtype=np.uint8), rng.integers(0, 256, (9, 4), dtype=np.uint8)
    lq, lb = ((rng.random((n, 6)) < 0.5).astype(np.uint8) for n in (4, 9))
    expected = joint_histograms(q, b, lq, lb)
    assert np.array_equal(
        joint_histograms(np.asfortranarray(q), np.asfortranarray(b), lq.astype(bool), lb.astype(np.float32)), expected
    )


def test_shared_labels_of_one_query() -> None:
    labels = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]], np.uint8)
    assert LabelSets(labels).shared_with(np.array([1, 1, 1], np.uint8)).tolist() == [2, 1, 0]
