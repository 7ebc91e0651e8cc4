"""onnxruntime as a module: whether it is there, whole, and new enough for the numpy that is there.

`onnxruntime` and `onnxruntime-gpu` are two distributions of one module and overwrite each other's files.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from milvus_ichash.errors import BackendMissingError
from milvus_ichash.extras import numbers_of, version_of

DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-rocm")
INSTALL = "pip install 'milvus-ichash[cpu]', or 'milvus-ichash[gpu]' with an NVIDIA GPU"
_FOR_NUMPY_2 = (1, 19)
"""Releases before it are built for numpy 1, and cannot be imported beside numpy 2, which this package needs."""

_log = logging.getLogger(__name__)


def installed_distributions() -> dict[str, str]:
    """Return the versions of the distributions of onnxruntime that are installed, by name."""
    return {name: version for name in DISTRIBUTIONS if (version := version_of(name))}


def several_installed() -> str | None:
    """Return what is wrong, with the cure, where two distributions are installed side by side; else None."""
    installed = list(installed_distributions())
    if len(installed) < 2:
        return None
    names = " and ".join(installed)
    return (
        f"{names} are both installed and overwrite each other's files: "
        f"pip uninstall -y {' '.join(installed)}, then {INSTALL}"
    )


def load_onnxruntime() -> Any:
    """Import onnxruntime and return it. Two distributions of it are a warning, as long as it can be imported.

    Raises:
        BackendMissingError: it is not installed, damaged, or too old for numpy 2.
    """
    several, installed = several_installed(), installed_distributions()
    for name, version in installed.items():
        if several is None and numbers_of(version) < _FOR_NUMPY_2:
            raise BackendMissingError(f"{name} {version} is built for numpy 1: pip install '{name}>=1.19.2'.")
    try:
        import onnxruntime
    except Exception as error:  # a module whose files do not belong together fails in many ways
        if isinstance(error, ImportError) and not installed:
            raise BackendMissingError(f"onnxruntime is not installed: {INSTALL}.") from error
        reason = f"({_said(error)})"
        cure = f"{several}." if several else f"install it anew, {INSTALL}."
        raise BackendMissingError(f"onnxruntime is installed but cannot be imported {reason}: {cure}") from error
    if not hasattr(onnxruntime, "InferenceSession"):
        # What is left behind when one of two distributions was uninstalled.
        cure = several or f"uninstall it, then {INSTALL}"
        raise BackendMissingError(f"onnxruntime is damaged (its folder is there, its content is not): {cure}.")
    if several:
        warn_once(f"{several}.")
    return onnxruntime


@lru_cache
def warn_once(message: str) -> None:
    """Log a warning, the same one only once in this process."""
    _log.warning(message)


def _said(error: BaseException) -> str:
    """Return the first line that an error, or what caused it, says; else the name of its class."""
    chain: list[BaseException | None] = [error, error.__cause__, error.__context__]
    said = (next(iter(str(each).splitlines()), "") for each in chain if each is not None)
    return next(filter(None, said), type(error).__name__)
