"""The terms of CICH's eq. 3 (PSSC) and eq. 5 to 7 (SaCH), each a mean; eq. 8 to 10 (CCA) are in `recovery`.

`cich.method` says what means in place of the paper's sums do to the weights. The terms of a batch are sums over
modalities, or over pairs of them divided by M - 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ichash_export.losses import pairwise_likelihood, shared_label, signs
from ichash_export.methods.base import Terms
from ichash_export.methods.cich.memory import LabelSets, Memory
from ichash_export.methods.cich.networks import View

Views = Mapping[str, View]
"""By modality."""


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


def prototype_losses(psi: Tensor, s: Tensor, b: Tensor, index: Tensor, sets: LabelSets, memory: Memory) -> Terms:
    """Return the terms of eq. 3 that train the prototypes: k = p, and k = u, v for the codes that the memory holds.

    Args:
        psi: the prototypical codes of `sets`, float32 (U, K).
        s: float32 (B, U), 1 where an item of the batch shares a label with a label set, else 0.
        b: shared codes of the batch (B, K).
        index: int64 (B,), which training items these are.
        sets: the labels of all items.
        memory: the codes of the start of the round; empty: k = p only.
    """
    own = psi[sets.which[index]]
    likelihood, distance = pairwise_likelihood(own, psi, s, sets.counts), quantisation_to(own, b)
    for seen in memory.values():
        there = seen.place[index] >= 0
        if there.any():
            h = seen.h[seen.place[index[there]]]
            likelihood = likelihood + pairwise_likelihood(h, psi, s[there], sets.counts)
    return {"L_P": likelihood, "L_Q": distance}


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


def contrast_term(
    views: Views, recovered: Mapping[str, tuple[Tensor, Tensor]], labels: Tensor, *, tau: float, propagate: bool
) -> Tensor:
    """Return L^SaCH (eq. 5 to 7) among all items of the batch that have a code, observed or recovered.

    Args:
        views: the batch.
        recovered: by modality, the rows that lack it, int64 (R,), and the codes of their recovered features (R, K).
        labels: float32 (B, C).
        tau: temperature.
        propagate: take eq. 6 for recovered items, else S for all.
    """
    s, codes, found = shared_label(labels, labels), [], []
    for m, view in views.items():
        rows, h = recovered.get(m, (view.rows[:0], view.h[:0]))
        made = torch.cat([torch.zeros_like(view.rows), torch.ones_like(rows)]).bool()
        codes.append((torch.cat([view.rows, rows]), torch.cat([view.h, h]), made))
    for (rows_u, h_u, made_u), (rows_v, h_v, made_v) in combinations(codes, 2):
        if len(rows_u) and len(rows_v):
            a = adjacency(s[rows_u][:, rows_v], made_u, made_v, propagate=propagate)
            found.append(semantic_contrast(h_u, h_v, a, tau))
    return _sum(found) / (len(views) - 1) if found else labels.new_zeros(())


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
