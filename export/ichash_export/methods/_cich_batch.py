"""The terms of CICH's eq. (11) on a batch: sums over modalities, or over pairs of them divided by M - 1."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from ichash_export.losses import shared_label
from ichash_export.methods._cich_losses import adjacency, pairwise_likelihood, quantisation_to, semantic_contrast
from ichash_export.methods._cich_memory import LabelSets
from ichash_export.methods._cich_networks import Networks, View
from ichash_export.methods._cich_recovery import Recovered

Views = Mapping[str, View]
"""By modality."""


def quantisation_term(views: Views, b: Tensor) -> Tensor:
    """L_Q of eq. (3) for k = u, v; b (B, K) holds the batch's shared codes."""
    return _sum([quantisation_to(view.h, b[view.rows]) for view in views.values() if len(view.rows)])


def prototype_term(views: Views, labels: Tensor, psi: Tensor, sets: LabelSets) -> Tensor:
    """L_P of eq. (3) for k = u, v: the batch, with labels (B, C), against all n prototypes; psi (U, K) are those of `sets`."""
    s = shared_label(labels, sets.labels)
    return _sum(
        [pairwise_likelihood(view.h, psi, s[view.rows], sets.counts) for view in views.values() if len(view.rows)]
    )


def pair_term(views: Views, labels: Tensor) -> Tensor:
    """Table V, "Pair": L_P of eq. (3) between the codes of two modalities, within the batch."""
    s = shared_label(labels, labels)
    found = [
        pairwise_likelihood(u.h, v.h, s[u.rows][:, v.rows])
        for u, v in combinations(views.values(), 2)
        if len(u.rows) and len(v.rows)
    ]
    return _sum(found) / (len(views) - 1) if found else labels.new_zeros(())


def label_term(networks: Networks, views: Views, labels: Tensor) -> Tensor:
    """Cross-entropy of the label heads; not in eq. (11)."""
    heads = networks.label_heads
    return _sum(
        [
            F.binary_cross_entropy_with_logits(heads[m](view.mu), labels[view.rows])
            for m, view in views.items()
            if len(view.rows)
        ]
    )


def contrast_term(
    networks: Networks, views: Views, recovered: Mapping[str, Recovered], labels: Tensor, *, tau: float, propagate: bool
) -> Tensor:
    """L^SaCH, eq. (5)-(7), among all items of the batch that have a code of either modality, observed or recovered.

    Args:
        networks: for the codes of recovered features.
        views: the batch.
        recovered: what it lacks; empty: observed codes only.
        labels: (B, C).
        tau: temperature.
        propagate: eq. (6) for recovered items.
    """
    s, codes = shared_label(labels, labels), {}
    for m, view in views.items():
        rows, h, made = view.rows, view.h, torch.zeros_like(view.rows, dtype=torch.bool)
        if m in recovered:
            more = recovered[m]
            rows = torch.cat([rows, more.rows])
            h = torch.cat([h, networks.code(m, more.features)])
            made = torch.cat([made, torch.ones_like(more.rows, dtype=torch.bool)])
        codes[m] = rows, h, made
    found = []
    for (rows_u, h_u, made_u), (rows_v, h_v, made_v) in combinations(codes.values(), 2):
        if len(rows_u) and len(rows_v):
            a = adjacency(s[rows_u][:, rows_v], made_u, made_v, propagate=propagate)
            found.append(semantic_contrast(h_u, h_v, a, tau))
    return _sum(found) / (len(views) - 1) if found else labels.new_zeros(())


def _sum(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum()
