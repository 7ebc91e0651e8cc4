"""PCA-ITQ (Gong, Lazebnik, Gordo, Perronnin, Iterative Quantization, IEEE TPAMI 2013).

This is faiss's ITQTransform, which scales every item to length 1 before the PCA, on the standardised modalities side by
side. A missing modality is at its mean, in training too.
"""

from __future__ import annotations

from collections.abc import Callable

from ichash_export.baselines import backend
from ichash_export.baselines.scaling import Standardiser
from milvus_ichash.codes import Codes, pack
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable


def fit(train: FeatureTable, bits: int, seed: int) -> Callable[[FeatureTable], dict[str, Codes]]:
    """Learn the scaling, the principal components and the rotation, and return the function that embeds a table.

    Raises:
        InputError: there are more bits than features, or too few training items for the components.
        BackendMissingError: faiss is not installed.
    """
    faiss = backend.load("faiss")
    size = sum(train.dims.values())
    if bits > size:
        raise InputError(f"pca-itq has at most one bit for each of the {size} features; {bits} are asked for.")
    if len(train) <= bits:
        raise InputError(f"pca-itq with {bits} bits needs more than {bits} training items; there are {len(train)}.")
    scaling = Standardiser(train)
    transform = faiss.ITQTransform(size, bits, True)
    transform.itq.seed = seed % backend.MOST_SEED
    transform.train(scaling.concatenated(train))
    return lambda table: {"code": pack(transform.apply(scaling.concatenated(table)))}
