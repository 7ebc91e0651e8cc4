"""Loading of faiss and scipy, with an error that says how to get them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from milvus_ichash.errors import BackendMissingError

MOST_SEED = 2**31
"""Seeds are below this, because faiss takes them as a C int."""


def load(module: str) -> Any:
    """Import a module that the baselines need, and return it.

    Raises:
        BackendMissingError: the module is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise BackendMissingError(
            f"baselines other than cosine need faiss and scipy ({error}): pip install 'milvus-ichash[baselines]'."
        ) from error
