"""Agreement: how near to each other the codes are that are made from one modality each of the same item."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from milvus_ichash.codes import hamming_distance
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable
from milvus_ichash.runtime.encoder import HashEncoder


def agreement(encoder: HashEncoder, table: FeatureTable) -> float:
    """Return how often an item's codes from its single modalities are nearer to each other than to other items' codes.

    For each pair of modalities, an item's code from the one is compared with the codes of all items from the other. The
    agreement is the share of the other items that are farther away than the item itself (one that is as far does not
    count as farther), as a mean over the items that have every modality and over the pairs of modalities.

    Args:
        encoder: makes fused codes.
        table: items of at least two modalities; those that have every modality are looked at.

    Returns:
        From 0 to 1; 1.0 where each modality finds its own item before any other.

    Raises:
        InputError: fewer than two items that have every modality, or an encoder of cross-modal codes.
    """
    if not encoder.manifest.fused:
        raise InputError("agreement is asked of fused codes; these belong to a modality each.")
    complete = table.take(np.flatnonzero(table.present.all(axis=1)))
    if len(complete) < 2 or len(table.modalities) < 2:
        raise InputError(
            "agreement needs two complete items of two modalities; "
            f"there are {len(complete)} of {len(table.modalities)}."
        )
    name = encoder.manifest.codes[0].name
    codes = [encoder.encode_table(complete.only(modality))[name] for modality in complete.modalities]
    shares = []
    for a, b in combinations(codes, 2):
        distances = hamming_distance(a, b)
        farther = (distances > distances.diagonal()[:, None]).sum()
        shares.append(farther / (len(distances) * (len(distances) - 1)))
    return float(np.mean(shares))
