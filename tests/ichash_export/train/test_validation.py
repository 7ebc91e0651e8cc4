"""Validation: which queries meet which items, and the mAP against a brute-force ranking."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from support.train_data import items
from torch import Tensor

from ichash_export.methods.base import Method, MethodConfig, ModelSpec, TrainData
from ichash_export.train.validation import encode, validate
from milvus_ichash.errors import InputError

DIMS = {"image": 8, "text": 8}


class Signs(Method):
    """The features themselves are the codes; a fused code is their sum, a missing code that of the other modality."""

    def __init__(self, family: str, dims: dict[str, int] = DIMS) -> None:
        self.family = family  # type: ignore[misc]
        super().__init__(ModelSpec(dims, 3, 8), MethodConfig())

    def optimizers(self) -> dict:
        return {}

    def train_epoch(self, *args: object) -> dict:
        return {}

    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        assert not self.training
        total = torch.stack(list(features.values())).sum(0)
        if self.family == "fused":
            return {"code": total}
        return {f"{m}_code": torch.where(present[:, i : i + 1], x, total) for i, (m, x) in enumerate(features.items())}


def _data(n: int, seed: int, *, missing: float = 0.5, dims: dict[str, int] = DIMS) -> TrainData:
    """Return items without structure, the first of them without a label."""
    data = items(n, dims, missing, seed=seed)
    data.labels[0] = 0
    return data


def _brute(
    query_bits: np.ndarray, stored_bits: np.ndarray, query_labels: np.ndarray, stored_labels: np.ndarray
) -> float:
    """Mean over queries of the AP, averaged over many random orders of equal distances."""
    rng, values = np.random.default_rng(0), []
    for bits, labels in zip(query_bits, query_labels, strict=True):
        distance = (bits != stored_bits).sum(1)
        relevant = (labels * stored_labels).sum(1) > 0
        if not relevant.any():
            continue
        orders = []
        for _ in range(200):
            hits = relevant[np.lexsort((rng.random(len(distance)), distance))]
            orders.append((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())
        values.append(np.mean(orders))
    return float(np.mean(values))


def test_fused_tasks() -> None:
    queries, stored = _data(12, 1), _data(25, 2)
    found = validate(Signs("fused"), queries, stored)
    assert list(found) == ["observed", "image", "text"]
    (database,) = [(sum(x.numpy() for x in stored.features.values()) > 0)]
    for task, value in found.items():
        rows = np.ones(12, bool) if task == "observed" else queries.present[:, list(DIMS).index(task)].numpy()
        asked = sum(x.numpy() for m, x in queries.features.items() if task in ("observed", m))
        expected = _brute(asked[rows] > 0, database, queries.labels.numpy()[rows], stored.labels.numpy())
        assert value == pytest.approx(expected, abs=0.01), task


def test_cross_modal_tasks() -> None:
    queries, stored = _data(12, 1), _data(25, 2)
    found = validate(Signs("cross-modal"), queries, stored)
    assert list(found) == ["image->text", "text->image"]
    for source, target in permutations(DIMS):
        asked = queries.present[:, list(DIMS).index(source)].numpy()
        there = stored.present[:, list(DIMS).index(target)].numpy()
        expected = _brute(
            queries.features[source].numpy()[asked] > 0,
            stored.features[target].numpy()[there] > 0,
            queries.labels.numpy()[asked],
            stored.labels.numpy()[there],
        )
        assert found[f"{source}->{target}"] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("family", "task"), [("fused", "observed"), ("cross-modal", "image->image")])
def test_one_modality_has_one_task(family: str, task: str) -> None:
    one = {"image": 8}
    assert list(validate(Signs(family, one), _data(6, 1, dims=one), _data(9, 2, dims=one))) == [task]


def test_items_without_known_labels_are_no_wrong_answers() -> None:
    queries, stored = _data(8, 1), _data(20, 2)
    known = torch.arange(20) % 2 == 0
    stored.labels[~known] = 0
    stored = replace(stored, labelled=known)
    left = stored.rows(known.nonzero().flatten())
    assert validate(Signs("fused"), queries, stored) == pytest.approx(validate(Signs("fused"), queries, left))


def test_a_task_without_an_answer_is_left_out() -> None:
    queries, stored = _data(8, 1, missing=0), _data(20, 2, missing=0)
    queries.present[:, 1] = False
    assert list(validate(Signs("fused"), queries, stored)) == ["observed", "image"]
    queries.labels[:], stored.labels[:] = torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])
    with pytest.raises(InputError, match="none of the 8 held-out items shares a label"):
        validate(Signs("fused"), queries, stored)


def test_encoding_in_batches_leaves_the_mode_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    method, data = Signs("fused"), _data(25, 2)
    whole = encode(method, data)["code"]
    monkeypatch.setattr("ichash_export.train.validation._BATCH", 7)
    method.train()
    assert np.array_equal(encode(method, data)["code"], whole)
    assert method.training
    assert (whole.dtype, whole.shape) == (np.uint8, (25, 1))
