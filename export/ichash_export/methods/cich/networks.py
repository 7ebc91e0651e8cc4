"""The networks of CICH: variational encoders, and the approximators that recover a missing modality."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from milvus_ichash.errors import InputError

POOLS = (5, 10, 15, 30, 50)
"""Widths, in words, of the average pools of the public code's text encoder."""


class MultiScale(nn.Module):
    """The public code's pooling, (B, D) -> (B, 6 D): the input, and its averages over 5 to 50 words, back at size D.

    Args:
        dim: D, at least 50.

    Raises:
        InputError: fewer features than the widest pool takes.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim < max(POOLS):
            raise InputError(
                f"cich pools over up to {max(POOLS)} words, the modality has {dim} features: leave it out of 'pooling'."
            )
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Return x, float32 (B, D), pooled, (B, 6 D)."""
        row = x.unsqueeze(1)
        scales = [
            F.interpolate(F.avg_pool1d(row, width), size=self.dim, mode="linear", align_corners=False)
            for width in POOLS
        ]
        return torch.cat([row, *scales], dim=1).flatten(1)


class Encoder(nn.Module):
    """An encoder of features, float32 (B, D), to mean and log-variance of z, each (B, width); IV.A.3 of the paper.

    Args:
        dim: D.
        width: size of z.
        hidden: width of the hidden layer; 0: a single linear layer.
        pooling: multi-scale pooling in front.
        dropout: share of the input features that is dropped in training.
    """

    def __init__(self, dim: int, width: int, *, hidden: int, pooling: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        size = dim
        if pooling:
            layers.append(MultiScale(dim))
            size *= 1 + len(POOLS)
        if hidden:
            layers += [nn.Linear(size, hidden), nn.ReLU()]
            size = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(size, 2 * width))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of z, each (B, width), of x, float32 (B, D)."""
        mu, logvar = self.layers(x).chunk(2, dim=1)
        return mu, logvar


class Approximators(nn.Module):
    """The approximators q(f^u | z^v) and q'(f^u | z^v, N(f^v)) of eq. 9 and 10, from v to u; one linear layer each.

    Args:
        width: size of z and of the features f.
        neighbours: how many features of neighbours q' takes.
    """

    def __init__(self, width: int, neighbours: int) -> None:
        super().__init__()
        self.q = nn.Linear(width, width)
        # One layer on [z, neighbours], in two parts: the second part's input needs no gradient.
        self.q_z = nn.Linear(width, width)
        self.q_neighbours = nn.Linear(width * neighbours, width, bias=False)

    def with_context(self, z: Tensor, context: Tensor) -> Tensor:
        """Return q' of z, float32 (B, width), and of its context, (B, neighbours, width)."""
        found: Tensor = self.q_z(z) + self.q_neighbours(context.flatten(1))
        return found


@dataclass(frozen=True)
class View:
    """A modality of a batch: the rows that have it, and what the networks make of them."""

    rows: Tensor
    """int64 (R,), rows of the batch."""
    mu: Tensor
    """f = mu, float32 (R, width)."""
    logvar: Tensor
    """Log-variance of z, float32 (R, width)."""
    h: Tensor
    """Relaxed codes, float32 (R, K)."""


class Networks(nn.Module):
    """What eq. 11 trains, by modality and, for q and q', by "source->target".

    Args:
        encoders: one per modality.
        width: size of z.
        bits: code length K.
        classes: number of classes for a label head; 0: none.
        neighbours: how many neighbours q' takes; 0: there are neither q nor q'.
    """

    def __init__(self, encoders: dict[str, Encoder], *, width: int, bits: int, classes: int, neighbours: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.hash_heads = nn.ModuleDict({m: nn.Linear(width, bits) for m in encoders})
        self.label_heads = nn.ModuleDict({m: nn.Linear(width, classes) for m in encoders if classes})
        pairs = permutations(encoders, 2) if neighbours else ()
        self.approximators = nn.ModuleDict({f"{a}->{b}": Approximators(width, neighbours) for a, b in pairs})

    def mu(self, m: str, x: Tensor) -> Tensor:
        """Return f^m = mu of features x, float32 (B, D_m)."""
        mu: Tensor = self.encoders[m](x)[0]
        return mu

    def code(self, m: str, mu: Tensor) -> Tensor:
        """Return relaxed codes h^m, float32 (B, K), of mu (B, width)."""
        return torch.tanh(self.hash_heads[m](mu))

    def view(self, m: str, x: Tensor, there: Tensor) -> View:
        """Return modality m of a batch with features x (B, D_m), for the rows that have it: there, bool (B,)."""
        rows = there.nonzero().flatten()
        mu, logvar = self.encoders[m](x[rows])
        return View(rows, mu, logvar, self.code(m, mu))

    def between(self, a: str, b: str) -> Approximators:
        """Return q and q' from modality a to modality b."""
        return cast(Approximators, self.approximators[f"{a}->{b}"])
