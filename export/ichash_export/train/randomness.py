"""Same seed, same machine, same weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_everything(seed: int, epoch: int) -> torch.Generator:
    """Seed torch's global generators from (seed, epoch), -1 for what comes before the first epoch; return a CPU generator."""
    for_all, for_order = np.random.SeedSequence([seed, epoch + 1]).generate_state(2, np.uint64)
    torch.manual_seed(int(for_all))
    return torch.Generator().manual_seed(int(for_order))


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Deterministic algorithms inside; the caller's random state and settings are back at the end."""
    before, warned_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    fills = torch.utils.deterministic.fill_uninitialized_memory
    cuda = device.type == "cuda"
    if cuda:
        # cuBLAS repeats itself only with a workspace of a fixed size.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if cuda else []):
        try:
            # On the CPU too: there, the gradient of indexing is added up in any order by several threads otherwise.
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = False
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned_only)
            torch.utils.deterministic.fill_uninitialized_memory = fills
