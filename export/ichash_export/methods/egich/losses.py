"""The loss terms of EGICH, each a mean; numbers are those of the docstring of `egich.method`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ichash_export.losses import cosine
from ichash_export.methods.base import Terms

TERMS = ("L_align", "L_intra", "L_inter", "L_quant", "L_label")


def dice(a: Tensor, b: Tensor) -> Tensor:
    """Return P_ij = 2 l_i . l_j / (|l_i| + |l_j|), (A, B) in [0, 1], of multi-hot labels (A, C) and (B, C).

    It is 0 where neither of the two has a label.
    """
    sizes = a.sum(dim=1).unsqueeze(1) + b.sum(dim=1)
    return 2 * (a @ b.T) / sizes.clamp_min(1)


def soft_cross_entropy(h_a: Tensor, h_b: Tensor, p: Tensor, tau: float) -> Tensor:
    """Return eq. 4 and 5: the cross-entropy of P (A, B) against sigmoid(cos / tau) of codes (A, K) and (B, K)."""
    return F.binary_cross_entropy_with_logits(cosine(h_a, h_b) / tau, p)


def alignment(h: Tensor, anchors: Tensor, theta: float) -> Tensor:
    """Return eq. 3: the KL divergence of an item's cosines to the codes of the batch from those to its anchors.

    Each row of cosines is read as a distribution, by a softmax.

    Args:
        h: codes (B, K).
        anchors: completed codes of the same items (B, K).
        theta: temperature of both softmaxes.
    """
    own = F.log_softmax(cosine(h, h) / theta, dim=1)
    guided = F.log_softmax(cosine(h, anchors) / theta, dim=1)
    return F.kl_div(own, guided, reduction="batchmean", log_target=True)


@dataclass(frozen=True)
class CodedBatch:
    """Items, and what the networks make of them, by modality."""

    labels: Tensor
    """(B, C)."""
    rows: Mapping[str, Tensor]
    """int64, the rows that have the modality."""
    codes: Mapping[str, Tensor]
    """h (B, K), completed where something completes."""
    anchors: Mapping[str, Tensor]
    """h(f*) (B, K) of all items; empty without CLEG."""
    completed: bool
    """Every item has a code of every modality."""


def modality_terms(m: str, batch: CodedBatch, b: Tensor, logits: Tensor, theta: float, tau: float) -> Terms:
    """Return eq. 3-6 for the rows that have m, at least two, and the cross-entropy of its label head.

    Args:
        m: the modality.
        batch: with its codes.
        b: B of all its items (B, K).
        logits: of the label head, of the rows that have m.
        theta: temperature of eq. 3.
        tau: temperature of eq. 4 and 5.
    """
    rows = batch.rows[m]
    own, labels = batch.codes[m][rows], batch.labels[rows]
    others = [k for k in batch.codes if k != m]
    align = [alignment(own, batch.anchors[k][rows], theta) for k in others if batch.anchors]
    inter = []
    for k in others:
        facing = torch.arange(len(batch.labels), device=rows.device) if batch.completed else batch.rows[k]
        if len(facing):
            inter.append(soft_cross_entropy(own, batch.codes[k][facing], dice(labels, batch.labels[facing]), tau))
    zero = own.new_zeros(())
    return {
        "L_align": sum(align, zero) / len(others),
        "L_intra": soft_cross_entropy(own, own, dice(labels, labels), tau),
        "L_inter": sum(inter, zero) / len(others),
        "L_quant": F.mse_loss(F.normalize(own, dim=1), b[rows]),
        "L_label": F.binary_cross_entropy_with_logits(logits, labels),
    }
