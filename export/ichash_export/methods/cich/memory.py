"""What CICH knows of all training items while it trains on a batch: prototypes, and neighbours' features and codes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from ichash_export.layers import in_chunks
from ichash_export.losses import signs
from ichash_export.methods.base import TrainData
from ichash_export.methods.cich.networks import Networks
from milvus_ichash.errors import InputError


def check_items(modalities: tuple[str, ...], present: Tensor, neighbours: int) -> None:
    """Check that every term can be learnt from items with `present`, bool (n, M), and that q' finds its neighbours.

    0 `neighbours` mean that there is no q'.

    Raises:
        InputError: two modalities that no item has together, or too few items that have one to be neighbours.
    """
    for (i, a), (j, b) in combinations(enumerate(modalities), 2):
        if not (present[:, i] & present[:, j]).any():
            raise InputError(
                f"cich needs at least 1 paired training item, one that has both '{a}' and '{b}'; none of the "
                f"{len(present)} has: give it paired items."
            )
    for m, count in zip(modalities, present.sum(dim=0).tolist(), strict=True):
        if neighbours and count <= neighbours:
            cure = f"take at most {count - 1} (--set neighbours={count - 1})" if count > 1 else "give it more of them"
            raise InputError(
                f"cich with neighbours = {neighbours} needs at least {neighbours + 1} training items that have '{m}', "
                f"there are {count}: {cure}."
            )


@dataclass(frozen=True)
class LabelSets:
    """The labels of the n training items; those with the same labels count together: their prototypes are the same."""

    labels: Tensor
    """float32 (U, C), the U different label vectors."""
    counts: Tensor
    """float32 (U,), how many items have each."""
    which: Tensor
    """int64 (n,), which one an item has."""

    @classmethod
    def of(cls, labels: Tensor) -> LabelSets:
        """Return the label sets of items with these labels, float32 (n, C)."""
        different, which, counts = torch.unique(labels, dim=0, return_inverse=True, return_counts=True)
        return cls(different, counts.to(labels.dtype), which)


@dataclass(frozen=True)
class Observed:
    """The training items that have a modality, as the networks saw them at the start of a round."""

    rows: Tensor
    """int64 (N,), which of the n training items these are."""
    place: Tensor
    """int64 (n,), where among these a training item is; -1 for those without the modality."""
    features: Tensor
    """f = mu, float32 (N, width)."""
    h: Tensor
    """Relaxed codes, float32 (N, K)."""

    def neighbours(self, h: Tensor, items: Tensor, k: int) -> Tensor:
        """Return N(f) of eq. 10: features, float32 (B, k, width), of the nearest other items in Hamming space.

        Args:
            h: relaxed codes that ask, float32 (B, K), of another modality.
            items: int64 (B,), which training items ask.
            k: how many.
        """
        return self.features[hamming_neighbours(h, self.h, k, exclude=self.place[items])]


Memory = dict[str, Observed]
"""By modality."""


@torch.no_grad()
def remember(networks: Networks, data: TrainData) -> Memory:
    """Return all training items as the networks see them now, without dropout and noise."""
    training = networks.training
    networks.eval()
    memory = {m: _observed(networks, m, x, data.present[:, i]) for i, (m, x) in enumerate(data.features.items())}
    networks.train(training)
    return memory


def _observed(networks: Networks, m: str, x: Tensor, there: Tensor) -> Observed:
    rows = there.nonzero().flatten()
    place = torch.full_like(there, -1, dtype=torch.long)
    place[rows] = torch.arange(len(rows), device=rows.device)
    mu = in_chunks(lambda part: networks.mu(m, x[part]), rows)
    return Observed(rows, place, mu, networks.code(m, mu))


def hamming_neighbours(query: Tensor, bank: Tensor, k: int, exclude: Tensor | None = None) -> Tensor:
    """Return the k rows of `bank` nearest to each row of `query` in Hamming space, indices int64 (m, k), nearest first.

    Equal distances go by index, so that the result does not depend on the device or on the other rows.

    Args:
        query: relaxed codes (m, K).
        bank: relaxed codes (p, K), p > k where `exclude` is given, else p >= k.
        k: how many.
        exclude: int64 (m,), the row of the bank that is the item itself, -1 where it is not there.
    """
    bits, p = bank.shape[1], len(bank)
    distance = (bits - signs(query) @ signs(bank).T) / 2
    key = distance.round().long() * p + torch.arange(p, device=bank.device)
    if exclude is not None:
        itself = torch.arange(p, device=bank.device) == exclude.unsqueeze(1)
        key = key.masked_fill(itself, (bits + 1) * p)
    return key.topk(k, dim=1, largest=False).indices
