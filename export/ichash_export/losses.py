"""Similarities and loss terms that several methods use; each term is a mean, whatever the size of the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def shared_label(a: Tensor, b: Tensor) -> Tensor:
    """Return S01 (A, B): 1 where two items share a label, else 0. Labels are float multi-hot (A, C) and (B, C)."""
    return (a @ b.T > 0).to(a.dtype)


def squashed_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return S = 2 / (1 + exp(-l_i . l_j)) - 1, (A, B) in [0, 1) (PMCH eq. 8, JCPMH eq. 4, NCH)."""
    return 2 * torch.sigmoid(a @ b.T) - 1


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosines (A, B) between the rows of a (A, K) and of b (B, K)."""
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


def quantisation(h: Tensor) -> Tensor:
    """Return the mean squared distance of codes (B, K) from their signs (PMCH eq. 9, JCPMH eq. 11, NCH's L3)."""
    return F.mse_loss(h, signs(h).detach())


def signs(h: Tensor) -> Tensor:
    """Return sign(h) in {-1, +1}; zero is a 0 bit, that is -1, as the bit rule has it (torch.sign(0) is 0)."""
    return torch.where(h > 0, 1.0, -1.0).to(h.dtype)


def pairwise_likelihood(h: Tensor, psi: Tensor, s: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean of -(S Lambda - log(1 + e^Lambda)), Lambda = h^T psi / 2, over all pairs (CICH eq. 3, DCMH's J).

    Args:
        h: relaxed codes (m, K).
        psi: prototypical codes, or the other modality's (p, K).
        s: (m, p), 1 where the two share a label, else 0.
        weights: (p,), how many of the n prototypes each row of psi stands for; None: one each.
    """
    lam = h @ psi.T / 2
    loss = F.softplus(lam) - s * lam
    return loss.mean() if weights is None else (loss @ weights).mean() / weights.sum()


def similarity_loss(h: Tensor, labels: Tensor) -> Tensor:
    """Return (cos(h_i, h_j) - S_ij)^2, the mean over all pairs of a batch (PMCH eq. 7, JCPMH eq. 10, NCH's L2).

    h are relaxed codes (B, K), S the squashed similarity of their labels (B, C).
    """
    return F.mse_loss(cosine(h, h), squashed_similarity(labels, labels))


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of x over the entries where the mask, of the same shape, is 1 or True; 0 where it is nowhere."""
    return (x * mask).sum() / mask.sum().clamp_min(1)
