"""CCA-ITQ: codes of each modality from canonical correlations (Gong, Lazebnik, Gordo, Perronnin, IEEE TPAMI 2013).

In the paper the second view are the labels; here the views are the modalities. Canonical directions W are learnt from
the training items that have all modalities, then one ITQ rotation for all modalities. With C the covariance of the
modalities side by side and D its diagonal blocks, W are the leading solutions of

    C w = lambda (D + rho I) w

which is regularised CCA for two modalities, and works for more of them. As in Gong, Ke, Isard, Lazebnik (A Multi-View
Embedding Space for Modeling Internet Images, Tags, and their Semantics, IJCV 2014), each direction is weighted by the
fourth power of its lambda.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ichash_export.baselines import backend
from ichash_export.baselines.scaling import Standardiser
from milvus_ichash.codes import Codes, pack
from milvus_ichash.errors import InputError
from milvus_ichash.features import Features, FeatureTable

RHO = 10.0
"""rho, for features with variance 1; chosen on held-out training items of product photographs and their names."""
POWER = 4
"""The power of lambda by which a direction is weighted."""


def fit(train: FeatureTable, bits: int, seed: int) -> Callable[[FeatureTable], dict[str, Codes]]:
    """Learn the scaling, the canonical directions and the rotation, and return the function that embeds a table.

    Raises:
        InputError: there are fewer than two modalities, more bits than the smallest modality has features, or too few
            items that have all modalities.
        BackendMissingError: faiss or scipy is not installed.
    """
    faiss = backend.load("faiss")
    paired = train.take(np.all(train.present, axis=1))
    _check(train, len(paired), bits)
    scaling = Standardiser(train)
    views = {
        name: scaling.modality(name, x, paired.present[:, i]) for i, (name, x) in enumerate(paired.features.items())
    }
    shift = {name: x.mean(axis=0) for name, x in views.items()}
    directions = canonical_directions({name: x - shift[name] for name, x in views.items()}, bits, RHO)
    rotation = faiss.ITQMatrix(bits)
    rotation.seed = seed % backend.MOST_SEED
    rotation.train(np.concatenate([(x - shift[name]) @ directions[name] for name, x in views.items()]))

    def embed(table: FeatureTable) -> dict[str, Codes]:
        found = {}
        for i, (name, x) in enumerate(table.features.items()):
            there = table.present[:, i]
            projected = rotation.apply((scaling.modality(name, x, there) - shift[name]) @ directions[name])
            found[f"{name}_code"] = pack(np.where(there[:, None], projected, 0))
        return found

    return embed


def canonical_directions(views: dict[str, Features], bits: int, rho: float) -> dict[str, Features]:
    """Return W by modality, float32 (D_m, bits), weighted, with the most correlated direction first.

    Args:
        views: centred features by modality, float32 (n, D_m).
        bits: number of directions.
        rho: strength of the regularisation.
    """
    linalg = backend.load("scipy.linalg")
    x = np.concatenate(list(views.values()), axis=1).astype(np.float64)
    c = x.T @ x / len(x)
    edges = np.cumsum([v.shape[1] for v in views.values()])
    block = np.searchsorted(edges, np.arange(len(c)), side="right")
    d = np.where(block[:, None] == block, c, 0) + rho * np.eye(len(c))
    values, vectors = linalg.eigh(c, d, subset_by_index=[len(c) - bits, len(c) - 1])
    w = vectors[:, ::-1] * values[::-1] ** POWER
    return {name: part.astype(np.float32) for name, part in zip(views, np.split(w, edges[:-1]), strict=True)}


def _check(train: FeatureTable, paired: int, bits: int) -> None:
    if len(train.dims) < 2:
        raise InputError(
            f"cca-itq correlates modalities, so it needs at least two; there is only '{train.modalities[0]}'."
        )
    smallest = min(train.dims, key=lambda name: train.dims[name])
    if bits > train.dims[smallest]:
        raise InputError(
            f"cca-itq has at most one bit for each of the {train.dims[smallest]} features of '{smallest}'; {bits} are "
            "asked for."
        )
    if paired <= bits:
        what = " and ".join(train.modalities)
        raise InputError(
            f"cca-itq with {bits} bits needs more than {bits} training items that have {what}; there are {paired}."
        )
