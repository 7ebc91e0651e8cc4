"""Labels from collections, and labels of two sides brought to the same classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.labelled_items import items, write_npz

from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.database import (
    Database,
    align_labels,
    encode_database,
    labels_from_lists,
    numbers_of_names,
)
from milvus_ichash.evaluation.tasks import single_modality_code
from milvus_ichash.io import open_source
from milvus_ichash.runtime.encoder import HashEncoder

MakeBundle = Callable[..., Path]
Names = tuple[str, ...] | None
ABC = ("a", "b", "c")


def aligned(query: list[int], query_names: Names, names: Names, *, classes: int) -> tuple[list[list[int]], list[str]]:
    """One query's labels over the classes of a database of one row, all of whose classes are known where it has 3."""
    row = np.array([[1] + [0] * (classes - 1)], np.uint8)
    database = Database(np.arange(1), row, names, np.ones((1, 1), bool), ("image",), {}, all_classes=classes == 3)
    labels, unknown = align_labels(np.array([query], np.uint8), query_names, database)
    return labels.tolist(), unknown


@pytest.mark.parametrize(
    ("lists", "classes", "labels"),
    [([[0, 2], [], [1]], None, [[1, 0, 1], [0, 0, 0], [0, 1, 0]]), ([[0]], 3, [[1, 0, 0]]), ([[]], None, [[]])],
)
def test_lists_of_class_indices_become_vectors(
    lists: list[list[int]], classes: int | None, labels: list[list[int]]
) -> None:
    assert labels_from_lists(lists, classes).tolist() == labels


def test_names_become_numbers_those_that_are_not_known_after_the_others() -> None:
    assert numbers_of_names([["b", "z"], [], ["y", "a"]], ("a", "b")) == ([[1, 3], [], [2, 0]], ("a", "b", "y", "z"))
    assert numbers_of_names([[]]) == ([[]], ())


def test_names_and_numbers_in_one_collection_are_refused() -> None:
    with pytest.raises(InputError, match="the label 3 among names"):
        numbers_of_names([["a"], [3]], ("a",))  # type: ignore[list-item]
    with pytest.raises(InputError, match="no class numbers"):
        labels_from_lists([[1], ["3"]], 3)  # type: ignore[list-item]


@pytest.mark.parametrize("wrong", [3, -1])
def test_class_indices_are_those_of_a_class(wrong: int) -> None:
    with pytest.raises(InputError, match="expected 0 to 2"):
        labels_from_lists([[wrong]], 3)


@pytest.mark.parametrize(
    ("query", "query_names", "names", "classes", "expected"),
    [
        ([1, 0, 1], ("c", "b", "a"), ABC, 3, ([[1, 0, 1]], [])),
        ([1, 1, 0], ("x", "b", "y"), ABC, 3, ([[0, 1, 0]], ["x"])),  # a class that no query has, y, is of no interest
        ([0, 1, 1], None, ("2", "1", "0"), 3, ([[1, 1, 0]], [])),  # a class without a name is called by its number
        ([0, 1, 1], ("0", "2", "1"), None, 3, ([[0, 1, 1]], [])),
        ([1, 1, 0], ("1", "7", "9"), None, 2, ([[0, 1]], ["7"])),
        ([0, 1, 1], None, None, 3, ([[0, 1, 1]], [])),
        ([0, 1, 1], None, None, 2, ([[0, 1]], [])),  # a collection may have classes that no row shows
    ],
)
def test_classes_are_matched_by_name_or_else_by_number(
    query: list[int],
    query_names: Names,
    names: Names,
    classes: int,
    expected: tuple[list[list[int]], list[str]],
) -> None:
    assert aligned(query, query_names, names, classes=classes) == expected


@pytest.mark.parametrize(
    ("query", "query_names", "names", "classes", "message"),
    [
        ([1, 0, 0], ("x", "b", "y"), ABC, 3, "no class in common: the queries have x, the database a, b, c"),
        *(([1] * width, None, None, 3, f"the queries have {width} classes, the database 3") for width in (2, 4)),
        *(
            ([1] * width, None, ABC, 3, "the database names classes .a, b, c., and the other side")
            for width in (2, 3, 4)
        ),
        ([1, 0, 1], ABC, None, 3, "the queries name classes .a, b, c., and the other side has class numbers"),
        ([1, 1, 1], None, ("1", "2", "3"), 3, "no class in common: the queries have 0, the database 1, 2, 3"),
        ([1, 1, 1], ("1", "2", "3"), None, 3, "no class in common: the queries have 3, the database 0, 1, 2"),
        ([1], None, None, 2, "1 classes, the database 2"),
    ],
)
def test_classes_that_cannot_be_matched(
    query: list[int], query_names: Names, names: Names, classes: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        aligned(query, query_names, names, classes=classes)


def test_a_source_is_encoded_and_sorted_by_id(make_bundle: MakeBundle, tmp_path: Path) -> None:
    table = items(30, words=True)
    encoder = HashEncoder.load(make_bundle(), batch_size=7)
    found = encode_database(encoder, open_source(write_npz(tmp_path / "items.npz", table)))
    in_order = table.take(np.argsort(table.ids))
    expected = in_order.ids, in_order.labels, in_order.present, encoder.encode_table(in_order)
    np.testing.assert_equal((found.ids, found.labels, found.present, found.codes), expected)


def test_a_source_without_labels_is_refused(fused_encoder: HashEncoder, tmp_path: Path) -> None:
    table = items(3, gaps=0)
    np.savez(tmp_path / "bare.npz", id=table.ids, **table.features)
    with pytest.raises(InputError, match=r"bare.npz has no labels: .* --labels-column"):
        encode_database(fused_encoder, open_source(tmp_path / "bare.npz"))


def test_codes_of_a_single_modality(make_bundle: MakeBundle, cross_encoder: HashEncoder, tmp_path: Path) -> None:
    table = items(30)
    encoder = HashEncoder.load(make_bundle(), batch_size=7)
    source = open_source(write_npz(tmp_path / "items.npz", table))
    found = encode_database(encoder, source, ["text"])
    there = table.present[:, 1]
    assert 0 < there.sum() < 30
    of_text = np.zeros((30, 2), np.uint8)
    only_text = np.array([[False, True]] * int(there.sum()))
    no_image = np.full((len(only_text), 12), np.nan, np.float32)
    of_text[there] = encoder.encode(present=only_text, image=no_image, text=table.features["text"][there])["code"]
    code = encode_database(encoder, source).codes["code"]
    expected = {"code": code, single_modality_code("code", "text"): of_text[np.argsort(table.ids)]}
    np.testing.assert_equal(found.codes, expected)
    # Cross-modal codes are of a single modality as they are.
    assert list(encode_database(cross_encoder, source, ["text"]).codes) == ["image_code", "text_code"]


def test_a_cut_database_has_the_first_bits_of_its_codes(make_bundle: MakeBundle, tmp_path: Path) -> None:
    encoder = HashEncoder.load(make_bundle(bits=64, nested=(16, 64)), threads=1)
    source = open_source(write_npz(tmp_path / "rows.npz", items(30)))
    whole, cut = encode_database(encoder, source), encode_database(encoder.cut(16), source)
    np.testing.assert_equal((whole.cut(16).codes, whole.cut(16).ids), (cut.codes, cut.ids))
    assert whole.cut(64).codes["code"].shape == (30, 8)
