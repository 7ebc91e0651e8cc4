"""The golden vectors of a trained model: random items in the range of the training features, with gaps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ichash_export.onnx.parity import codes_of_torch, make_probe
from ichash_export.train.model import Model
from milvus_ichash.bundle.golden_vectors import GoldenVectors

ROWS = 8
_MOST_NUMBERS = 40_000
"""Features that are written at most, as long as that leaves one item: the file has some 400 KB then."""


def golden_vectors(model: Model, dims: Mapping[str, int]) -> GoldenVectors:
    """Return items that are no training items, and their codes as torch makes them; the parity gate compared those.

    Args:
        model: the model, on the CPU and in evaluation mode.
        dims: number of features of each modality.
    """
    probe = make_probe(model, dims)
    relaxed = codes_of_torch(model, probe)
    rows = np.flatnonzero(probe.present.any(axis=1))[: max(1, min(ROWS, _MOST_NUMBERS // sum(dims.values())))]
    return GoldenVectors.of(
        {name: x[rows] for name, x in probe.clean.items()},
        probe.present[rows],
        {code: u[rows] for code, u in relaxed.items()},
    )
