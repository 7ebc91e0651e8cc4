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


def database(
    labels: Sequence[Sequence[int]], names: tuple[str, ...] | None = None, *, all_classes: bool = True
) -> Database:
    multi_hot = np.array(labels, np.uint8)
    n = len(multi_hot)
    return Database(np.arange(n), multi_hot, names, np.ones((n, 1), bool), ("image",), {}, all_classes)


def test_lists_of_class_indices_become_vectors() -> None:
    assert labels_from_lists([[0, 2], [], [1]]).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert labels_from_lists([[0]], 3).tolist() == [[1, 0, 0]]
    assert labels_from_lists([[]]).shape == (1, 0)
    for wrong in ([[3]], [[-1]]):
        with pytest.raises(InputError, match="expected 0 to 2"):
            labels_from_lists(wrong, 3)


def test_classes_are_matched_by_name() -> None:
    aligned, unknown = align_labels(
        np.array([[1, 0, 1]], np.uint8), ("c", "b", "a"), database([[1, 0, 0]], ("a", "b", "c"))
    )
    assert aligned.tolist() == [[1, 0, 1]] and unknown == []
    aligned, unknown = align_labels(
        np.array([[1, 1, 0]], np.uint8), ("x", "b", "y"), database([[1, 0, 0]], ("a", "b", "c"))
    )
    assert aligned.tolist() == [[0, 1, 0]] and unknown == ["x"], "a class that no query has ('y') is of no interest"
    with pytest.raises(InputError, match="no class in common: the queries have x, the database a, b, c"):
        align_labels(np.array([[1, 0, 0]], np.uint8), ("x", "b", "y"), database([[1, 0, 0]], ("a", "b", "c")))


@pytest.mark.parametrize("names", [None, ("a", "b", "c")])
def test_classes_without_names_on_both_sides_are_matched_by_number(names: tuple[str, ...] | None) -> None:
    labels = np.array([[0, 1, 1]], np.uint8)
    assert align_labels(labels, None, database([[1, 0, 0]], names))[0].tolist() == labels.tolist()
    for width in (2, 4):
        with pytest.raises(InputError, match=f"the queries have {width} classes, the database 3"):
            align_labels(np.ones((1, width), np.uint8), None, database([[1, 0, 0]], names))


def test_a_collection_without_names_may_have_classes_that_no_row_shows() -> None:
    seen = database([[1, 0]], all_classes=False)
    assert align_labels(np.array([[0, 1, 1]], np.uint8), None, seen)[0].tolist() == [[0, 1]]
    with pytest.raises(InputError, match="1 classes, the database 2"):
        align_labels(np.ones((1, 1), np.uint8), None, seen)


def test_a_source_is_encoded_and_sorted_by_id(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    table = items(30, words=True)
    encoder = HashEncoder.load(make_bundle(), batch_size=7)
    found = encode_database(encoder, open_source(write_npz(tmp_path / "items.npz", table)))
    order = np.argsort(table.ids)
    assert found.ids.tolist() == sorted(table.ids)
    assert np.array_equal(found.labels, table.labels[order]) and np.array_equal(found.present, table.present[order])
    assert np.array_equal(found.codes["code"], encoder.encode_table(table)["code"][order])


def test_a_source_without_labels_is_refused(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    table = items(3, gaps=0)
    np.savez(tmp_path / "bare.npz", id=table.ids, **table.features)
    with pytest.raises(InputError, match=r"bare.npz has no labels: .* --labels-column"):
        encode_database(HashEncoder.load(make_bundle()), open_source(tmp_path / "bare.npz"))


def test_fused_codes_of_one_modality_alone(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    table = items(30)
    encoder = HashEncoder.load(make_bundle(), batch_size=7)
    source = open_source(write_npz(tmp_path / "items.npz", table))
    found = encode_database(encoder, source, ["text"])
    assert list(found.codes) == ["code", single_modality_code("code", "text")]
    order = np.argsort(table.ids)
    features = {"image": np.full((30, 12), np.nan, np.float32), "text": table.features["text"]}
    there = table.present[:, 1]
    assert 0 < there.sum() < 30
    expected = np.zeros((30, 2), np.uint8)
    expected[there] = encoder.encode(
        present=np.array([[False, True]] * int(there.sum())), **{m: x[there] for m, x in features.items()}
    )["code"]
    assert np.array_equal(found.codes[single_modality_code("code", "text")], expected[order])
    assert np.array_equal(found.codes["code"], encode_database(encoder, source).codes["code"])
    cross = HashEncoder.load(make_bundle(fused=False))
    assert list(encode_database(cross, source, ["text"]).codes) == ["image_code", "text_code"], (
        "those are of one modality as they are"
    )


def test_a_cut_database_has_the_first_bits_of_its_codes(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    encoder = HashEncoder.load(make_bundle(bits=64, nested=(16, 64)), threads=1)
    source = open_source(write_npz(tmp_path / "rows.npz", items(30)))
    whole, cut = encode_database(encoder, source), encode_database(encoder.cut(16), source)
    np.testing.assert_array_equal(whole.cut(16).codes["code"], cut.codes["code"])
    np.testing.assert_array_equal(whole.cut(16).ids, cut.ids)
    assert whole.cut(64).codes["code"].shape == (30, 8)
