"""UniHash's completion in training: a gap is filled with what another item of the same labels has there."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ichash_export.methods.base import TrainData


def with_donors(data: TrainData, share: float) -> TrainData:
    """Return the items with this share of their gaps filled, by torch's global generator.

    A gap of a labelled item is filled from one of the items that have the modality and exactly the same labels, each as
    likely; where there is none, it stays. The item counts as having the modality from then on.
    """
    groups = _by_labels(data)
    features, present = dict(data.features), data.present.clone()
    for m, name in enumerate(features):
        gaps = (~data.present[:, m] & (groups >= 0)).nonzero().flatten()
        gaps = gaps[torch.rand(len(gaps), device=data.device) < share]
        filled, donors = _drawn(gaps, (data.present[:, m] & (groups >= 0)).nonzero().flatten(), groups)
        features[name] = features[name].index_copy(0, filled, features[name][donors])
        present[filled, m] = True
    return replace(data, features=features, present=present)


def _by_labels(data: TrainData) -> Tensor:
    """Return a number for each set of labels, (n,); -1 where they are not known."""
    groups: Tensor = torch.unique(data.labels, dim=0, return_inverse=True)[1]
    return groups if data.labelled is None else groups.masked_fill(~data.labelled, -1)


def _drawn(gaps: Tensor, donors: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Those of the gaps that have a donor in their group, and the donor of each."""
    donors = donors[groups[donors].argsort(stable=True)]
    counts = torch.bincount(groups[donors], minlength=int(groups.max()) + 1)
    first = counts.cumsum(0) - counts
    gaps = gaps[counts[groups[gaps]] > 0]
    of = groups[gaps]
    return gaps, donors[first[of] + (torch.rand(len(gaps), device=gaps.device) * counts[of]).long()]
