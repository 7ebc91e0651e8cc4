"""What is trained on, and what is held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.tiny import make_table

from ichash_export.train.options import TrainingOptions
from ichash_export.train.run_record import ItemCounts
from ichash_export.train.training_items import TrainingItems, counts, prepare, tensors
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable


def _prepare(
    table: FeatureTable, *, needs_labels: bool = True, notes: list[str] | None = None, **options: object
) -> TrainingItems:
    return prepare(
        table, TrainingOptions(**options), needs_labels=needs_labels, note=(notes if notes is not None else []).append
    )


def test_parts_are_disjoint_and_complete() -> None:
    table = make_table(200)
    parts = _prepare(table, validation=0.15)
    assert len(parts.validation) == 30
    assert sorted([*parts.training.ids, *parts.validation.ids]) == list(range(200))
    again, other = _prepare(table, validation=0.15), _prepare(table, validation=0.15, seed=1)
    assert list(again.validation.ids) == list(parts.validation.ids)
    assert list(other.validation.ids) != list(parts.validation.ids)


@pytest.mark.parametrize(
    ("items", "share", "held"), [(200, 0.0, 0), (200, 0.001, 10), (12, 0.1, 6), (30000, 0.1, 2000)]
)
def test_how_many_are_chosen_for_validation(items: int, share: float, held: int) -> None:
    parts = _prepare(make_table(items, dims={"a": 2}, missing=0), validation=share)
    assert (len(parts.validation), len(parts.training)) == (held, items - held)


def test_pdr_and_level_hide_exact_numbers() -> None:
    table = make_table(200, missing=0)
    parts = _prepare(table, pdr=0.5, validation=0)
    assert [int((~parts.training.present).any(axis=1).sum()), int((~parts.training.present[:, 0]).sum())] == [100, 50]
    hard = _prepare(table, level="hard", validation=0).training.present
    assert (int(hard.all(axis=1).sum()), int((hard[:, 0] & ~hard[:, 1]).sum())) == (20, 90)
    assert not np.array_equal(_prepare(table, pdr=0.5, validation=0, seed=1).training.present, parts.training.present)
    assert table.present.all()


def test_natural_gaps_stay() -> None:
    table = make_table(200, missing=0.3)
    hidden = _prepare(table, pdr=0.9, validation=0).training.present
    assert not (hidden & ~table.present).any()
    assert int((~hidden).any(axis=1).sum()) == 180


def test_items_without_labels_are_left_out_where_labels_are_needed() -> None:
    table = make_table(200)
    known = np.arange(200) % 4 > 0
    labels = np.where(known[:, None], table.labels, 0)
    table, notes = replace(table, labels=labels, labelled=known), []
    parts = _prepare(table, notes=notes)
    assert sorted([*parts.training.ids, *parts.validation.ids]) == list(np.flatnonzero(known))
    assert notes == ["50 of 200 items have no known labels and are left out."]
    parts = _prepare(table, needs_labels=False, notes=notes)
    assert len(parts.training) + len(parts.validation) == 200
    assert len(parts.validation) == 15
    assert known[parts.validation.ids].all()
    assert len(notes) == 1


NO_LABEL = r"none of the 50 training items has a label.*--labels-column"


@pytest.mark.parametrize("needs_labels", [True, False])
@pytest.mark.parametrize(
    ("table", "message"),
    [
        (replace(make_table(50), labels=None), NO_LABEL),
        (replace(make_table(50), labels=np.zeros((50, 4), np.uint8)), NO_LABEL),
        (make_table(50, missing=0).hide(np.array([[True, False]])), "no training item has the modality 'text'"),
        (make_table(2, missing=0), "1 training items are left of 2"),
    ],
    ids=["no labels", "labels of zeros", "a modality that nobody has", "too few items"],
)
def test_items_that_cannot_be_trained_on(table: FeatureTable, message: str, needs_labels: bool) -> None:
    with pytest.raises(InputError, match=message):
        _prepare(table, needs_labels=needs_labels)


def test_counts_and_tensors() -> None:
    parts = _prepare(make_table(100, missing=0), pdr=0.5, validation=0)
    expected = ItemCounts(training_items=100, complete_items=50, observed={"image": 75, "text": 75}, validation_items=0)
    assert counts(parts) == expected
    raw = tensors(parts.training, torch.device("cpu"))
    assert (raw.labels.dtype, raw.present.dtype, raw.features["text"].shape) == (torch.float32, torch.bool, (100, 8))
    assert raw.labelled is None
    empty = tensors(parts.validation, torch.device("cpu"))
    assert (len(empty), empty.features["image"].shape) == (0, (0, 12))
