"""Completions of PMCH: how a modality's feature makes features of the other modalities, in the encoders' space.

Table 3: "w/o Completion" has no module here: nothing is added where a modality is missing, and neither prototypes nor
L_recons are there. "+GCAE" is `GraphAutoencoder`, "+MLP" is `MLPGenerator`: without prototypes, learnt by L_recons.
Table 4: "+anchors" aggregates the features of random paired items in place of prototypes; L_proto, which needs one per
class, is left out. Table 5: "+KNN" is `NearestPrototypes`, "+GAT" and "+TEs" are `AttentionScores`, each in place of
the Weight-Net.

Every module here is called with (source, x, prototypes, labels) and returns what it recovers for each other modality:

    source      index of the modality that is there
    x           its encoder features, float32 (B, K)
    prototypes  within-modality prototypes P^m, float32 (M, C, K); generators do without
    labels      float32 (B, C) in training; None where they are not known, as in an exported graph
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ichash_export.layers import attention_scores, mlp
from ichash_export.losses import squashed_similarity

Aggregation = Literal["weight_net", "knn", "gat", "transformer"]
Recovered = dict[int, Tensor]
"""Target modality -> its features, float32 (B, K)."""


class PrototypeAggregation(nn.Module):
    """Eq. 4-5 and 12-13: coefficients omega from the modality that is there, for the prototypes of the others."""

    def __init__(self, modalities: int, coefficients: list[nn.Module]) -> None:
        super().__init__()
        self.modalities = modalities
        self.coefficients = nn.ModuleList(coefficients)

    def forward(self, source: int, x: Tensor, prototypes: Tensor, labels: Tensor | None) -> Recovered:
        """Return what is recovered for each other modality; see the module's docstring."""
        omega = self.coefficients[source](x, prototypes[source])
        return {m: omega @ prototypes[m] for m in range(self.modalities) if m != source}


class WeightNet(nn.Module):
    """W_a (eq. 4, 12): an MLP from a modality's features to one coefficient per prototype.

    Args:
        width: K.
        hidden: sizes of its hidden layers.
        prototypes: C.
        softmax: make the coefficients a convex combination; the paper has no such step.
    """

    def __init__(self, width: int, hidden: tuple[int, ...], prototypes: int, *, softmax: bool) -> None:
        super().__init__()
        self.network = mlp((width, *hidden, prototypes))
        self.softmax = softmax

    def forward(self, x: Tensor, prototypes: Tensor) -> Tensor:
        """Return omega (eq. 4), float32 (B, C), of features x (B, K), which needs no prototypes (C, K)."""
        omega: Tensor = self.network(x)
        return omega.softmax(dim=1) if self.softmax else omega


class NearestPrototypes(nn.Module):
    """Table 5, "KNN": equal coefficients for the k prototypes of the same modality with the greatest cosine, else 0."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, x: Tensor, prototypes: Tensor) -> Tensor:
        """Return coefficients, float32 (B, C), of x (B, K) from its modality's prototypes (C, K)."""
        similarity = F.normalize(x, dim=1) @ F.normalize(prototypes, dim=1).T
        k = min(self.k, prototypes.shape[0])
        nearest = similarity.topk(k, dim=1).indices
        return F.one_hot(nearest, prototypes.shape[0]).sum(dim=1).to(x.dtype) / k


class AttentionScores(nn.Module):
    """Table 5, "GAT" and "TEs": softmax over learnt similarities of a feature and the prototypes of the same modality.

    "transformer": scaled dot products of one shared projection; "gat": LeakyReLU(a . [W x, W p]), the graph attention
    network's scores.
    """

    def __init__(self, width: int, hidden: int, scores: Literal["gat", "transformer"]) -> None:
        super().__init__()
        self.project = nn.Linear(width, hidden)
        self.of_item = nn.Linear(hidden, 1, bias=False) if scores == "gat" else None
        self.of_prototype = nn.Linear(hidden, 1, bias=False) if scores == "gat" else None

    def forward(self, x: Tensor, prototypes: Tensor) -> Tensor:
        """Return coefficients, float32 (B, C), of x (B, K) from its modality's prototypes (C, K)."""
        scores = attention_scores(self.project(x), self.project(prototypes), self.of_item, self.of_prototype)
        return scores.softmax(dim=1)


class MLPGenerator(nn.Module):
    """Table 3, "+MLP": one generator per modality, of the Weight-Net's hidden sizes, to the features of all others."""

    def __init__(self, modalities: int, width: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.modalities = modalities
        self.generators = nn.ModuleList(mlp((width, *hidden, (modalities - 1) * width)) for _ in range(modalities))

    def forward(self, source: int, x: Tensor, prototypes: Tensor | None, labels: Tensor | None) -> Recovered:
        """Return what is recovered for each other modality; see the module's docstring."""
        targets = [m for m in range(self.modalities) if m != source]
        return dict(zip(targets, self.generators[source](x).chunk(len(targets), dim=1), strict=True))


class GraphAutoencoder(nn.Module):
    """Table 3, "+GCAE": a graph convolutional autoencoder over all features side by side, zeros where one is missing.

    Two graph convolutions, ReLU(A ReLU(A X W_1) W_2), then one linear decoder per modality. In training A is the
    batch's label similarity S (eq. 8) with self loops, row-normalised. A new item has neither labels nor neighbours:
    there A is the identity. So that the weights serve that case too, a row of A is replaced by its self loop with
    probability 1/2 in training.
    """

    def __init__(self, modalities: int, width: int, hidden: int) -> None:
        super().__init__()
        self.modalities, self.width = modalities, width
        self.convolutions = nn.ModuleList([nn.Linear(modalities * width, hidden), nn.Linear(hidden, hidden)])
        self.decoders = nn.ModuleList(nn.Linear(hidden, width) for _ in range(modalities))

    def forward(self, source: int, x: Tensor, prototypes: Tensor | None, labels: Tensor | None) -> Recovered:
        """Return what is recovered for each other modality; see the module's docstring."""
        adjacency = None if labels is None else self._adjacency(labels)
        z = F.pad(x, (source * self.width, (self.modalities - source - 1) * self.width))
        for convolution in self.convolutions:
            z = convolution(z)
            z = F.relu(z if adjacency is None else adjacency @ z)
        return {m: self.decoders[m](z) for m in range(self.modalities) if m != source}

    def _adjacency(self, labels: Tensor) -> Tensor:
        """Return A (B, B), whose rows sum to 1."""
        own = torch.eye(len(labels), device=labels.device)
        graph = squashed_similarity(labels, labels) + own
        alone = torch.rand(len(labels), 1, device=labels.device) < 0.5
        return torch.where(alone, own, graph / graph.sum(dim=1, keepdim=True))
