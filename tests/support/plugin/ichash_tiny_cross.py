"""Tiny-cross: a cross-modal method in a few lines, for two modalities or more."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ichash_export.losses import cosine, shared_label
from ichash_export.methods.base import Family, Method, MethodConfig, ModelSpec, Scaling, TrainData, batches


class TinyCross(Method):
    """Linear encoders; a missing code is the mean of the others."""

    family: ClassVar[Family] = "cross-modal"
    needs_labels = False

    class Config(MethodConfig):
        """Settings."""

        epochs: int = 4
        batch_size: int = 32
        completion: Literal["mean", "none"] = "mean"
        rates: tuple[float, float] = (1e-2, 1e-3)

    def __init__(self, spec: ModelSpec, config: MethodConfig) -> None:
        super().__init__(spec, config)
        self.heads = nn.ModuleList(nn.Linear(dim, spec.bits) for dim in spec.dims.values())

    def scaling(self, modality: str) -> Scaling:
        return "minmax" if modality == "text" else "standard"

    def optimizers(self) -> dict[str, Optimizer]:
        return {"all": Adam(self.parameters(), lr=self.config.rates[0])}

    def train_epoch(
        self, data: TrainData, epoch: int, optimizers: dict[str, Optimizer], generator: torch.Generator
    ) -> dict[str, float]:
        self.seen = int(data.labelled.sum()) if data.labelled is not None else len(data)
        totals = dict.fromkeys(data.features, 0.0)
        parts = batches(len(data), self.config.batch_size, generator, data.device)
        for index in parts:
            items = data.rows(index)
            codes = self.encode(items.features, items.present)
            target = 2 * shared_label(items.labels, items.labels) - 1
            reference = next(iter(codes.values()))
            losses = {m: ((cosine(codes[f"{m}_code"], reference) - target) ** 2).mean() for m in data.features}
            optimizers["all"].zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            optimizers["all"].step()
            for m, loss in losses.items():
                totals[m] += loss.item() / len(parts)
        return totals

    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        own = torch.stack([torch.tanh(head(x)) for head, x in zip(self.heads, features.values(), strict=True)], dim=1)
        weight = present.unsqueeze(2).to(own.dtype)
        mean = (own * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1)
        codes = torch.where(present.unsqueeze(2), own, mean)
        return {f"{m}_code": codes[:, i] for i, m in enumerate(features)}
