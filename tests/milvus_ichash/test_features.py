"""FeatureTable: what counts as missing, what is refused and how the row is named, and tables made of tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable

NAN, INF = np.nan, np.inf


def table(rows: int = 5, **changes) -> FeatureTable:
    rng = np.random.default_rng(0)
    parts = {
        "ids": np.arange(100, 100 + rows),
        "features": {"image": rng.random((rows, 4)), "text": rng.random((rows, 3))},
        "labels": rng.integers(0, 2, (rows, 6)),
        "label_names": list("abcdef"),
        "payload": {"title": [f"t{i}" for i in range(rows)]},
    }
    parts |= changes
    return FeatureTable.build(parts.pop("ids"), parts.pop("features"), **parts)


def parts(table: FeatureTable) -> dict[str, object]:
    """What two tables that are the same have in common, NaN included (`np.testing.assert_equal`)."""
    known = np.ones(len(table), bool) if table.labelled is None else table.labelled
    payload = {name: list(column) for name, column in table.payload.items()}
    of_rows = {"ids": table.ids, "present": table.present, "labels": table.labels, "labelled": known}
    return {**of_rows, "modalities": table.modalities, "features": dict(table.features), "payload": payload}


def same(a: FeatureTable, b: FeatureTable) -> None:
    np.testing.assert_equal(parts(a), parts(b))


def test_build_gives_the_dtypes_of_the_contract():
    t = table()
    assert [x.dtype for x in (*t.features.values(), t.present, t.labels)] == [
        np.float32,
        np.float32,
        np.bool_,
        np.uint8,
    ]
    assert t.present.all()
    assert (t.modalities, t.dims, len(t)) == (("image", "text"), {"image": 4, "text": 3}, 5)


IMAGE, TEXT = np.ones((4, 2)), np.ones((4, 3))


def with_values(x: np.ndarray, row: int, values: object) -> np.ndarray:
    """A copy in which a row holds these values."""
    x = x.copy()
    x[row] = values
    return x


@pytest.mark.parametrize(
    ("features", "hidden", "missing"),
    [
        ({"image": IMAGE, "text": TEXT}, [], []),
        ({"image": with_values(IMAGE, 1, NAN), "text": TEXT}, [(2, 0), (3, 1)], [(1, 0), (2, 0), (3, 1)]),
        ({"image": with_values(IMAGE, 0, [INF, NAN]), "text": TEXT}, [(0, 0)], [(0, 0)]),
        ({"image": None, "text": TEXT}, [], []),
        ({"words": 0 * TEXT}, [], []),
        ({"image": np.full((4, 8), 1e18)}, [], []),
    ],
    ids=["whole", "NaN and present", "hidden rows hold anything", "no modality", "zeros are there", "sums overflow"],
)
def test_a_row_is_missing_where_it_is_all_nan_or_present_says_so(features, hidden, missing):
    names = [name for name, x in features.items() if x is not None]
    present, expected = (np.ones((4, len(names)), bool) for _ in range(2))
    for mask, places in ((present, hidden), (expected, missing)):
        for place in places:
            mask[place] = False
    t = FeatureTable.build(np.arange(4), features, present=present)
    assert t.modalities == tuple(names)
    assert t.present.tolist() == expected.tolist()
    assert missing or FeatureTable.build(np.arange(4), features).present.all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((with_values(TEXT, 2, [1, value, 1]), r"row 12 \(id 'c'\) has NaN .*'text'") for value in (NAN, INF, -INF)),
        (with_values(TEXT, 0, [INF, -INF, 1]), "row 10"),
        (with_values(TEXT, 0, [1e300, 1, 1]), "row 10"),
        (with_values(TEXT, slice(1, 4, 2), NAN), r"row 11 \(id 'b'\) has no modality at all \(and 1 more\)"),
    ],
    ids=["NaN", "infinity", "-infinity", "both cancel out", "a double beyond float32", "no modality"],
)
def test_a_row_that_cannot_be_used_is_named(text, message):
    with pytest.raises(InputError, match=message):
        FeatureTable.build(np.array(list("abcd"), object), {"text": text}, first_row=10)


@pytest.mark.parametrize(
    "changes",
    [
        {"features": {}},
        {"features": {"image": np.ones((5, 0))}},
        {"features": {"image": np.ones((4, 2))}},
        {"features": {"image": np.ones(5)}},
        {"present": np.ones((5, 1), bool)},
        {"labels": np.ones(5)},
        {"labels": np.ones((4, 2))},
        {"labelled": np.ones(4, bool)},
        {"payload": {"title": ["too few"]}},
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes):
    with pytest.raises(InputError):
        table(**changes)


def test_take_by_numbers_and_by_mask_and_rows_as_a_view():
    t = table(labelled=np.array([1, 0, 1, 1, 1], bool))
    picked = t.take(np.array([3, 1]))
    assert (picked.ids.tolist(), picked.payload["title"]) == ([103, 101], ["t3", "t1"])
    assert picked.labelled.tolist() == [True, False]
    same(t.take(np.array([False, True, False, True, False])), t.take(np.array([1, 3])))
    part = t.rows(1, 3)
    same(part, t.take(np.array([1, 2])))
    assert part.first_row == 1
    assert np.shares_memory(part.features["image"], t.features["image"])


def test_concat_of_pieces_is_the_whole():
    t = table(labelled=np.array([1, 0, 1, 1, 1], bool), ids=np.array(list("abcde"), object))
    same(FeatureTable.concat((t.rows(i, i + 2) for i in (0, 2, 4)), 5), t)


def test_concat_of_pieces_of_which_one_knows_all_labels():
    known = table(2, ids=np.arange(2))
    unknown = table(2, ids=np.arange(2, 4), labelled=np.zeros(2, bool))
    assert FeatureTable.concat([known, unknown], 4).labelled.tolist() == [True, True, False, False]
    assert FeatureTable.concat([known, known], 4).labelled is None


@pytest.mark.parametrize("rows", [4, 6])
def test_concat_refuses_another_number_of_rows(rows):
    with pytest.raises(InputError, match="rows were expected"):
        FeatureTable.concat([table()], rows)


def test_hide_only_removes():
    t = FeatureTable.build(np.arange(4), {"image": with_values(IMAGE, 0, NAN), "text": TEXT}).rows(0, 3)
    mask = np.array([[True, True], [True, False], [True, True]])
    assert t.hide(mask).present.tolist() == [[False, True], [True, False], [True, True]]


def test_only_takes_the_rows_that_have_the_modality_and_hides_the_others():
    t = FeatureTable.build(np.arange(4), {"image": IMAGE, "text": with_values(TEXT, [1, 3], NAN)})
    assert t.only("text").ids.tolist() == [0, 2]
    assert t.only("text").present.tolist() == [[False, True]] * 2
    assert t.only("image", "text").present.tolist() == [[True, True]] * 2
    with pytest.raises(InputError, match=r"'sound'.*image, text"):
        t.only("sound")


def test_tables_made_of_a_checked_one_are_checked_and_copies_are_not():
    t = table()
    made = [t.take(np.array([3, 1])), t.rows(1, 3), t.numbered(7), t.hide(t.present), t.only("text")]
    made += [t.with_classes(list("fedcba")), FeatureTable.concat([t.rows(0, 2), t.rows(2, 5)], 5)]
    assert t.checked and all(other.checked for other in made)
    copy = replace(t, first_row=3)
    assert not copy.checked
    assert not FeatureTable.concat([t, copy], 10).checked
    copy.check_rows()
    assert copy.checked


def test_present_in_the_order_of_a_bundle():
    t = FeatureTable.build(np.arange(4), {"image": IMAGE, "text": with_values(TEXT, slice(1, 4), NAN)})
    assert t.present_for(["text", "sound", "image"]).tolist() == [[True, False, True], *[[False, False, True]] * 3]
    with pytest.raises(
        InputError, match="the data has a modality 'text' that the bundle does not know; it takes image"
    ):
        t.present_for(["image"])


def test_with_classes_puts_labels_into_another_files_columns_by_name():
    t = FeatureTable.build(
        np.arange(2), {"x": np.ones((2, 1))}, labels=np.array([[1, 0], [1, 1]]), label_names=["dog", "ant"]
    )
    moved = t.with_classes(["ant", "bee", "dog"])
    assert moved.labels.tolist() == [[0, 0, 1], [1, 0, 1]]
    assert moved.label_names == ("ant", "bee", "dog")


def test_with_classes_calls_labels_without_names_by_their_number():
    t = table(1, labels=np.array([[0, 1]]), label_names=None)
    assert t.with_classes(["2", "1", "0"]).labels.tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (None, "class numbers or 0/1 vectors without names, where 1 classes are known by name: a"),
        (["0", "1"], "class numbers or 0/1 vectors without names"),
        (["a", "cow"], "'cow'"),
        (["a", "1"], "'1'"),
    ],
)
def test_with_classes_refuses_what_is_not_known(names, message):
    with pytest.raises(InputError, match=message):
        table(1, labels=np.array([[0, 1]]), label_names=names).with_classes(["a"])


def test_with_classes_leaves_a_table_without_labels_alone():
    t = table(labels=None, label_names=None)
    assert t.with_classes(["a"]) is t
