"""The terms of CICH's eq. 3 (PSSC) and eq. 5 to 7 (SaCH), each a mean; eq. 8 to 10 (CCA) are in `recovery`.

`cich.method` says what means in place of the paper's sums do to the weights. The terms of a batch are sums over
modalities, or over pairs of them divided by M - 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ichash_export.losses import pairwise_likelihood, shared_label, signs
from ichash_export.methods.cich.memory import LabelSets
from ichash_export.methods.cich.networks import View

Views = Mapping[str, View]
"""By modality."""


@dataclass(frozen=True)
class Coded:
    """The codes of one modality in a batch."""

    rows: Tensor
    """int64 (R,), the rows of the batch that have a code."""
    h: Tensor
    """Relaxed codes, float32 (R, K)."""
    recovered: Tensor
    """bool (R,), True where the row lacks the modality and its code is that of a recovered feature."""


def quantisation_to(h: Tensor, b: Tensor) -> Tensor:
    """Return the last term of eq. 3: the squared distance of h (m, K) from b (m, K), the mean over items and bits."""
    return F.mse_loss(h, b)


def quantisation_term(views: Views, b: Tensor) -> Tensor:
    """Return L_Q, the last term of eq. 3, for k = u, v; b (B, K) holds the shared codes of the batch."""
    return _sum([quantisation_to(view.h, b[view.rows]) for view in views.values() if len(view.rows)])


def prototype_term(views: Views, labels: Tensor, psi: Tensor, sets: LabelSets) -> Tensor:
    """Return L_P, the likelihood in eq. 3, for k = u, v: the batch, with labels (B, C), against all n prototypes.

    psi, float32 (U, K), are the prototypical codes of `sets`.
    """
    s = shared_label(labels, sets.labels)
    return _sum(
        [pairwise_likelihood(view.h, psi, s[view.rows], sets.counts) for view in views.values() if len(view.rows)]
    )


def pair_term(views: Views, labels: Tensor) -> Tensor:
    """Return the likelihood of Table V's "Pair": that of eq. 3 between codes of two modalities, within the batch."""
    s = shared_label(labels, labels)
    found = [
        pairwise_likelihood(u.h, v.h, s[u.rows][:, v.rows])
        for u, v in combinations(views.values(), 2)
        if len(u.rows) and len(v.rows)
    ]
    return _sum(found) / (len(views) - 1) if found else labels.new_zeros(())


def adjacency(s: Tensor, recovered_a: Tensor, recovered_b: Tensor, *, propagate: bool = True) -> Tensor:
    """Return A of eq. 5, float32 (a, b): S between observed items, eq. 6 where either of the two is recovered.

    Eq. 6 is I((S S^T) S): two items are positive that are linked through one more item of either side.

    Args:
        s: (a, b), 1 where two items share a label, else 0.
        recovered_a: bool (a,), True where the modality of the item was recovered.
        recovered_b: bool (b,), the same for the items of the other side.
        propagate: False leaves S everywhere.
    """
    if not propagate:
        return s
    spread = ((s @ s.T) @ s > 0).to(s.dtype)
    return torch.where(recovered_a.unsqueeze(1) | recovered_b.unsqueeze(0), spread, s)


def contrast(h_a: Tensor, h_b: Tensor, a: Tensor, tau: float) -> Tensor:
    """Return eq. 5 in one direction: the mean over the anchors i of a, and over the positives r in b of each anchor.

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
    """Return L^SaCH of eq. 7: eq. 5 from u to v and from v to u, where a (u, v) is the adjacency."""
    return contrast(h_u, h_v, a, tau) + contrast(h_v, h_u, a.T, tau)


def contrast_term(codes: Mapping[str, Coded], labels: Tensor, *, tau: float, propagate: bool) -> Tensor:
    """Return L^SaCH (eq. 5 to 7) among all items of the batch that have a code, observed or recovered.

    Args:
        codes: by modality.
        labels: float32 (B, C).
        tau: temperature.
        propagate: take eq. 6 for recovered items, else S for all.
    """
    s, found = shared_label(labels, labels), []
    for u, v in combinations(codes.values(), 2):
        if len(u.rows) and len(v.rows):
            a = adjacency(s[u.rows][:, v.rows], u.recovered, v.recovered, propagate=propagate)
            found.append(semantic_contrast(u.h, v.h, a, tau))
    return _sum(found) / (len(codes) - 1) if found else labels.new_zeros(())


def label_term(heads: nn.ModuleDict, views: Views, labels: Tensor) -> Tensor:
    """Return the cross-entropy of the label heads; the paper's eq. 11 does not have it."""
    return _sum(
        [
            F.binary_cross_entropy_with_logits(heads[m](view.mu), labels[view.rows])
            for m, view in views.items()
            if len(view.rows)
        ]
    )


def shared_codes(parts: list[Tensor]) -> Tensor:
    """Return B = sign(H^u + H^v + Psi), step 6 of Algorithm 1; each part is (n, K)."""
    return signs(torch.stack(parts).sum(dim=0))


def _sum(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum()
