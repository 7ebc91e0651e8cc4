"""The generators of JCPMH, and what guides them in training: its graph autoencoder and the loss of its classifiers."""

from __future__ import annotations

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ichash_export.layers import mean_of_present, mlp
from ichash_export.losses import squashed_similarity


class Generators(nn.Module):
    """The generators f_g: one MLP for each ordered pair of modalities.

    Args:
        dims: feature size of each modality, in order.
        words: the modalities that lie in [0, 1]: what is generated for them has passed a sigmoid.
        hidden: width of the hidden layer.
    """

    def __init__(self, dims: dict[str, int], words: frozenset[str], hidden: int) -> None:
        super().__init__()
        self.words = words
        self.sources = {target: [m for m in dims if m != target] for target in dims}
        self.pairs = nn.ModuleDict({_key(a, b): mlp((dims[a], hidden, dims[b])) for a, b in permutations(dims, 2)})

    @torch.no_grad()
    def start_at(self, target: str, mean: Tensor) -> None:
        """Let what is generated for a modality of words begin near its mean, (D_target,) in [0, 1]."""
        for source in self.sources[target]:
            last = list(self.pairs[_key(source, target)].parameters())[-1]  # the bias of the last layer
            last.copy_(torch.logit(mean, eps=1e-3))

    def forward(self, target: str, features: dict[str, Tensor], present: Tensor) -> Tensor:
        """Return the mean of what the modalities that are there generate for `target`, (B, D_target), or zeros.

        Args:
            target: the modality to make.
            features: float32 (B, D_m) for every modality, in that order.
            present: bool (B, M).
        """
        there = present[:, [i for i, m in enumerate(features) if m != target]]
        return mean_of_present(torch.stack([self._made(m, target, features[m]) for m in self.sources[target]]), there)

    def _made(self, source: str, target: str, x: Tensor) -> Tensor:
        y: Tensor = self.pairs[_key(source, target)](x)
        return torch.sigmoid(y) if target in self.words else y


def _key(source: str, target: str) -> str:
    return f"{source}_to_{target}"


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return eq. 1 and 13: the cross-entropy of labels (B, C) and a classifier's outputs (B, C), taken as logits."""
    return F.binary_cross_entropy_with_logits(logits, labels)


def adjacency(labels: Tensor) -> Tensor:
    """Return A~ (B, B) of items with labels (B, C): eq. 4, each row divided by its sum; zeros where that is 0."""
    squashed = squashed_similarity(labels, labels)
    return squashed / squashed.sum(dim=1, keepdim=True).clamp_min(1e-12)


class GraphAutoencoder(nn.Module):
    """The autoencoder f_A: two graph convolutions over all modalities side by side (eq. 3), then a layer for each.

    Args:
        dims: feature size of each modality, in order.
        words: the modalities that lie in [0, 1]: their outputs pass a sigmoid.
        hidden: width of the first graph convolution.
        width: width of the second.
    """

    def __init__(self, dims: dict[str, int], words: frozenset[str], hidden: int, width: int) -> None:
        super().__init__()
        self.words = words
        self.first = nn.Linear(sum(dims.values()), hidden, bias=False)
        self.second = nn.Linear(hidden, width, bias=False)
        self.decoders = nn.ModuleDict({m: nn.Linear(width, dim) for m, dim in dims.items()})

    def _outputs(self, features: dict[str, Tensor], graph: Tensor) -> dict[str, Tensor]:
        """Return what the decoders make, before any sigmoid."""
        h = torch.relu(self.first(graph @ torch.cat(list(features.values()), dim=1)))
        h = torch.relu(graph @ self.second(h))
        return {m: decoder(h) for m, decoder in self.decoders.items()}

    def forward(self, features: dict[str, Tensor], graph: Tensor) -> dict[str, Tensor]:
        """Return X^, Y^ (eq. 2) of features, float32 (B, D_m) for every modality, with the graph A~, float32 (B, B)."""
        return {m: torch.sigmoid(y) if m in self.words else y for m, y in self._outputs(features, graph).items()}

    def loss(self, features: dict[str, Tensor], graph: Tensor) -> Tensor:
        """Return L_r (eq. 5-7) of complete items; the arguments are those of `forward`."""
        loss = graph.new_zeros(())
        for m, y in self._outputs(features, graph).items():
            error = F.binary_cross_entropy_with_logits if m in self.words else F.mse_loss
            loss = loss + error(y, features[m])
        return loss
