"""The generators of JCPMH."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor, nn

from ichash_export.layers import mean_of_present, mlp


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
        """Return the mean of what the modalities that are there generate for `target`, (B, D_target); zeros where there is none.

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
