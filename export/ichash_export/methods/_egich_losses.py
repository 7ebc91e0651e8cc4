"""The loss terms of EGICH, each a mean; numbers are those of `egich`'s docstring."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ichash_export.losses import cosine


def dice(a: Tensor, b: Tensor) -> Tensor:
    """P_ij = 2 l_i . l_j / (|l_i| + |l_j|), (A, B) in [0, 1], of multi-hot labels (A, C) and (B, C); 0 where neither has a label."""
    sizes = a.sum(dim=1).unsqueeze(1) + b.sum(dim=1)
    return 2 * (a @ b.T) / sizes.clamp_min(1)


def soft_cross_entropy(h_a: Tensor, h_b: Tensor, p: Tensor, temperature: float) -> Tensor:
    """Eq. 4, 5: cross-entropy of P (A, B) against sigmoid(cos / temperature) of codes (A, K) and (B, K), the mean over pairs."""
    return F.binary_cross_entropy_with_logits(cosine(h_a, h_b) / temperature, p)


def alignment(h: Tensor, anchors: Tensor, temperature: float) -> Tensor:
    """Eq. 3: KL of an item's cosines to the batch's codes from those to the batch's anchors, each as a distribution; the mean over items.

    Args:
        h: codes (B, K).
        anchors: completed codes of the same items (B, K).
        temperature: of both softmaxes.
    """
    own = F.log_softmax(cosine(h, h) / temperature, dim=1)
    guided = F.log_softmax(cosine(h, anchors) / temperature, dim=1)
    return F.kl_div(own, guided, reduction="batchmean", log_target=True)
