"""From a feature table to what is trained on: labels checked, modalities hidden, a validation part held out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ichash_export.methods.base import TrainData
from ichash_export.train.options import TrainingOptions
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable
from milvus_ichash.incomplete import partition_mask, pdr_mask

MOST_HELD_OUT = 2000
LEAST_HELD_OUT = 10

Note = Callable[[str], None]


@dataclass(frozen=True)
class TrainingItems:
    """The training items in two parts; `held_out` is empty where validation is off."""

    training: FeatureTable
    validation: FeatureTable


def prepare(table: FeatureTable, options: TrainingOptions, *, needs_labels: bool, note: Note) -> TrainingItems:
    """Check the labels, hide modalities (`pdr`, `level`) and hold out a validation part, all by `options.seed`.

    Items whose labels are unknown are left out where the method needs labels, and never held out.

    Raises:
        InputError: not a single label, a modality that no training item has, or too few items.
    """
    known = _labelled(table)
    if needs_labels and not known.all():
        note(f"{int((~known).sum())} of {len(table)} items have no known labels and are left out.")
        table, known = table.take(known), known[known]
    table = masked(table, options)
    held = _chosen_for_validation(known, options)
    parts = TrainingItems(table.take(~held), table.take(held))
    if len(parts.training) < 2:
        raise InputError(f"{len(parts.training)} training items are left of {len(table)}: training needs more.")
    for i, name in enumerate(table.modalities):
        if not parts.training.present[:, i].any():
            raise InputError(
                f"no training item has the modality '{name}': leave its column out, or give items that have it."
            )
    return parts


def tensors(table: FeatureTable, device: torch.device) -> TrainData:
    """A labelled table on the device, as it is: not scaled, rows that are missing unchanged."""
    labels = np.zeros((len(table), 0), np.uint8) if table.labels is None else table.labels
    return TrainData(
        {name: _tensor(x, device) for name, x in table.features.items()},
        _tensor(table.present, device),
        _tensor(labels.astype(np.float32), device),
        None if table.labelled is None else _tensor(table.labelled, device),
    )


def counts(parts: TrainingItems) -> dict[str, Any]:
    """Numbers of items for the training summary."""
    present = parts.training.present
    return {
        "training_items": len(parts.training),
        "complete_items": int(present.all(axis=1).sum()),
        "observed": {name: int(present[:, i].sum()) for i, name in enumerate(parts.training.modalities)},
        "validation_items": len(parts.validation),
    }


def _tensor(array: np.ndarray[Any, Any], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.require(array, requirements="CW")).to(device)


def _labelled(table: FeatureTable) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if table.labels is None or not table.labels.any():
        raise InputError(
            f"none of the {len(table)} training items has a label, and training needs them: "
            "name the column that holds them with --labels-column."
        )
    return np.ones(len(table), bool) if table.labelled is None else np.asarray(table.labelled, bool)


def masked(table: FeatureTable, options: TrainingOptions) -> FeatureTable:
    """The table with modalities hidden as the options say (`pdr` or `level`, by `seed`).

    Raises:
        InputError: a mask that is not possible for these items.
    """
    if options.level:
        return table.hide(partition_mask(table.present, options.level, options.seed))
    return table.hide(pdr_mask(table.present, options.pdr, options.seed)) if options.pdr else table


def _chosen_for_validation(
    known: np.ndarray[Any, np.dtype[np.bool_]], options: TrainingOptions
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    held = np.zeros(len(known), bool)
    if options.validation:
        candidates = np.flatnonzero(known)
        wanted = max(math.ceil(options.validation * len(candidates)), LEAST_HELD_OUT)
        # A stream of its own, so that the mask's order and this one are not the same.
        order = np.random.default_rng([options.seed, 1]).permutation(candidates)
        held[order[: min(wanted, MOST_HELD_OUT, len(candidates) // 2)]] = True
    return held
