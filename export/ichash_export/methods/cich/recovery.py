"""Eq. 8 to 10 of CICH (CCA), and how it recovers what is missing: in a batch, for all items, and in the export."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ichash_export.layers import mean_of_present
from ichash_export.methods.base import Terms
from ichash_export.methods.cich.memory import Memory
from ichash_export.methods.cich.networks import Networks, View


def reconstruction(target: Tensor, guess: Tensor) -> Tensor:
    """Return -log q(f | z) of eq. 9 and 10 for a Gaussian of unit variance, without its constant.

    A mean over items and features.
    """
    return F.mse_loss(guess, target) / 2


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(p(z | f), r(z)) of eq. 9 for N(mu, e^logvar) and r = N(0, 1): the mean over items and features."""
    return (mu.square() + logvar.exp() - 1 - logvar).mean() / 2


@dataclass(frozen=True)
class Recovered:
    """Features of one modality for the rows that lack it."""

    rows: Tensor
    """int64 (R,)."""
    features: Tensor
    """float32 (R, width)."""


class NeighbourRecovery:
    """q' with the neighbours that items had when the round began, and eq. 10, by which q and q' learn.

    Args:
        networks: with q and q'.
        memory: of the start of the round.
        neighbours: K, how many q' takes.
        beta: weight of the divergence in eq. 10.
    """

    def __init__(self, networks: Networks, memory: Memory, neighbours: int, beta: float) -> None:
        self.networks, self.memory, self.neighbours, self.beta = networks, memory, neighbours, beta

    def batch(self, views: dict[str, View], index: Tensor) -> tuple[Terms, dict[str, Recovered]]:
        """Return the term L^CCA (eq. 10) of a batch, and the features that the batch lacks, by modality.

        Args:
            views: the batch.
            index: int64 (B,), which training items these are.
        """
        loss = index.new_zeros((), dtype=torch.float32)
        guesses: dict[str, list[Recovered]] = {m: [] for m in views}
        for v, u in permutations(views, 2):
            view = views[v]
            z = view.mu + torch.randn_like(view.mu) * (view.logvar / 2).exp()
            items = index[view.rows]
            guess = self._guess(v, u, z, view.h, items)
            if len(view.rows):
                loss = loss + self.beta * kl_standard_normal(view.mu, view.logvar)
            both = self.memory[u].place[items] >= 0
            if both.any():
                f = _matching(views[u], view.rows[both], len(index)).detach()
                loss = loss + reconstruction(f, self.networks.between(v, u).q(z[both])) + reconstruction(f, guess[both])
            guesses[u].append(Recovered(view.rows[~both], guess[~both]))
        return {"L_CCA": loss / (len(views) - 1)}, {m: _mean_by_row(found) for m, found in guesses.items()}

    def items(self, u: str) -> Recovered:
        """Return modality u of all training items that lack it, from z = mu."""
        guesses = []
        lacking = self.memory[u].place < 0
        for v, seen in self.memory.items():
            if v != u:
                place = seen.place[lacking & (seen.place >= 0)]
                guess = self._guess(v, u, seen.features[place], seen.h[place], seen.rows[place])
                guesses.append(Recovered(seen.rows[place], guess))
        return _mean_by_row(guesses)

    def _guess(self, v: str, u: str, z: Tensor, h: Tensor, items: Tensor) -> Tensor:
        """q'(f^u | z^v, N(f^v)), (R, width), of these training items."""
        context = self.memory[u].neighbours(h.detach(), items, self.neighbours)
        return self.networks.between(v, u).with_context(z, context)


