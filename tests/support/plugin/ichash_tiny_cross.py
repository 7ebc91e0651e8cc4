"""Tiny-cross: a cross-modal method in a few lines, for two modalities or more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ichash_export.layers import mean_of_present
from ichash_export.losses import cosine, shared_label
from ichash_export.methods.base import (
    Family,
    Method,
    MethodConfig,
    ModelSpec,
    Scaling,
    Terms,
    TrainData,
    linear_rate,
    setting,
)


class TinyCross(Method):
    """Linear encoders; a missing code is the mean of the others."""

    family: ClassVar[Family] = "cross-modal"
    needs_labels = False

    class Config(MethodConfig):
        """Settings."""

        epochs: int = setting(4)
        batch_size: int = setting(32)
        completion: Literal["mean", "none"] = setting("mean")
        rates: tuple[float, float] = setting((1e-2, 1e-3))

    def __init__(self, spec: ModelSpec, config: MethodConfig) -> None:
        super().__init__(spec, config)
        self.heads = nn.ModuleList(nn.Linear(dim, spec.bits) for dim in spec.dims.values())

    def scaling(self, modality: str) -> Scaling:
        return "minmax" if modality == "text" else "standard"

    def optimizers(self) -> dict[str, Optimizer]:
        return {"all": Adam(self.parameters(), lr=self.config.rates[0])}

    def learning_rates(self, epoch: int) -> Mapping[str, float]:
        return {"all": linear_rate(self.config.rates, epoch, self.config.epochs)}

    def losses(self, items: TrainData) -> Terms:
        codes = self.encode(items.features, items.present)
        target = 2 * shared_label(items.labels, items.labels) - 1
        reference = next(iter(codes.values()))
        return {m: ((cosine(codes[f"{m}_code"], reference) - target) ** 2).mean() for m in items.features}

    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        own = torch.stack([torch.tanh(head(x)) for head, x in zip(self.heads, features.values(), strict=True)])
        codes = torch.where(present.T.unsqueeze(2), own, mean_of_present(own, present))
        return {f"{m}_code": codes[i] for i, m in enumerate(features)}
