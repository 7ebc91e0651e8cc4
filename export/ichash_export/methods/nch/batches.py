"""The batches of stage 2 of NCH."""

from __future__ import annotations

import torch
from torch import Tensor


def proportional_batches(present: Tensor, size: int, generator: torch.Generator) -> list[Tensor]:
    """Return batches of indices, of nearly equal size, each with the shares of the presence patterns (n, M) that the whole has."""
    patterns = torch.unique(present.cpu(), dim=0, return_inverse=True)[1]
    position = torch.empty(len(present), dtype=torch.float64)
    for pattern in patterns.unique():
        rows = (patterns == pattern).nonzero().flatten()
        # Evenly spaced over [0, 1), in random order, from a random start.
        turn = torch.randperm(len(rows), generator=generator) + torch.rand((), generator=generator, dtype=torch.float64)
        position[rows] = turn / len(rows)
    parts = position.argsort().to(present.device).tensor_split(-(-len(present) // size))
    # BatchNorm cannot train on one item.
    return [part for part in parts if len(part) > 1]
