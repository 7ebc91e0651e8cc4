"""How an epoch cuts the training items into batches: each function returns lists of indices, int64, at random."""

from __future__ import annotations

import torch
from torch import Tensor


def batches(
    n: int, size: int, generator: torch.Generator, device: torch.device, *, drop_single: bool = True
) -> list[Tensor]:
    """Return n items in batches of `size`.

    A last batch of one is left out by default (BatchNorm cannot train on it); with a new order every epoch it is
    another item each time.
    """
    order = torch.randperm(n, generator=generator).to(device)
    return [part for part in order.split(size) if len(part) > 1 or not drop_single or n == 1]


def proportional_batches(present: Tensor, size: int, generator: torch.Generator) -> list[Tensor]:
    """Return batches of nearly equal size, each with the same shares of the presence patterns, bool (n, M).

    They are the shares among all items. A batch of one is left out.
    """
    patterns = torch.unique(present.cpu(), dim=0, return_inverse=True)[1]
    position = torch.empty(len(present), dtype=torch.float64)
    for pattern in patterns.unique():
        rows = (patterns == pattern).nonzero().flatten()
        # Evenly spaced over [0, 1), in random order, from a random start.
        turn = torch.randperm(len(rows), generator=generator) + torch.rand((), generator=generator, dtype=torch.float64)
        position[rows] = turn / len(rows)
    parts = position.argsort().to(present.device).tensor_split(-(-len(present) // size))
    return [part for part in parts if len(part) > 1]


def grouped_batches(
    present: Tensor, needed: list[int], size: int, generator: torch.Generator, *, mixed: bool
) -> list[Tensor]:
    """Return batches of the items that have one of the modalities needed, none of a single item.

    Args:
        present: bool (n, M).
        needed: columns of `present`.
        size: items in a batch.
        generator: of their order.
        mixed: all items alike; else group by group, complete items first, then those that lack the same.
    """
    there = present[:, needed].any(dim=1)
    patterns = sorted(present[there].unique(dim=0).tolist(), key=lambda pattern: (-sum(pattern), pattern))
    groups = [(present == torch.tensor(pattern, device=present.device)).all(dim=1) for pattern in patterns]
    found = []
    for group in [there] if mixed else groups:
        rows = group.nonzero().flatten()
        found += [rows[part] for part in batches(len(rows), size, generator, present.device) if len(part) > 1]
    return found


def labelled_batches(known: Tensor, size: int, generator: torch.Generator) -> list[Tensor]:
    """Return batches of all items; where the labels of few are known, these come more than once.

    Each batch then has up to half its size of them, beside its share of the others. `known` is bool (n,).
    """
    if known.all() or not known.any():
        return batches(len(known), size, generator, known.device)

    def shuffled(rows: Tensor) -> Tensor:
        return rows[torch.randperm(len(rows), generator=generator).to(rows.device)]

    taught, others = known.nonzero().flatten(), (~known).nonzero().flatten()
    steps = -(-len(known) // size)
    wanted = max(len(taught), steps * min(size // 2, len(taught)))
    turns = torch.cat([shuffled(taught) for _ in range(-(-wanted // len(taught)))])[:wanted]
    pairs = zip(turns.tensor_split(steps), shuffled(others).tensor_split(steps), strict=True)
    return [torch.cat(pair) for pair in pairs]
