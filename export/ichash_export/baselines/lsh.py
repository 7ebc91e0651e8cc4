"""LSH: signs of a random rotation (Charikar, Similarity estimation techniques from rounding algorithms, STOC 2002).

This is faiss's IndexLSH on the standardised modalities side by side; a missing modality is at its mean.
"""

from __future__ import annotations

from collections.abc import Callable

from ichash_export.baselines import backend
from ichash_export.baselines.scaling import Standardiser
from milvus_ichash.codes import Codes
from milvus_ichash.features import FeatureTable


def fit(train: FeatureTable, bits: int, seed: int) -> Callable[[FeatureTable], dict[str, Codes]]:
    """Learn the scaling, draw the rotation, and return the function that embeds a table.

    Raises:
        InputError: no training item has one of the modalities.
        BackendMissingError: faiss is not installed.
    """
    faiss = backend.load("faiss")
    scaling = Standardiser(train)
    index = faiss.IndexLSH(sum(train.dims.values()), bits)
    index.rrot.init(seed % backend.MOST_SEED)
    return lambda table: {"code": index.sa_encode(scaling.concatenated(table))}
