"""A method with its feature scaling in front: raw features in, relaxed codes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from ichash_export.layers import FeatureScaling
from ichash_export.methods.base import Method, ModelSpec, TrainData
from ichash_export.methods.registry import load
from ichash_export.train.options import validated
from milvus_ichash.errors import InputError


class Model(nn.Module):
    """What is trained, kept in checkpoints and exported.

    Attributes:
        spec: the sizes that data and user decide.
        method: the method.
        scaling: one FeatureScaling per modality, in the order of `spec.modalities`.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.spec: ModelSpec = method.spec
        self.method = method
        self.scaling = cast(
            "Sequence[FeatureScaling]", nn.ModuleList(FeatureScaling(dim) for dim in method.spec.dims.values())
        )

    @torch.no_grad()
    def fit_scaling(self, raw: TrainData) -> None:
        """Learn each modality's scaling from its observed rows."""
        for i, (scaling, (name, x)) in enumerate(zip(self.scaling, raw.features.items(), strict=True)):
            observed = x[raw.present[:, i]]
            if self.method.scaling(name) == "minmax":
                scaling.fit_minmax(observed)
            else:
                scaling.fit_standard(observed)

    @torch.no_grad()
    def scaled(self, raw: TrainData) -> TrainData:
        """Return the items as the method sees them, with scaled features."""
        return replace(raw, features=self._scale(raw.features, raw.present))

    def forward(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return relaxed codes, float32 (B, bits) by name.

        Args:
            features: raw features, float32 (B, D_m) by modality.
            present: bool (B, M); False where the item lacks the modality.
        """
        return self.method.encode(self._scale(features, present), present)

    def _scale(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        rows = zip(self.scaling, features.items(), strict=True)
        return {name: scaling(x, present[:, i]) for i, (scaling, (name, x)) in enumerate(rows)}


def build_model(method: str, spec: ModelSpec, settings: Mapping[str, object]) -> Model:
    """Return a fresh model, whose weights are drawn from torch's global generator.

    Args:
        method: name of the method.
        spec: the sizes.
        settings: settings of the method by name.

    Raises:
        InputError: there is no such method, it does not take these settings, or a modality has a name that torch
            needs for itself.
    """
    chosen = load(method)
    for name in spec.modalities:
        if hasattr(nn.ModuleDict, name):
            raise InputError(
                f"a modality cannot be called '{name}', which is a word of torch's: rename it with --modality "
                "NAME=COLUMN."
            )
    return Model(chosen(spec, validated(chosen.Config, settings, f"method '{method}'")))
