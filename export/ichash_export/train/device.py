"""The device of a run, and what makes its weights the same again with the same seed on the same machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from milvus_ichash.errors import BackendMissingError


def resolve_device(device: str) -> torch.device:
    """Return the torch device for "auto" (CUDA where there is one), "cpu" or "cuda".

    Raises:
        BackendMissingError: CUDA is asked for and is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        built = "has CUDA, but finds no device" if torch.version.cuda else "is a CPU-only build"
        raise BackendMissingError(
            f"--device cuda: this torch ({torch.__version__}) {built}; use --device cpu, or mend the installation."
        )
    return torch.device(device)


def seed_everything(seed: int, epoch: int) -> torch.Generator:
    """Seed torch's global generators from a seed and an epoch, and return a CPU generator that is seeded from them too.

    Args:
        seed: the run's seed.
        epoch: counted from 0; -1 for what comes before the first epoch.
    """
    for_all, for_order = np.random.SeedSequence([seed, epoch + 1]).generate_state(2, np.uint64)
    torch.manual_seed(int(for_all))
    return torch.Generator().manual_seed(int(for_order))


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Use deterministic algorithms inside; the caller's random state and settings are back at the end."""
    before = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic: Any = torch.utils.deterministic
    fills = deterministic.fill_uninitialized_memory
    cuda = device.type == "cuda"
    if cuda:
        # cuBLAS repeats itself only with a workspace of a fixed size.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if cuda else []):
        try:
            # On the CPU too: there, the gradient of indexing is added up in any order by several threads otherwise.
            torch.use_deterministic_algorithms(True, warn_only=True)
            deterministic.fill_uninitialized_memory = False
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned_only)
            deterministic.fill_uninitialized_memory = fills
