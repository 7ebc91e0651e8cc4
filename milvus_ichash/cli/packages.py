"""The optional packages that a command needs, looked for before anything else is done."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from milvus_ichash.errors import BackendMissingError

TRAINING = ("torch", "safetensors", "onnx", "onnxscript", "onnxruntime")


def require(packages: Sequence[str], *, extra: str, what: str) -> None:
    """Raise BackendMissingError where a package is not installed; names it, and the extra that installs it."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise BackendMissingError(f"{what} needs {', '.join(missing)}: pip install 'milvus-ichash[{extra}]'.")
