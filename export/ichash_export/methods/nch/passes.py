"""Batches of their own: which items pass a network of NCH together in training, so that BatchNorm's statistics are
theirs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ichash_export.layers import observed_only

LEAST = 16
"""Items that a presence pattern needs in a batch to pass by itself: statistics of a few are noise."""


def encoded_apart(
    encoder: nn.Module, x: Tensor, there: Tensor, generated: Tensor, can_be: Tensor, width: int
) -> Tensor:
    """Return the encodings (B, width) of true features, and of generated ones where those are missing.

    The true ones pass first. The generated ones pass for all items that have them, even where nothing is missing: only
    BatchNorm sees these.

    Args:
        encoder: of this modality, in training mode.
        x: its features, float32 (B, D).
        there: which items have them, bool (B,).
        generated: features made from other modalities, float32 (B, D).
        can_be: for which items they are made, bool (B,).
        width: size of the encoding.
    """
    true = observed_only(encoder, x, there, width)
    return torch.where(there.unsqueeze(1), true, observed_only(encoder, generated, can_be, width))


def by_pattern(network: nn.Module, x: Tensor, present: Tensor) -> Tensor:
    """Return network(x), where in training each presence pattern of the items, bool (B, M), passes by itself."""
    if not network.training:
        whole: Tensor = network(x)
        return whole
    groups = pattern_groups(present)
    return torch.cat([network(x[rows]) for rows in groups])[torch.cat(groups).argsort()]


def pattern_groups(present: Tensor, least: int = LEAST) -> list[Tensor]:
    """Return the items (indices, int64) of each presence pattern, bool (B, M): complete ones first.

    Those of patterns with fewer than `least` items pass together; where that is too few still, with the first group.
    """
    patterns, of_item = torch.unique(present, dim=0, return_inverse=True)
    groups = [(of_item == p).nonzero().flatten() for p in reversed(range(len(patterns)))]
    own = [rows for rows in groups if len(rows) >= least]
    rare = [rows for rows in groups if len(rows) < least]
    if rare and own and sum(map(len, rare)) < least:
        own[0] = torch.cat([own[0], *rare])
    elif rare:
        own.append(torch.cat(rare))
    return own
