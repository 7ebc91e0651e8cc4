"""A bundle knows again what it was trained on, by the features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import make_table

from milvus_ichash.trained_items import TRAINED_ITEMS, TrainedItems, hashes_of, note_on_queries

TABLE = make_table(300)


def test_items_are_known_by_their_features_alone() -> None:
    kept = TrainedItems.of(TABLE.rows(0, 200))
    assert kept.items == 200
    assert kept.among(TABLE.rows(0, 200)) == 200
    assert kept.among(TABLE.rows(150, 300)) == 50
    assert kept.among(TABLE.rows(200, 300)) == 0
    assert kept.among(TABLE.take(np.arange(199, -1, -1))) == 200, "in any order"


def test_what_stands_in_a_row_that_is_missing_does_not_count() -> None:
    other = {name: x.copy() for name, x in TABLE.features.items()}
    for column, x in enumerate(other.values()):
        x[~TABLE.present[:, column]] = 7
    again = type(TABLE)(TABLE.ids, other, TABLE.present)
    assert hashes_of(again).tolist() == hashes_of(TABLE).tolist()
    hidden = TABLE.hide(np.array([[True, False]]))
    both = TABLE.present.all(axis=1)
    assert not np.isin(hashes_of(hidden)[both], hashes_of(TABLE)).any()


def test_of_many_items_a_sample_is_kept() -> None:
    many = make_table(12_000, dims={"x": 2}, missing=0)
    kept = TrainedItems.of(many.rows(0, 10_000))
    assert len(kept.sample) == 2048 * 8
    assert kept.among(many.rows(0, 3_000)) == 3_000, "all of those that could be in the sample are"
    assert kept.among(many.rows(10_000, 12_000)) == 0
    assert abs(kept.among(many.rows(9_000, 11_000)) - 1_000) < 200


def test_the_note() -> None:
    kept = {TRAINED_ITEMS: TrainedItems.of(TABLE.rows(0, 200)).model_dump()}
    assert note_on_queries(kept, TABLE.rows(200, 300)) == []
    seen = "50 of 150 queries have exactly the features of items that the bundle was trained on"
    said = f"{seen}, which flatters the figures"
    assert note_on_queries(kept, TABLE.rows(150, 300)) == [f"{said}: ask items that were held out."]
    data = {"holdout": 40, "holdout_by": "order"}
    assert note_on_queries(kept | {"data": data}, TABLE.rows(150, 300)) == [
        f"{said}: it was trained with --holdout 40 --holdout-by order, so give the same; "
        "where that is given, the file has items more than once."
    ]
    assert note_on_queries({}, TABLE) == [], "nothing is known of the training"
    (note,) = note_on_queries({"settings": {}}, TABLE)
    assert "does not say what it was trained on" in note and "--holdout-by order" in note


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_whatever_a_manifest_holds(value: Any) -> None:
    for kept in (value, {"items": value, "sample": "AAAA"}, {"items": 3, "sample": value}):
        assert isinstance(note_on_queries({TRAINED_ITEMS: kept, "data": value}, TABLE), list)


@pytest.mark.parametrize("sample", ["", "AAAAAAA=", "AAAA", "no base64!"])
def test_samples_that_are_none(sample: str) -> None:
    assert note_on_queries({TRAINED_ITEMS: {"items": 3, "sample": sample}}, TABLE) == []
