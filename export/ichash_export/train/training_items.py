"""The items that a run trains on and those it is validated with: labels checked, modalities hidden, the items
divided."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ichash_export.methods.base import TrainData
from ichash_export.train.options import TrainingOptions
from ichash_export.train.run_record import ItemCounts
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable, Mask
from milvus_ichash.incomplete import partition_mask, pdr_mask

MOST_VALIDATION_ITEMS = 2000
LEAST_VALIDATION_ITEMS = 10

Note = Callable[[str], None]


@dataclass(frozen=True)
class TrainingItems:
    """The items in two parts: those that are trained on, and those for validation (none where validation is off)."""

    training: FeatureTable
    validation: FeatureTable


def prepare(table: FeatureTable, options: TrainingOptions, *, needs_labels: bool, note: Note) -> TrainingItems:
    """Check the labels, hide modalities (`pdr`, `level`) and take out the validation items, all by `options.seed`.

    Items whose labels are unknown are left out where the method needs labels, and are never validation items.

    Raises:
        InputError: no item has a label, no training item has one of the modalities, there are too few items, or a
            feature cannot be used (`FeatureTable.check_rows`).
    """
    table.check_rows()
    known = _labelled(table)
    if needs_labels and not known.all():
        note(f"{int((~known).sum())} of {len(table)} items have no known labels and are left out.")
        table, known = table.take(known), known[known]
    table = masked(table, options)
    validation = _validation_items(known, options)
    parts = TrainingItems(table.take(~validation), table.take(validation))
    if len(parts.training) < 2:
        raise InputError(f"{len(parts.training)} training items are left of {len(table)}: training needs more.")
    for i, name in enumerate(table.modalities):
        if not parts.training.present[:, i].any():
            raise InputError(
                f"no training item has the modality '{name}': leave its column out, or give items that have it."
            )
    return parts


def tensors(table: FeatureTable, device: torch.device) -> TrainData:
    """Return a table with labels as tensors on the device: not scaled, and with missing rows as they are.

    Raises:
        InputError: the table has no labels.
    """
    return TrainData(
        {name: _tensor(x, device) for name, x in table.features.items()},
        _tensor(table.present, device),
        _tensor(table.known_labels().astype(np.float32), device),
        None if table.labelled is None else _tensor(table.labelled, device),
    )


def counts(parts: TrainingItems) -> ItemCounts:
    """Return the numbers of items for the record of the run."""
    present = parts.training.present
    return ItemCounts(
        training_items=len(parts.training),
        complete_items=int(present.all(axis=1).sum()),
        observed={name: int(present[:, i].sum()) for i, name in enumerate(parts.training.modalities)},
        validation_items=len(parts.validation),
    )


def _tensor(array: np.ndarray[Any, Any], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)


def _labelled(table: FeatureTable) -> Mask:
    """Return which items have known labels, bool (N,)."""
    if table.labels is None or not table.labels.any():
        raise InputError(
            f"none of the {len(table)} training items has a label, and training needs them: "
            "name the column that holds them with --labels-column."
        )
    return np.ones(len(table), bool) if table.labelled is None else np.asarray(table.labelled, bool)


def masked(table: FeatureTable, options: TrainingOptions) -> FeatureTable:
    """Return the table with modalities hidden as the options say (`pdr` or `level`, by `seed`).

    Raises:
        InputError: these items cannot be masked so.
    """
    if options.level:
        return table.hide(partition_mask(table.present, options.level, options.seed))
    return table.hide(pdr_mask(table.present, options.pdr, options.seed)) if options.pdr else table


def _validation_items(known: Mask, options: TrainingOptions) -> Mask:
    """Return which items are for validation, bool (N,), drawn from those with known labels."""
    chosen = np.zeros(len(known), np.bool_)
    if options.validation:
        candidates = np.flatnonzero(known)
        wanted = max(math.ceil(options.validation * len(candidates)), LEAST_VALIDATION_ITEMS)
        # A stream of its own, so that the mask's order and this one are not the same.
        order = np.random.default_rng([options.seed, 1]).permutation(candidates)
        chosen[order[: min(wanted, MOST_VALIDATION_ITEMS, len(candidates) // 2)]] = True
    return chosen