class MeanRecovery:
    """The mean feature of a modality, for every item that lacks it.

    Args:
        memory: of the start of the round.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def batch(self, views: dict[str, View], index: Tensor) -> tuple[Terms, dict[str, Recovered]]:
        """Return no term, and the features that the batch lacks, by modality."""
        missing = {m: (self.memory[m].place[index] < 0).nonzero().flatten() for m in views}
        return {}, {m: self._means(m, rows) for m, rows in missing.items()}

    def items(self, u: str) -> Recovered:
        """Return modality u of all training items that lack it."""
        return self._means(u, (self.memory[u].place < 0).nonzero().flatten())

    def _means(self, u: str, rows: Tensor) -> Recovered:
        features = self.memory[u].features
        return Recovered(rows, features.mean(dim=0).expand(len(rows), features.shape[1]))


Recovery = NeighbourRecovery | MeanRecovery


class StoredContext(nn.Module):
    """What the export has in place of neighbours: the mean feature of each modality, and its class prototypes.

    Args:
        modalities: their names.
        classes: C.
        width: size of f.
        neighbours: K, how many contexts q' takes: here the same one K times.
        how: "context": q' with the class prototypes; "q": q alone; "mean": the mean feature.
    """

    means: Tensor
    prototypes: Tensor
    log_shares: Tensor

    def __init__(self, modalities: tuple[str, ...], *, classes: int, width: int, neighbours: int, how: str) -> None:
        super().__init__()
        self.modalities, self.neighbours, self.how = modalities, neighbours, how
        self.register_buffer("means", torch.zeros(len(modalities), width))
        self.register_buffer("prototypes", torch.zeros(len(modalities), classes, width))
        self.register_buffer("log_shares", torch.zeros(len(modalities), classes))

    def fit(self, memory: Memory, labels: Tensor) -> None:
        """Learn from all training items, with labels (n, C)."""
        for i, seen in enumerate(memory.values()):
            has = labels[seen.rows]
            counts = has.sum(dim=0)
            self.means[i] = seen.features.mean(dim=0)
            self.prototypes[i] = has.T @ seen.features / counts.clamp_min(1).unsqueeze(1)
            # A class that no item has gets no weight; its logarithm must stay finite.
            self.log_shares[i] = (counts / len(has)).clamp_min(1e-30).log()

    def recovered(self, networks: Networks, target: str, mu: dict[str, Tensor], present: Tensor) -> Tensor:
        """Return f of a modality, float32 (B, width): the mean of what mu of each modality that is there gives."""
        if self.how == "mean":
            return self.means[self.modalities.index(target)].expand_as(mu[target])
        sources = [(i, v) for i, v in enumerate(self.modalities) if v != target]
        guesses = torch.stack([self._guess(networks, v, target, mu[v]) for _, v in sources])
        return mean_of_present(guesses, present[:, [i for i, _ in sources]])

    def _guess(self, networks: Networks, source: str, target: str, z: Tensor) -> Tensor:
        approximators = networks.between(source, target)
        if self.how == "q":
            guess: Tensor = approximators.q(z)
            return guess
        i = self.modalities.index(target)
        h, h_c = networks.code(source, z), networks.code(target, self.prototypes[i])
        weights = (h @ h_c.T / 2 + self.log_shares[i]).softmax(dim=1)
        context = (weights @ self.prototypes[i]).unsqueeze(1).expand(-1, self.neighbours, -1)
        return approximators.with_context(z, context)


def _matching(view: View, rows: Tensor, batch: int) -> Tensor:
    """Return the features of these rows of the batch, all of which the view has."""
    place = rows.new_empty(batch)
    place[view.rows] = torch.arange(len(view.rows), device=rows.device)
    return view.mu[place[rows]]


def _mean_by_row(guesses: list[Recovered]) -> Recovered:
    """One row each: the mean of what different modalities made of it."""
    if len(guesses) == 1:
        return guesses[0]
    rows, features = (torch.cat([getattr(guess, part) for guess in guesses]) for part in ("rows", "features"))
    different, which, counts = torch.unique(rows, return_inverse=True, return_counts=True)
    summed = features.new_zeros(len(different), features.shape[1]).index_add(0, which, features)
    return Recovered(different, summed / counts.unsqueeze(1))
