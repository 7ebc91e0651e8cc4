"""Features as the hashing baselines take them: standardised on the observed training items, zeros where a modality is missing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from milvus_ichash.errors import InputError
from milvus_ichash.features import Features, FeatureTable, Mask

_CONSTANT = 1e-6
"""Features that deviate less are only centred."""


class Standardiser:
    """Mean 0 and deviation 1 for every feature of the training items that have the modality.

    Raises:
        InputError: a modality that no training item has.
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
        """Standardised features, float32 (N, D_m), zeros where `there`, bool (N,), is False, whatever x holds in such rows."""
        scaled = (np.where(there[:, None], x, 0) - self._shift[name]) * self._scale[name]
        return np.where(there[:, None], scaled, 0).astype(np.float32)

    def concatenated(self, table: FeatureTable) -> Features:
        """All modalities side by side, float32 (N, sum of D_m)."""
        parts = [self.modality(name, x, table.present[:, i]) for i, (name, x) in enumerate(table.features.items())]
        return np.concatenate(parts, axis=1)
