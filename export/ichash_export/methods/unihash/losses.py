"""UniHash's loss terms, each a mean over items or pairs of items; equations are numbered as in `unihash.method`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ichash_export.losses import cosine, shared_label

PREFIXES = (16, 32, 64, 96, 128, 192, 256)
"""Lengths that nested codes are trained to be cut to."""


def lengths(bits: int, *, nested: bool) -> tuple[int, ...]:
    """Return the lengths that the losses are taken over: `bits`, and the usual ones below it where codes are nested."""
    return (*[length for length in PREFIXES if length < bits and nested], bits)


def prototype_loss(codes: Tensor, prototypes: Tensor, labels: Tensor, scale: float) -> Tensor:
    """Return L_proto (eq. 5): the cross-entropy of the classes' softmax with the item's labels, an equal share each.

    Args:
        codes: relaxed (B, K).
        prototypes: (C, K).
        labels: float multi-hot (B, C); an item without a class is left out of the mean.
        scale: of the cosines.
    """
    counts = labels.sum(dim=1)
    share = labels / counts.clamp_min(1).unsqueeze(1)
    entropies = -(share * (scale * cosine(codes, prototypes)).log_softmax(dim=1)).sum(dim=1)
    return entropies.sum() / (counts > 0).sum().clamp_min(1)


def pair_loss(codes: Tensor, labels: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Return L_pair (eq. 6) over all pairs of codes (B, K): the cross-entropy of sigmoid(scale cos + bias)."""
    if not len(codes):
        return codes.new_zeros(())
    return F.binary_cross_entropy_with_logits(scale * cosine(codes, codes) + bias, shared_label(labels, labels))


def rank_loss(codes: Tensor, labels: Tensor, kinds: Tensor, temperature: float) -> Tensor:
    """Return L_rank (eq. 7): how far up codes that share a label come among the codes of their kind.

    Args:
        codes: relaxed (B, K).
        labels: float multi-hot (B, C).
        kinds: int64 (B,), from 0 on: codes of the same modalities have the same number.
        temperature: of the cosines. A code with which no other shares a label is left out of the mean.
    """
    if not len(codes):
        return codes.new_zeros(())
    itself = torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    relevant = shared_label(labels, labels).masked_fill(itself, 0.0)
    counts = relevant.sum(dim=1)
    logits = (cosine(codes, codes) - 1) / temperature
    of_a_kind = logits.exp().masked_fill(itself, 0.0) @ F.one_hot(kinds).to(codes.dtype)
    chances = logits - of_a_kind.clamp_min(torch.finfo(codes.dtype).tiny).log()[:, kinds]
    return -((relevant * chances).sum(dim=1) / counts.clamp_min(1)).sum() / (counts > 0).sum().clamp_min(1)


def consistency(codes: Tensor, targets: Tensor) -> Tensor:
    """Return L_cons (eq. 8): 1 - cos of the codes (B, K) of subsets with those of whole items, which do not move."""
    if not len(codes):
        return codes.new_zeros(())
    return (1 - F.cosine_similarity(codes, targets.detach(), dim=1)).mean()


def contrast(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Return L_con (eq. 9): of the same items in two subsets, codes (B, K) each: which is whose, both ways round."""
    if len(a) < 2:
        return a.new_zeros(())
    logits, target = cosine(a, b) / temperature, torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
