"""Agreement of an item's codes, against counting pair by pair."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from support.exact import exact
from support.labelled_items import items
from support.ranking_oracle import hamming

from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.agreement import agreement
from milvus_ichash.features import FeatureTable
from milvus_ichash.runtime.encoder import HashEncoder

VIEWS = {"image": 12, "text": 8, "sound": 5}


def test_pair_by_pair(make_bundle: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    features = {name: exact(rng.standard_normal((25, dim))) for name, dim in VIEWS.items()}
    features["sound"][::4] = np.nan
    complete = [i for i in range(25) if i % 4]
    encoder = HashEncoder.load(make_bundle(modalities=VIEWS, bits=16), threads=1)
    codes = [encoder.encode(**{name: x[complete]})["code"] for name, x in features.items()]
    nearer = [
        hamming(a[i], b[i]) < hamming(a[i], b[j])
        for a, b in combinations(codes, 2)
        for i, j in permutations(range(len(complete)), 2)
    ]
    table = FeatureTable.build(np.arange(25), features)
    assert agreement(encoder, table) == pytest.approx(np.mean(nearer))
    assert 0.2 < np.mean(nearer) < 0.8, "modalities that have nothing to do with each other"


def test_modalities_that_say_the_same_agree(make_bundle: Callable[..., Path]) -> None:
    eye = np.eye(16, dtype=np.float32)
    encoder = HashEncoder.load(
        make_bundle(modalities={"image": 16, "text": 16}, bits=16, weights={"image": eye, "text": eye}), threads=1
    )
    same = np.random.default_rng(0).permutation(2**16)[:50]
    x = 2.0 * (same[:, None] >> np.arange(16) & 1) - 1
    assert agreement(encoder, FeatureTable.build(np.arange(50), {"image": x, "text": x})) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("fused", "rows", "message"),
    [
        (False, 9, "asked of fused codes"),
        (True, 1, "needs two complete items of two modalities; there are 1 of 2"),
    ],
)
def test_what_cannot_be_asked(make_bundle: Callable[..., Path], fused: bool, rows: int, message: str) -> None:
    encoder = HashEncoder.load(make_bundle(fused=fused), threads=1)
    with pytest.raises(InputError, match=message):
        agreement(encoder, items(9, gaps=0).rows(0, rows))
