"""faiss and scipy, or an error that says how to get them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from milvus_ichash.errors import BackendMissingError

MOST_SEED = 2**31
"""faiss takes seeds as C's int."""


def load(module: str) -> Any:
    """Import a module that the baselines need.

    Raises:
        BackendMissingError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise BackendMissingError(
            f"baselines other than cosine need faiss and scipy ({error}): pip install 'milvus-ichash[baselines]'."
        ) from error
