"""The scaling of the hashing baselines: standardised on the observed training items, zeros where a modality is
missing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from milvus_ichash.errors import InputError
from milvus_ichash.features import Features, FeatureTable, Mask

_CONSTANT = 1e-6
"""Features with a smaller standard deviation are centred and not scaled."""


class Standardiser:
    """A scaling that gives every feature mean 0 and deviation 1 over the training items that have the modality.

    Raises:
        InputError: no training item has one of the modalities.
    """

    def __init__(self, train: FeatureTable) -> None:
        self._shift: dict[str, npt.NDArray[np.float64]] = {}
        self._scale: dict[str, npt.NDArray[np.float64]] = {}
        for i, (name, x) in enumerate(train.features.items()):
            seen = x[train.present[:, i]]
            if not len(seen):
                raise InputError(
                    f"no training item has the modality '{name}': leave its column out, or give items that have it."
                )
            deviation = seen.std(axis=0, dtype=np.float64)
            self._shift[name] = seen.mean(axis=0, dtype=np.float64)
            self._scale[name] = 1 / np.where(deviation > _CONSTANT, deviation, 1.0)

    def modality(self, name: str, x: Features, there: Mask) -> Features:
        """Return standardised features, float32 (N, D_m).

        Args:
            name: name of the modality.
            x: its features, float32 (N, D_m).
            there: bool (N,); where it is False the result is zero, whatever x holds.
        """
        scaled = (np.where(there[:, None], x, 0) - self._shift[name]) * self._scale[name]
        return np.where(there[:, None], scaled, 0).astype(np.float32)

    def concatenated(self, table: FeatureTable) -> Features:
        """Return all modalities side by side, float32 (N, sum of D_m)."""
        parts = [self.modality(name, x, table.present[:, i]) for i, (name, x) in enumerate(table.features.items())]
        return np.concatenate(parts, axis=1)
