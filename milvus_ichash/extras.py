"""Packages that only some installations have."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from milvus_ichash.errors import BackendMissingError


def import_extra(module: str, what: str, extra: str, package: str = "") -> Any:
    """Import a module of an optional package and return it.

    Args:
        module: its full name.
        what: what it is needed for, as the beginning of a sentence.
        extra: the extra of milvus-ichash that brings the package.
        package: its name for pip, where that is not the first part of `module`.

    Raises:
        BackendMissingError: the package is not installed.

    Example:
        >>> import_extra("scipy.io", "reading MATLAB v5 files", "files").loadmat("items.mat")
    """
    try:
        return import_module(module)
    except ImportError as error:
        name = package or module.partition(".")[0]
        raise BackendMissingError(f"{what} needs {name}: pip install 'milvus-ichash[{extra}]'.") from error
