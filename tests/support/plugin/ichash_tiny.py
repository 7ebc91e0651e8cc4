"""Tiny: a fused method that is trained in milliseconds and uses all that the frame offers.

It draws from both random generators, has BatchNorm, dropout, two optimisers, a state, and something to finish.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from ichash_export.layers import mean_of_present
from ichash_export.losses import cosine, shared_label
from ichash_export.methods.base import Citation, Family, Method, MethodConfig, ModelSpec, Terms, TrainData


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
    citation = Citation("Tiny codes", "Nobody", "Nowhere", 2000)
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
        self.state["noise"] = torch.randn(self.config.batch_size, self.config.width, device=data.device)

    def optimizers(self) -> dict[str, Optimizer]:
        rate = self.config.learning_rate
        rest = [*self.norm.parameters(), *self.head.parameters()]
        return {"encoders": Adam(self.encoders.parameters(), lr=rate), "rest": SGD(rest, lr=rate, momentum=0.9)}

    def fused(self, features: dict[str, Tensor], present: Tensor) -> Tensor:
        encoded = torch.stack([encoder(x) for encoder, x in zip(self.encoders, features.values(), strict=True)])
        return mean_of_present(encoded, present)

    def steps(
        self, data: TrainData, epoch: int, optimizers: dict[str, Optimizer], generator: torch.Generator
    ) -> Iterator[Terms]:
        time.sleep(self.config.pause)
        yield from super().steps(data, epoch, optimizers, generator)
        self.state["noise"] = 0.9 * self.state["noise"]

    def losses(self, items: TrainData) -> Terms:
        z = self.fused(items.features, items.present) + 0.1 * self.state["noise"][: len(items)]
        h = torch.tanh(self.head(self.dropout(self.norm(z))))
        target = 2 * shared_label(items.labels, items.labels) - 1
        return {"similarity": ((cosine(h, h) - target) ** 2).mean()}

    def finish(self, data: TrainData) -> None:
        self.middle.copy_(self.fused(data.features, data.present).mean(0))

    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        return {"code": torch.tanh(self.head(self.norm(self.fused(features, present) - 0.01 * self.middle)))}
