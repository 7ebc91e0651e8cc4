"""Building blocks shared by methods and by the exporter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU, *, last: bool = False) -> nn.Sequential:
    """Linear layers through these sizes with an activation between them, and after the last one where `last` says so."""
    layers: list[nn.Module] = []
    for i, (d_in, d_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        layers.append(nn.Linear(d_in, d_out))
        if last or i < len(sizes) - 2:
            layers.append(activation())
    return nn.Sequential(*layers)


class FeatureScaling(nn.Module):
    """(x - shift) * scale per feature, and zeros where the modality is missing.

    Missing rows may hold anything, NaN included: they are replaced before any arithmetic, so no trace of them is left.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Scale x, float32 (B, D), with present, bool (B,)."""
        there = present.unsqueeze(1)
        x = torch.where(there, x, torch.zeros_like(x))
        return torch.where(there, (x - self.shift) * self.scale, torch.zeros_like(x))

    def fit_standard(self, x: Tensor) -> None:
        """Learn mean and standard deviation of the observed rows x, float32 (n, D); constant features are only centred."""
        std, mean = torch.std_mean(x.double(), dim=0, correction=0)
        self.shift.copy_(mean)
        self.scale.copy_(torch.where(std > 1e-6, 1 / std.clamp_min(1e-6), torch.ones_like(std)))

    def fit_minmax(self, x: Tensor) -> None:
        """Learn the range of the observed rows x, float32 (n, D), so that they fall into [0, 1]."""
        low, high = x.double().amin(dim=0), x.double().amax(dim=0)
        span = high - low
        self.shift.copy_(low)
        self.scale.copy_(torch.where(span > 1e-6, 1 / span.clamp_min(1e-6), torch.ones_like(span)))
