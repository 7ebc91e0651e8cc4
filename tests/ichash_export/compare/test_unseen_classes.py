"""Unseen classes: who is left out of training, who is asked, and what is relevant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ichash_export.compare.dataset import Dataset
from ichash_export.compare.unseen_classes import class_names, draw_classes, known_classes, without_unseen
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable

NAMES = ("cat", "dog", "cow", "hen", "bee")


def _table(rows: int, seed: int, share: float = 0.35) -> FeatureTable:
    rng = np.random.default_rng(seed)
    labels = (rng.random((rows, len(NAMES))) < share).astype(np.uint8)
    return FeatureTable.build(
        np.arange(rows), {"image": rng.standard_normal((rows, 3))}, labels=labels, label_names=NAMES
    )


def _data(seed: int = 0, rows: int = 40) -> Dataset:
    return Dataset("animals", _table(rows, seed), _table(rows // 2, seed + 1), _table(rows, seed + 2))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), unseen=st.sets(st.sampled_from(NAMES), min_size=1, max_size=3))
def test_against_loops_over_the_items(seed: int, unseen: set[str]) -> None:
    data = _data(seed)
    chosen = known_classes(data, sorted(unseen))
    found = without_unseen(data, chosen)

    def names_of(table: FeatureTable, row: int) -> set[str]:
        return {table.label_names[c] for c in range(len(table.label_names)) if table.labels[row, c]}

    kept = [i for i in range(len(data.train)) if not names_of(data.train, i) & unseen]
    asked = [i for i in range(len(data.query)) if names_of(data.query, i) & unseen]
    assert (found.train.ids.tolist(), found.query.ids.tolist()) == (kept, asked)
    assert found.train.label_names == tuple(name for name in NAMES if name not in unseen)
    assert [names_of(found.train, i) for i in range(len(kept))] == [names_of(data.train, i) for i in kept]
    assert [names_of(found.query, i) for i in range(len(asked))] == [names_of(data.query, i) & unseen for i in asked]
    assert len(found.retrieval) == len(data.retrieval)
    assert all(names_of(found.retrieval, i) == names_of(data.retrieval, i) & unseen for i in range(len(data.retrieval)))


def test_classes_are_drawn_by_the_seed_among_those_that_can_be_measured() -> None:
    data = _data()
    data.query.labels[:, NAMES.index("cow")] = 0  # nobody asks for it
    draws = {draw_classes(data, 0.4, seed) for seed in range(40)}
    assert all(len(drawn) == 2 and "cow" not in drawn for drawn in draws)
    assert len(draws) == 6  # every pair of the other four
    assert draw_classes(data, 0.4, 3) == draw_classes(data, 0.4, 3)
    assert len(draw_classes(data, 0.01, 0)) == 1
    # 3/5 is not what binary floats make of it: 0.6 * 5 rounds to 3.
    assert len(draw_classes(data, 0.6, 0)) == 3


@pytest.mark.parametrize(
    ("share", "message"),
    [(0.0, "more than 0 and less than 1"), (1.0, "less than 1"), (0.99, "4 cannot be kept out; 3")],
)
def test_shares_that_are_not_possible(share: float, message: str) -> None:
    data = _data()
    data.query.labels[:, :2] = 0
    with pytest.raises(InputError, match=message):
        draw_classes(data, share, 0)


def test_names_are_put_in_the_order_of_the_classes() -> None:
    assert known_classes(_data(), ["hen", "cat"]) == ("cat", "hen")


@pytest.mark.parametrize(
    ("names", "message"),
    [(["owl"], "--unseen 'owl': there is no such class; there are: cat, dog"), (NAMES, "every class")],
)
def test_names_are_checked(names: Sequence[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        known_classes(_data(), names)


@pytest.mark.parametrize(
    ("split", "has", "message"),
    [("train", 1, "no training item has none of them"), ("query", 0, "no query has one of them")],
)
def test_nothing_left(split: str, has: int, message: str) -> None:
    data = _data()
    getattr(data, split).labels[:, NAMES.index("cat")] = has
    with pytest.raises(InputError, match=message):
        without_unseen(data, ["cat"])


def test_classes_without_names_are_called_by_their_numbers() -> None:
    table = FeatureTable.build(
        np.arange(2), {"image": np.ones((2, 3))}, labels=np.array([[1, 0, 1], [0, 1, 0]], np.uint8)
    )
    data = Dataset("numbers", table, table, table)
    assert class_names(table) == ("0", "1", "2")
    assert without_unseen(data, ["1"]).train.ids.tolist() == [0]
