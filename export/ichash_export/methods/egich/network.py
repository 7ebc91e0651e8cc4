"""The network of a modality in EGICH."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ichash_export.layers import normed_mlp, observed_only


class Network(nn.Module):
    """The encoder, the hash head and the label head of a modality.

    Args:
        sizes: of the input, the hidden layer and f.
        bits: K.
        classes: C.
        dropout: after each block of the encoder.
        input_dropout: in front of it.
    """

    def __init__(
        self, sizes: tuple[int, int, int], bits: int, classes: int, *, dropout: float, input_dropout: float
    ) -> None:
        super().__init__()
        self.width = sizes[-1]
        self.encoder = nn.Sequential(nn.Dropout(input_dropout), normed_mlp(sizes, nn.ReLU, dropout=dropout))
        self.hash_head = nn.Linear(self.width, bits)
        self.label_head = nn.Linear(self.width, classes)

    def features(self, x: Tensor, there: Tensor) -> Tensor:
        """Return f (B, width) of x (B, D), with zeros in the rows that are not there, bool (B,)."""
        return observed_only(self.encoder, x, there, self.width)

    def code(self, f: Tensor) -> Tensor:
        """Return h (B, K) of features f (B, width)."""
        return torch.tanh(self.hash_head(f))
