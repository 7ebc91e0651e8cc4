"""Building blocks shared by methods and by the exporter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU, *, last: bool = False) -> nn.Sequential:
    """Linear layers through these sizes with an activation between them, and after the last one where `last` says so."""
    layers: list[nn.Module] = []
    for i, (d_in, d_out) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(d_in, d_out))
        if last or i < len(sizes) - 2:
            layers.append(activation())
    return nn.Sequential(*layers)


def normed_mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.Tanh, *, dropout: float = 0.0) -> nn.Sequential:
    """Linear, BatchNorm, activation (and dropout) through these sizes, the last one included."""
    layers: list[nn.Module] = []
    for d_in, d_out in pairwise(sizes):
        layers += [nn.Linear(d_in, d_out), nn.BatchNorm1d(d_out), activation()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def observed_only(network: nn.Module, x: Tensor, there: Tensor, width: int, *, least: int = 2) -> Tensor:
    """network(x), (B, width), with zeros in the rows that are not there, bool (B,).

    BatchNorm does not see these rows in training; a batch with fewer than `least` others is all zeros: on one it cannot
    train.
    """
    if not network.training:
        return torch.where(there.unsqueeze(1), network(x), torch.zeros((), device=x.device))
    rows = there.nonzero().flatten()
    y = x.new_zeros(len(x), width)
    return y.index_copy(0, rows, network(x[rows])) if len(rows) >= least else y


class FeatureScaling(nn.Module):
    """(x - shift) * scale per feature, and zeros where the modality is missing.

    Missing rows may hold anything, NaN included: no trace of them is left.
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
        return torch.where(there, (x - self.shift) * self.scale, torch.zeros((), dtype=x.dtype, device=x.device))

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


def hide(present: Tensor, share: float) -> Tensor:
    """`present` (B, M) with all but one modality hidden from this share of the items, by torch's global generator."""
    chosen = torch.rand(len(present), 1, device=present.device) < share
    kept = ((1 + torch.rand(present.shape, device=present.device)) * present).argmax(dim=1)
    return torch.where(chosen, F.one_hot(kept, present.shape[1]).bool(), present)
