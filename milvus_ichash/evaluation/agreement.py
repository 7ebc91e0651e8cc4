"""How near an item's codes are to each other, each made from one of its modalities alone."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from milvus_ichash.codes import hamming_distance
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable
from milvus_ichash.runtime.encoder import HashEncoder


def agreement(encoder: HashEncoder, table: FeatureTable) -> float:
    """Share of the other items that an item's own code is nearer than: 1.0 where each modality finds its item before any other.

    An item's code from one modality alone is held against the codes of all items from another modality alone; an item
    as far as its own does not count as farther. The mean over the complete items and over the pairs of modalities.

    Args:
        encoder: of fused codes.
        table: N items, M >= 2 modalities, of which the complete items count.

    Raises:
        InputError: fewer than two complete items, or codes of which each belongs to a modality.
    """
    if not encoder.manifest.fused:
        raise InputError("agreement is asked of fused codes; these belong to a modality each.")
    complete = table.take(np.flatnonzero(table.present.all(axis=1)))
    if len(complete) < 2 or len(table.modalities) < 2:
        raise InputError(
            f"agreement needs two complete items of two modalities; there are {len(complete)} of {len(table.modalities)}."
        )
    name = encoder.manifest.codes[0].name
    codes = [encoder.encode_table(complete.only(modality))[name] for modality in complete.modalities]
    shares = []
    for a, b in combinations(codes, 2):
        distances = hamming_distance(a, b)
        farther = (distances > distances.diagonal()[:, None]).sum()
        shares.append(farther / (len(distances) * (len(distances) - 1)))
    return float(np.mean(shares))
