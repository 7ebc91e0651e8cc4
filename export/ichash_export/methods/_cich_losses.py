"""The loss terms of CICH, each a mean over its own elements (see the docstring of `cich` for what that does to the weights)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ichash_export.losses import pairwise_likelihood as pairwise_likelihood
from ichash_export.losses import signs as signs


def quantisation_to(h: Tensor, b: Tensor) -> Tensor:
    """L_Q of eq. (3): the squared distance of h (m, K) from the shared codes b (m, K), the mean over items and bits."""
    return F.mse_loss(h, b)


def adjacency(s: Tensor, recovered_a: Tensor, recovered_b: Tensor, *, propagate: bool = True) -> Tensor:
    """A of eq. (5): S between observed items, eq. (6) where either of the two is recovered.

    Eq. (6) is I((S S^T) S): two items are positive that are linked through one more item of either side.

    Args:
        s: (a, b), 1 where two items share a label, else 0.
        recovered_a: bool (a,), True where the item's modality was recovered.
        recovered_b: bool (b,), likewise.
        propagate: False leaves S everywhere.
    """
    if not propagate:
        return s
    spread = ((s @ s.T) @ s > 0).to(s.dtype)
    return torch.where(recovered_a.unsqueeze(1) | recovered_b.unsqueeze(0), spread, s)


def contrast(h_a: Tensor, h_b: Tensor, a: Tensor, tau: float) -> Tensor:
    """Eq. (5), one direction: the mean over the anchors i of a, and over each anchor's positives r in b.

    Anchors without a positive do not count.

    Args:
        h_a: relaxed codes of the anchors (m, K).
        h_b: relaxed codes of the other modality (p, K).
        a: adjacency (m, p).
        tau: temperature.
    """
    log_share = F.log_softmax(torch.sigmoid(h_a @ h_b.T / 2) / tau, dim=1)
    positives = a.sum(dim=1)
    per_anchor = -(a * log_share).sum(dim=1) / positives.clamp_min(1)
    return per_anchor.sum() / (positives > 0).sum().clamp_min(1)


def semantic_contrast(h_u: Tensor, h_v: Tensor, a: Tensor, tau: float) -> Tensor:
    """L^SaCH, eq. (7): eq. (5) from u to v and from v to u, where a (u, v) is the adjacency."""
    return contrast(h_u, h_v, a, tau) + contrast(h_v, h_u, a.T, tau)


def reconstruction(target: Tensor, guess: Tensor) -> Tensor:
    """-log q(f | z) of eq. (9) and (10) for a Gaussian of unit variance, without its constant: the mean over items and features."""
    return F.mse_loss(guess, target) / 2


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(p(z | f), r(z)) of eq. (9) for N(mu, e^logvar) and r = N(0, 1): the mean over items and features."""
    return (mu.square() + logvar.exp() - 1 - logvar).mean() / 2


def shared_codes(parts: list[Tensor]) -> Tensor:
    """B = sign(H^u + H^v + Psi), step 6 of Algorithm 1; each part is (n, K)."""
    return signs(torch.stack(parts).sum(dim=0))


def hamming_neighbours(query: Tensor, bank: Tensor, k: int, exclude: Tensor | None = None) -> Tensor:
    """Indices (m, k) of the k rows of `bank` nearest to each row of `query` in Hamming space, nearest first.

    Equal distances go by index, so that the result does not depend on the device or on the other rows.

    Args:
        query: relaxed codes (m, K).
        bank: relaxed codes (p, K), p > k where `exclude` is given, else p >= k.
        k: how many.
        exclude: int64 (m,), the row of the bank that is the item itself, -1 where it is not there.
    """
    bits, p = bank.shape[1], len(bank)
    distance = (bits - signs(query) @ signs(bank).T) / 2
    key = distance.round().long() * p + torch.arange(p, device=bank.device)
    if exclude is not None:
        itself = torch.arange(p, device=bank.device) == exclude.unsqueeze(1)
        key = key.masked_fill(itself, (bits + 1) * p)
    return key.topk(k, dim=1, largest=False).indices
