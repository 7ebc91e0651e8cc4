"""Tiny: a fused method that is trained in milliseconds and uses all that the frame offers.

It draws from both random generators, has BatchNorm, dropout, two optimisers, a state, and something to finish.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from ichash_export.losses import cosine, shared_label
from ichash_export.methods.base import Family, Method, MethodConfig, ModelSpec, TrainData, batches


class TinyConfig(MethodConfig):
    """Settings of Tiny."""

    epochs: int = Field(4, ge=1)
    batch_size: int = Field(32, ge=2)
    width: int = Field(16, ge=1)
    """Size of the latent space,
    in numbers."""
    learning_rate: float = Field(0.01, gt=0, description="Of both optimisers.")
    warmup_epochs: int = 0
    pause: float = 0.0
    """Seconds that an epoch lasts at least."""


class Tiny(Method):
    """Linear encoders, completed by the mean of what is not missing."""

    family: ClassVar[Family] = "fused"
    paper: ClassVar[str] = "nobody, never"
    Config = TinyConfig
    config: TinyConfig

    def __init__(self, spec: ModelSpec, config: TinyConfig) -> None:
        super().__init__(spec, config)
        self.encoders = nn.ModuleList(nn.Linear(dim, config.width) for dim in spec.dims.values())
        self.norm = nn.BatchNorm1d(config.width)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(config.width, spec.bits)
        self.register_buffer("middle", torch.zeros(config.width))

    @property
    def warmup(self) -> int:
        return self.config.warmup_epochs

    def completion(self) -> str:
        return "the mean of the encodings that are there, plus the middle of the training items"

    def begin(self, data: TrainData) -> None:
        self.state["noise"] = torch.randn(len(data), self.config.width)

    def optimizers(self) -> dict[str, Optimizer]:
        rate = self.config.learning_rate
        rest = [*self.norm.parameters(), *self.head.parameters()]
        return {"encoders": Adam(self.encoders.parameters(), lr=rate), "rest": SGD(rest, lr=rate, momentum=0.9)}

    def fused(self, features: dict[str, Tensor], present: Tensor) -> Tensor:
        encoded = torch.stack([e(x) for e, x in zip(self.encoders, features.values(), strict=True)], dim=1)
        weight = present.unsqueeze(2).to(encoded.dtype)
        return (encoded * weight).sum(1) / weight.sum(1).clamp_min(1)

    def train_epoch(
        self, data: TrainData, epoch: int, optimizers: dict[str, Optimizer], generator: torch.Generator
    ) -> dict[str, float]:
        if self.config.pause:
            import time

            time.sleep(self.config.pause)
        total = 0.0
        parts = batches(len(data), self.config.batch_size, generator, data.device)
        for index in parts:
            items = data.rows(index)
            z = self.fused(items.features, items.present) + 0.1 * self.state["noise"][index]
            h = torch.tanh(self.head(self.dropout(self.norm(z))))
            loss = ((cosine(h, h) - 2 * shared_label(items.labels, items.labels) + 1) ** 2).mean()
            for optimizer in optimizers.values():
                optimizer.zero_grad()
            loss.backward()
            for optimizer in optimizers.values():
                optimizer.step()
            total += loss.item()
        self.state["noise"] = 0.9 * self.state["noise"]
        return {"similarity": total / len(parts)}

    def finish(self, data: TrainData) -> None:
        self.middle.copy_(self.fused(data.features, data.present).mean(0))

    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        return {"code": torch.tanh(self.head(self.norm(self.fused(features, present) - 0.01 * self.middle)))}
