"""LSH: signs of a random rotation (Charikar, Similarity estimation techniques from rounding algorithms, STOC 2002).

faiss's IndexLSH on the standardised modalities side by side; a missing one is at its mean.
"""

from __future__ import annotations

from collections.abc import Callable

from ichash_export.baselines import backend
from ichash_export.baselines.scaling import Standardiser
from milvus_ichash.codes import Codes
from milvus_ichash.features import FeatureTable


def fit(train: FeatureTable, bits: int, seed: int) -> Callable[[FeatureTable], dict[str, Codes]]:
    """Learn the scaling and draw the rotation.

    Raises:
        InputError: a modality that no training item has.
        BackendMissingError: no faiss.
    """
    faiss = backend.load("faiss")
    scaling = Standardiser(train)
    index = faiss.IndexLSH(sum(train.dims.values()), bits)
    index.rrot.init(seed % backend.MOST_SEED)
    return lambda table: {"code": index.sa_encode(scaling.concatenated(table))}
