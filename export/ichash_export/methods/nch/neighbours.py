"""The neighbour-aware completion of NCH: a missing modality from anchors that have it, by features and labels both."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ichash_export.layers import attention_scores, normed_mlp

Scores = Literal["transformer", "gat"]
Kind = Literal["transformer", "gat", "knn"]


class NeighbourAttention(nn.Module):
    """N_ab: a target modality of labelled items from their source modality, by attention to A anchors that have both.

    Queries and keys are one projection of the source modality, values one of the target modality. A score is multiplied
    by the label similarity S of item and anchor before the softmax. Then BatchNorm; a feed-forward network with a
    residual connection; BatchNorm; and a decoder to the target's features.

    Args:
        source: feature size of the source modality.
        target: feature size of the target modality.
        width: size of queries, keys and values.
        hidden: size of the hidden layer of the feed-forward network.
        dropout: of that layer, and of the network's output before it is added to its input.
        scores: "transformer", scaled dot products; "gat", the additive scores of a graph attention network.
    """

    def __init__(
        self, source: int, target: int, *, width: int, hidden: int, dropout: float, scores: Scores = "transformer"
    ) -> None:
        super().__init__()
        self.project = nn.Linear(source, width)
        self.values = nn.Linear(target, width)
        self.of_item = nn.Linear(width, 1) if scores == "gat" else None
        self.of_anchor = nn.Linear(width, 1, bias=False) if scores == "gat" else None
        self.norm_attended = nn.BatchNorm1d(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, hidden), nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
        )
        self.norm_fed = nn.BatchNorm1d(width)
        self.decoder = normed_mlp((width, target))

    def forward(self, x: Tensor, s: Tensor, anchors: Tensor, anchor_targets: Tensor) -> Tensor:
        """Return the target modality, float32 (B, D_target) in (-1, 1).

        Args:
            x: source modality of the items, float32 (B, D_source).
            s: label similarity of items and anchors, float32 (B, A).
            anchors: source modality of the anchors, float32 (A, D_source).
            anchor_targets: target modality of the anchors, float32 (A, D_target).
        """
        scores = attention_scores(self.project(x), self.project(anchors), self.of_item, self.of_anchor)
        z = self.norm_attended(torch.softmax(scores * s, dim=1) @ self.values(anchor_targets))
        completed: Tensor = self.decoder(self.norm_fed(z + self.feed_forward(z)))
        return completed


class NearestAnchors(nn.Module):
    """The variant "knn": the mean target modality of the k nearest anchors, by S (1 + cosine). Nothing is learnt."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, x: Tensor, s: Tensor, anchors: Tensor, anchor_targets: Tensor) -> Tensor:
        """Return the target modality, float32 (B, D_target): a mean of true features, so not bound to (-1, 1)."""
        nearness = s * (1 + F.normalize(x, dim=1) @ F.normalize(anchors, dim=1).T)
        nearest = nearness.topk(min(self.k, len(anchors)), dim=1).indices
        return anchor_targets[nearest].mean(dim=1)


def neighbour_module(
    kind: Kind, source: int, target: int, *, width: int, hidden: int, dropout: float, nearest: int
) -> nn.Module:
    """Return N_ab for a setting of `neighbour`; `source` and `target` are the feature sizes of a and b."""
    if kind == "knn":
        return NearestAnchors(nearest)
    return NeighbourAttention(source, target, width=width, hidden=hidden, dropout=dropout, scores=kind)
