"""milvus-ichash: hash codes for items with missing modalities, kept and searched in Milvus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from milvus_ichash.version import __version__ as __version__

if TYPE_CHECKING:
    from milvus_ichash.evaluation.evaluate import evaluate as evaluate
    from milvus_ichash.index.hash_index import HashIndex as HashIndex
    from milvus_ichash.runtime.encoder import HashEncoder as HashEncoder

_LAZY = {
    "HashEncoder": "milvus_ichash.runtime.encoder",
    "HashIndex": "milvus_ichash.index.hash_index",
    "evaluate": "milvus_ichash.evaluation.evaluate",
}

__all__ = ["HashEncoder", "HashIndex", "__version__", "evaluate"]


def __getattr__(name: str) -> Any:
    # onnxruntime and pymilvus take a second to import: only who uses them pays.
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
