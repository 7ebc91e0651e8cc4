"""milvus-ichash: hash codes for items with missing modalities, kept and searched in Milvus.

The names that most programs need can be imported from here; each is loaded when it is first used.

    HashEncoder      encodes features with a bundle: `HashEncoder.load(folder)`
    open_source      opens a feature file (.parquet, .npz, .h5, .mat); FeatureTable holds features that are in memory
    connect          connects to Milvus: `connect(uri="./items.db")`
    ingest           encodes a source and writes it into a collection
    HashIndex        a collection: search, read back, write, delete
    evaluate         measures how well codes retrieve

All errors that are raised on purpose are `IchashError`s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from milvus_ichash.errors import (
    BackendMissingError,
    IchashError,
    InputError,
    MilvusError,
    MismatchError,
    PartialIngestError,
)
from milvus_ichash.version import __version__

if TYPE_CHECKING:
    from milvus_ichash.evaluation.evaluate import evaluate
    from milvus_ichash.features import FeatureTable
    from milvus_ichash.index.connection import connect
    from milvus_ichash.index.hash_index import HashIndex
    from milvus_ichash.ingestion.into_milvus import ingest
    from milvus_ichash.io.splits import open_source
    from milvus_ichash.runtime.encoder import HashEncoder

# numpy, pymilvus, pyarrow and onnxruntime take seconds to import: only a program that uses them waits for them.
_LAZY = {
    "FeatureTable": "milvus_ichash.features",
    "HashEncoder": "milvus_ichash.runtime.encoder",
    "HashIndex": "milvus_ichash.index.hash_index",
    "connect": "milvus_ichash.index.connection",
    "evaluate": "milvus_ichash.evaluation.evaluate",
    "ingest": "milvus_ichash.ingestion.into_milvus",
    "open_source": "milvus_ichash.io.splits",
}

__all__ = [
    "BackendMissingError",
    "FeatureTable",
    "HashEncoder",
    "HashIndex",
    "IchashError",
    "InputError",
    "MilvusError",
    "MismatchError",
    "PartialIngestError",
    "__version__",
    "connect",
    "evaluate",
    "ingest",
    "open_source",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
