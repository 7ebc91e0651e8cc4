"""mAP over float scores against the oracle that goes from row to row, with ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.labelled_items import items
from support.ranking_oracle import expected_ap

from ichash_export.baselines.cosine import mean_ap, unit_features
from milvus_ichash.errors import InputError


def oracle(queries: np.ndarray, database: np.ndarray, query_labels: np.ndarray, labels: np.ndarray) -> float:
    """Mean expected AP, each score made of sums in double precision."""
    found = []
    for q, own in zip(queries.astype(float), query_labels, strict=True):
        scores = [round(float((q * row).sum()), 5) for row in database.astype(float)]
        relevant = [bool((own * theirs).any()) for theirs in labels]
        if any(relevant):
            found.append(expected_ap([-score for score in scores], relevant))
    return float(np.mean(found))


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 40), st.booleans())
def test_it_is_the_oracle_s(seed: int, queries: int, rows: int, coarse: bool) -> None:
    """Coarse vectors have many equal scores; products of fine ones are exact in float32 too, and far apart if not
    equal."""
    rng = np.random.default_rng(seed)
    made = [rng.integers(0, 3, (n, 2)) / 4 if coarse else rng.integers(-64, 65, (n, 3)) / 128 for n in (queries, rows)]
    q, d = (x.astype(np.float32) for x in made)
    ql, dl = ((rng.random((n, 4)) < 0.4).astype(np.uint8) for n in (queries, rows))
    if not (ql.any(0) & dl.any(0)).any():
        with pytest.raises(InputError, match="no query shares a label"):
            mean_ap(q, d, ql, dl)
    else:
        assert mean_ap(q, d, ql, dl) == pytest.approx(oracle(q, d, ql, dl), abs=1e-9)


def test_many_queries_are_ranked_block_by_block() -> None:
    queries, database = items(150, seed=1, gaps=0), items(60, seed=2, gaps=0.4)
    q, d = unit_features(queries), unit_features(database)
    # Two scores that only rounding tells apart move one query's AP a little; a block in the wrong place moves all.
    assert mean_ap(q, d, queries.labels, database.labels) == pytest.approx(
        oracle(q, d, queries.labels, database.labels), abs=0.005
    )


def test_equal_rows_are_tied_wherever_they_stand() -> None:
    """Rounding inside the matrix product must not order them: the figure doesn't depend on the order of the rows."""
    rng = np.random.default_rng(0)
    row = unit_features(items(1, gaps=0, dims={"image": 1280}))
    d = np.repeat(row, 999, axis=0)
    labels = (rng.random((999, 2)) < 0.3).astype(np.uint8)
    q = unit_features(items(7, seed=3, gaps=0, dims={"image": 1280}))
    forwards, backwards = (mean_ap(q, d, np.ones((7, 2), np.uint8), x) for x in (labels, labels[::-1]))
    assert forwards == pytest.approx(backwards, abs=1e-9)


def test_every_modality_weighs_the_same_and_a_missing_one_nothing() -> None:
    table = items(50)
    x = unit_features(table)
    lengths = [np.linalg.norm(part, axis=1) for part in (x[:, :12], x[:, 12:])]
    for i, length in enumerate(lengths):
        alone, there = table.present[:, 1 - i] == 0, table.present[:, i]
        assert length[~there] == pytest.approx(0)
        assert length[there & alone] == pytest.approx(1)
        assert length[there & ~alone] == pytest.approx(np.sqrt(0.5))


def test_a_row_of_zeros_is_like_nothing() -> None:
    table = items(3, gaps=0)
    for x in table.features.values():
        x[0] = 0
    assert not unit_features(table)[0].any()
    assert np.isfinite(unit_features(table)).all()
