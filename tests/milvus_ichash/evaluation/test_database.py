"""Labels from collections, and labels of two sides brought to the same classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from support.labelled_items import items, write_npz

from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.database import Database, align_labels, encode_database, labels_from_lists
from milvus_ichash.evaluation.tasks import single_modality_code
from milvus_ichash.io import open_source
from milvus_ichash.runtime.encoder import HashEncoder

MakeBundle = Callable[..., Path]
ABC = ("a", "b", "c")


def aligned(
    query: Sequence[int], query_names: Sequence[str] | None, names: tuple[str, ...] | None, *, classes: int = 3
) -> tuple[list[list[int]], list[str]]:
    """One query's labels over the classes of a database of one row, all of whose classes are known where it has 3."""
    row = np.array([[1] + [0] * (classes - 1)], np.uint8)
    database = Database(np.arange(1), row, names, np.ones((1, 1), bool), ("image",), {}, all_classes=classes == 3)
    labels, unknown = align_labels(np.array([query], np.uint8), query_names, database)
    return labels.tolist(), unknown


def test_lists_of_class_indices_become_vectors() -> None:
    assert labels_from_lists([[0, 2], [], [1]]).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert labels_from_lists([[0]], 3).tolist() == [[1, 0, 0]]
    assert labels_from_lists([[]]).shape == (1, 0)
    for wrong in ([[3]], [[-1]]):
        with pytest.raises(InputError, match="expected 0 to 2"):
            labels_from_lists(wrong, 3)


def test_classes_are_matched_by_name() -> None:
    assert aligned([1, 0, 1], ("c", "b", "a"), ABC) == ([[1, 0, 1]], [])
    # A class that no query has ('y') is of no interest.
    assert aligned([1, 1, 0], ("x", "b", "y"), ABC) == ([[0, 1, 0]], ["x"])
    with pytest.raises(InputError, match="no class in common: the queries have x, the database a, b, c"):
        aligned([1, 0, 0], ("x", "b", "y"), ABC)


@pytest.mark.parametrize("names", [None, ABC])
def test_classes_without_names_on_both_sides_are_matched_by_number(names: tuple[str, ...] | None) -> None:
    assert aligned([0, 1, 1], None, names) == ([[0, 1, 1]], [])
    for width in (2, 4):
        with pytest.raises(InputError, match=f"the queries have {width} classes, the database 3"):
            aligned([1] * width, None, names)


def test_a_collection_without_names_may_have_classes_that_no_row_shows() -> None:
    assert aligned([0, 1, 1], None, None, classes=2) == ([[0, 1]], [])
    with pytest.raises(InputError, match="1 classes, the database 2"):
        aligned([1], None, None, classes=2)


def test_a_source_is_encoded_and_sorted_by_id(make_bundle: MakeBundle, tmp_path: Path) -> None:
    table = items(30, words=True)
    encoder = HashEncoder.load(make_bundle(), batch_size=7)
    found = encode_database(encoder, open_source(write_npz(tmp_path / "items.npz", table)))
    order = np.argsort(table.ids)
    assert found.ids.tolist() == sorted(table.ids)
    assert np.array_equal(found.labels, table.labels[order]) and np.array_equal(found.present, table.present[order])
    assert np.array_equal(found.codes["code"], encoder.encode_table(table)["code"][order])


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
    order = np.argsort(table.ids)
    there = table.present[:, 1]
    assert list(found.codes) == ["code", single_modality_code("code", "text")]
    assert 0 < there.sum() < 30
    expected = np.zeros((30, 2), np.uint8)
    only_text = np.array([[False, True]] * int(there.sum()))
    no_image = np.full((len(only_text), 12), np.nan, np.float32)
    expected[there] = encoder.encode(present=only_text, image=no_image, text=table.features["text"][there])["code"]
    assert np.array_equal(found.codes[single_modality_code("code", "text")], expected[order])
    assert np.array_equal(found.codes["code"], encode_database(encoder, source).codes["code"])
    # Cross-modal codes are of a single modality as they are.
    assert list(encode_database(cross_encoder, source, ["text"]).codes) == ["image_code", "text_code"]


def test_a_cut_database_has_the_first_bits_of_its_codes(make_bundle: MakeBundle, tmp_path: Path) -> None:
    encoder = HashEncoder.load(make_bundle(bits=64, nested=(16, 64)), threads=1)
    source = open_source(write_npz(tmp_path / "rows.npz", items(30)))
    whole, cut = encode_database(encoder, source), encode_database(encoder.cut(16), source)
    np.testing.assert_array_equal(whole.cut(16).codes["code"], cut.codes["code"])
    np.testing.assert_array_equal(whole.cut(16).ids, cut.ids)
    assert whole.cut(64).codes["code"].shape == (30, 8)
