"""What guides the generators of JCPMH: its classifiers' loss and its graph autoencoder. Neither is exported."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ichash_export.losses import squashed_similarity


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return eq. 1 and 13: the cross-entropy of labels (B, C) and a classifier's outputs (B, C), before their sigmoid."""
    return F.binary_cross_entropy_with_logits(logits, labels)


def adjacency(labels: Tensor) -> Tensor:
    """Return A~ (B, B) of items with labels (B, C): eq. 4, each row divided by its sum; zeros in the row of an item without labels."""
    squashed = squashed_similarity(labels, labels)
    return squashed / squashed.sum(dim=1, keepdim=True).clamp_min(1e-12)


class GraphAutoencoder(nn.Module):
    """The autoencoder f_A: two graph convolutions over all modalities side by side (eq. 3), then a linear layer for each modality.

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
        """What the decoders make, before any sigmoid."""
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
