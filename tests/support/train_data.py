"""Small training data without structure, and the training of a method by itself, without the frame around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import TypeVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from ichash_export.methods.base import Method, TrainData

DIMS = {"image": 6, "text": 4}
VIEWS = {"image": 6, "text": 4, "sound": 5}
M = TypeVar("M", bound=Method)


def items(
    n: int = 40,
    dims: Mapping[str, int] = DIMS,
    missing: float = 0.5,
    classes: int = 3,
    seed: int = 0,
    *,
    single: bool = False,
    unit: Sequence[str] = (),
) -> TrainData:
    """Return n items without structure; a share of them lacks something.

    Args:
        n: number of items.
        dims: feature size of each modality.
        missing: share of the items that lack at least one modality.
        classes: number of labels; each item has at least one.
        seed: of everything.
        single: incomplete items have one modality only; else they have every pattern there is, in turn.
        unit: modalities whose features are in [0, 1), as words are.
    """
    random = torch.Generator().manual_seed(seed)
    gaps = [pattern for pattern in product([True, False], repeat=len(dims)) if 0 < sum(pattern) < len(dims)]
    if single:
        gaps = [pattern for pattern in gaps if sum(pattern) == 1]
    present = torch.ones(n, len(dims), dtype=torch.bool)
    if gaps:
        few = torch.randperm(n, generator=random)[: int(n * missing)]
        present[few] = torch.tensor(gaps)[torch.arange(len(few)) % len(gaps)]
    raw = {m: (torch.rand if m in unit else torch.randn)(n, d, generator=random) for m, d in dims.items()}
    labels = (torch.rand(n, classes, generator=random) < 0.4).float()
    labels[labels.sum(1) == 0, 0] = 1
    return TrainData({m: x * present[:, i : i + 1] for i, (m, x) in enumerate(raw.items())}, present, labels)


def run(
    method: Method, data: TrainData, epochs: Iterable[int], optimizers: dict[str, Optimizer] | None = None
) -> list[dict[str, float]]:
    """Train these epochs, from the beginning where no optimisers are given, and return the losses of each."""
    if optimizers is None:
        method.begin(data)
        optimizers = method.optimizers()
    losses = []
    for epoch in epochs:
        method.train()
        torch.manual_seed(epoch)
        losses.append(method.train_epoch(data, epoch, optimizers, torch.Generator().manual_seed(epoch)))
    return losses


@torch.no_grad()
def finished(method: M, data: TrainData) -> M:
    """Fix what inference needs, and return the method in evaluation mode."""
    method.eval()
    method.finish(data)
    return method


def same_weights(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """Raise AssertionError where two sets of weights differ by more than rounding."""
    assert list(ours) == list(theirs)
    for name, x in ours.items():
        torch.testing.assert_close(x, theirs[name], atol=1e-6, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


def same_codes(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise AssertionError where relaxed codes differ by more than 1e-5, or a bit that is not within 1e-4 of zero."""
    assert list(found) == list(expected)
    for name, u in expected.items():
        torch.testing.assert_close(found[name], u, atol=1e-5, rtol=0)
        sure = u.abs() > 1e-4
        assert torch.equal((found[name] > 0)[sure], (u > 0)[sure]), name
