"""UniHash's networks: encoders, gates, and what its ablations put in the place of what is missing."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def encoder(dim: int, hidden: int, width: int, input_dropout: float, dropout: float) -> nn.Sequential:
    """Return E_m (eq. 1), from one modality into the latent space: two linear layers, GELU between them."""
    return nn.Sequential(
        nn.Dropout(input_dropout), nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width)
    )


class Gates(nn.Module):
    """Eq. 2: the latents of M modalities into one, a convex combination whose weights the latents decide."""

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__()
        self.scores = nn.ModuleList(nn.Linear(width, 1) for _ in range(modalities))

    def forward(self, latents: Tensor, there: Tensor) -> Tensor:
        """Return f (B, W) of latents (B, M, W); where `there`, bool (B, M), is False a latent has no weight."""
        scores = torch.cat([score(torch.tanh(latents[:, m])) for m, score in enumerate(self.scores)], dim=1)
        weights = scores.masked_fill(~there, torch.finfo(scores.dtype).min).softmax(dim=1)
        return (weights.unsqueeze(2) * latents).sum(dim=1)


class Memory(nn.Module):
    """Ablation: slots that hold, side by side, what goes together: a key and a latent of each modality."""

    def __init__(self, modalities: int, width: int, slots: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.keys = nn.Parameter(torch.randn(slots, width))
        self.latents = nn.Parameter(torch.randn(modalities, slots, width) * width**-0.5)

    def forward(self, known: Tensor) -> Tensor:
        """Return the latents (B, M, W) that go with what is known, (B, W)."""
        attention = (self.query(known) @ self.keys.T / known.shape[1] ** 0.5).softmax(dim=1)
        return torch.einsum("bs,msw->bmw", attention, self.latents)


class MeanLatents(nn.Module):
    """In the memory's place: one learnt latent for each modality, whatever is known."""

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.zeros(modalities, width))

    def forward(self, known: Tensor) -> Tensor:
        """Return the latents (B, M, W), the same for every item."""
        return self.latents.expand(known.shape[0], -1, -1)  # len() would fix the batch size of the exported graph
