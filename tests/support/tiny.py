"""Two methods that train in milliseconds, announced as a plugin would be (`plugin/`), and data for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from support.command import environment, python_path

from milvus_ichash.features import FeatureTable

PLUGIN = Path(__file__).parent / "plugin"


@contextmanager
def plugin() -> Iterator[None]:
    """The methods `tiny` (fused) and `tiny-cross` are there."""
    sys.path.insert(0, str(PLUGIN))
    try:
        yield
    finally:
        sys.path.remove(str(PLUGIN))


def tiny_environment() -> dict[str, str]:
    """Environment of a process that has the methods, on one thread."""
    return environment(PYTHONPATH=python_path(PLUGIN))


def make_table(
    n: int = 200,
    *,
    dims: dict[str, int] | None = None,
    classes: int = 4,
    missing: float = 0.3,
    noise: float = 0.8,
    seed: int = 0,
) -> FeatureTable:
    """Items of several classes with features around a centre per class; a share of the modalities is missing (NaN)."""
    rng = np.random.default_rng(seed)
    dims = dims or {"image": 12, "text": 8}
    labels = np.eye(classes, dtype=np.uint8)[rng.integers(0, classes, n)]
    present = rng.random((n, len(dims))) >= missing
    present[~present.any(axis=1)] = True
    features = {}
    for i, (name, dim) in enumerate(dims.items()):
        x = labels @ rng.standard_normal((classes, dim)) + noise * rng.standard_normal((n, dim))
        x[~present[:, i]] = np.nan
        features[name] = x.astype(np.float32)
    return FeatureTable.build(np.arange(n), features, labels=labels, label_names=[f"class {i}" for i in range(classes)])


def write_npz(path: Path, table: FeatureTable) -> Path:
    """The table as a file for the command line."""
    assert table.labels is not None
    np.savez(path, id=table.ids, labels=table.labels, label_names=np.array(table.label_names), **table.features)
    return path
