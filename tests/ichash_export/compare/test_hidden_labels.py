"""Hidden labels: how many are left, whose, and that methods and relevance see no others."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ichash_export.compare.hidden_labels import with_labels
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable


def _table(rows: int = 60, seed: int = 0, classes: int = 5) -> FeatureTable:
    rng = np.random.default_rng(seed)
    labels = (rng.random((rows, classes)) < 0.1).astype(np.uint8)
    return FeatureTable.build(np.arange(rows), {"image": rng.standard_normal((rows, 3))}, labels=labels)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), percent=st.integers(1, 99))
def test_so_many_keep_their_labels_and_the_others_lose_them(seed: int, percent: int) -> None:
    table = _table(seed=seed)
    found = with_labels(table, percent / 100, seed)
    number = math.ceil(60 * Fraction(percent, 100))
    assert found.labelled.sum() == number
    np.testing.assert_array_equal(found.labels[found.labelled], table.labels[found.labelled])
    assert not found.labels[~found.labelled].any()
    assert found.features is table.features and found.present is table.present
    there = table.labels.any(axis=0)
    if number >= there.sum():
        np.testing.assert_array_equal(found.labels.any(axis=0), there)


def test_the_seed_decides_and_all_is_all() -> None:
    table = _table()
    assert with_labels(table, 1.0, 0) is table
    draws = [with_labels(table, 0.5, seed).labelled for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_what_was_unknown_stays_unknown() -> None:
    whole = _table()
    known = np.arange(60) % 2 == 0
    table = FeatureTable.build(np.arange(60), whole.features, labels=whole.labels * known[:, None], labelled=known)
    found = with_labels(table, 0.5, 3)
    assert found.labelled is not None and found.labelled.sum() == 15 and not found.labelled[~known].any()


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01])
def test_a_share_is_more_than_nothing_and_at_most_all(share: float) -> None:
    with pytest.raises(InputError, match="at most 1"):
        with_labels(_table(), share, 0)
