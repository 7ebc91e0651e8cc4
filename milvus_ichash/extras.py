"""Packages that only some installations have: importing them, and their versions."""

from __future__ import annotations

import re
from importlib import import_module, metadata
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


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution, without importing it; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def numbers_of(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, (2, 5, 1) of "2.5.1rc1": enough to compare releases."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
