"""A small file of external knowledge: random words and names of classes."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from ichash_export.knowledge.knowledge import Knowledge, save_knowledge

CLASSES = ("kind=Red", "kind=Green", "kind=Blue")


def unit(x: np.ndarray) -> np.ndarray:
    """Return rows of length one, float32."""
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def made_knowledge(size: int = 5, names: tuple[str, ...] = CLASSES, words: int = 12) -> Knowledge:
    """Return random embeddings of this size for words and for the names of classes."""
    rng = np.random.default_rng(3)
    rows = unit(rng.standard_normal((words + len(names), size)))
    return Knowledge(tuple(f"word{i}" for i in range(words)), rows[:words], names, rows[words:])


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@cache
def write_knowledge() -> Path:
    """Return the path of such a file, which stays until the tests end."""
    path = Path(_folder().name) / "knowledge.npz"
    save_knowledge(path, made_knowledge())
    return path
