"""Building blocks shared by methods and by the exporter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU, *, last: bool = False) -> nn.Sequential:
    """Return linear layers through these sizes with an activation between them, and after the last one if `last`."""
    layers: list[nn.Module] = []
    for i, (d_in, d_out) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(d_in, d_out))
        if last or i < len(sizes) - 2:
            layers.append(activation())
    return nn.Sequential(*layers)


def normed_mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.Tanh, *, dropout: float = 0.0) -> nn.Sequential:
    """Return blocks of Linear, BatchNorm, activation (and dropout) through these sizes, the last one included."""
    layers: list[nn.Module] = []
    for d_in, d_out in pairwise(sizes):
        layers += [nn.Linear(d_in, d_out), nn.BatchNorm1d(d_out), activation()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def observed_only(network: nn.Module, x: Tensor, there: Tensor, width: int, *, least: int = 2) -> Tensor:
    """Return network(x), (B, width), with zeros in the rows that are not there, bool (B,).

    BatchNorm does not see these rows in training; a batch with fewer than `least` others is all zeros: on one it cannot
    train.
    """
    if not network.training:
        return torch.where(there.unsqueeze(1), network(x), torch.zeros((), device=x.device))
    rows = there.nonzero().flatten()
    y = x.new_zeros(len(x), width)
    return y.index_copy(0, rows, network(x[rows])) if len(rows) >= least else y


def in_chunks(network: Callable[[Tensor], Tensor], x: Tensor, size: int = 4096) -> Tensor:
    """Return network(x) for many rows x (n, D), `size` of them at once, so that they fit into memory."""
    return torch.cat([network(part) for part in x.split(size)])


def by_modality(widths: Sequence[int], modalities: Sequence[str]) -> dict[str, int]:
    """Return a width for each modality, in order; further modalities have the last one."""
    return {m: widths[min(i, len(widths) - 1)] for i, m in enumerate(modalities)}


def mean_of_present(values: Tensor, there: Tensor) -> Tensor:
    """Return the mean (B, D) of what S sources make, (S, B, D), over those that are there, bool (B, S).

    A row for which none is there has zeros.
    """
    weights = there.T.unsqueeze(2).to(values.dtype)
    return (values * weights).sum(dim=0) / weights.sum(dim=0).clamp_min(1)


def attention_scores(
    queries: Tensor, keys: Tensor, of_query: nn.Linear | None = None, of_key: nn.Linear | None = None
) -> Tensor:
    """Return attention scores (B, A) of queries (B, D) and keys (A, D).

    Scaled dot products as in a transformer; with `of_query` and `of_key`, each a linear map to one number, the additive
    scores of a graph attention network: LeakyReLU(a . [query, key]).
    """
    if of_query is None or of_key is None:
        return queries @ keys.T / math.sqrt(queries.shape[1])
    return F.leaky_relu(of_query(queries) + of_key(keys).T, 0.2)


class FeatureScaling(nn.Module):
    """The map (x - shift) * scale per feature, with zeros where the modality is missing.

    Missing rows may hold anything, NaN included: no trace of them is left.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Return x, float32 (B, D), scaled; `present`, bool (B,), says which rows have the modality."""
        there = present.unsqueeze(1)
        return torch.where(there, (x - self.shift) * self.scale, torch.zeros((), dtype=x.dtype, device=x.device))

    def fit_standard(self, x: Tensor) -> None:
        """Learn mean and deviation of the observed rows x, float32 (n, D); constant features are only centred."""
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
    """Return `present`, bool (B, M), with all but one modality hidden from this share of the items.

    Items and modalities are drawn by torch's global generator.
    """
    if not share:
        return present
    chosen = torch.rand(len(present), 1, device=present.device) < share
    kept = ((1 + torch.rand(present.shape, device=present.device)) * present).argmax(dim=1)
    return torch.where(chosen, F.one_hot(kept, present.shape[1]).bool(), present)
