"""Labels of a collection: names, or class numbers in those that earlier releases made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.old_collection import old_collection

from milvus_ichash.bundle import Manifest, read_manifest
from milvus_ichash.errors import InputError
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex

NAMES = ("rot", 'a "b"', "größe 7", "3")
IDS = ["a", "b", "c", "d"]
NUMBERS = [[0, 2], [1], None, []]
LABELS = [[NAMES[0], NAMES[2]], [NAMES[1]], None, []]
CODES = {"code": np.arange(8, dtype=np.uint8).reshape(4, 2)}
PRESENT = np.ones((4, 2), bool)


@pytest.fixture(scope="module")
def manifest(make_bundle: Callable[..., Path]) -> Manifest:
    return read_manifest(make_bundle(label_names=NAMES))


@pytest.fixture(scope="module")
def index(connection: Connection, manifest: Manifest) -> HashIndex:
    """A collection of this release."""
    made = HashIndex.create(connection, "new_form", manifest)
    made.upsert(IDS, CODES, PRESENT, LABELS)
    return made


@pytest.fixture
def old(connection: Connection, manifest: Manifest, collection: str) -> HashIndex:
    return old_collection(connection, collection, manifest, IDS, CODES, PRESENT, NUMBERS)


def shown(index: HashIndex) -> list[object]:
    """The labels of the items as a search gives them, in the order of the ids."""
    hits = index.search(CODES["code"][:1], top_k=4, output_fields=["labels"])
    by_id = {key: row.get("labels") for key, row in zip(hits.ids[0].tolist(), hits.fields[0], strict=True)}
    return [by_id[key] for key in IDS]


def test_labels_are_names(index: HashIndex) -> None:
    assert index.labels_by_name and index.read_back().labels == LABELS == shown(index)
    assert index.label_counts() == {"rot": 1, 'a "b"': 1, "größe 7": 1, "3": 0}


@pytest.mark.parametrize("contains", ["array_contains", "json_contains", "ARRAY_CONTAINS"])
@pytest.mark.parametrize(
    ("literal", "ids"), [('"rot"', ["a"]), ("'größe 7'", ["a"]), ('"a \\"b\\""', ["b"]), ('"nothing"', [])]
)
def test_filters_find_names(index: HashIndex, contains: str, literal: str, ids: list[str]) -> None:
    assert index.read_back(codes=(), filter=f"{contains}(labels, {literal})").ids.tolist() == ids


def test_filters_for_one_of_several_names(index: HashIndex) -> None:
    assert index.read_back(codes=(), filter='json_contains_any(labels, ["rot", "3", "größe 7"])').ids.tolist() == ["a"]


@pytest.mark.parametrize("labels", [[[0], [1], [2], [3]], [["rot"], [3], None, None], [["\ud800"], None, None, None]])
def test_numbers_among_names_are_refused(index: HashIndex, labels: list[list[object] | None]) -> None:
    with pytest.raises(InputError, match="this collection holds labels by name: give lists of strings"):
        index.upsert(IDS, CODES, PRESENT, labels)


def test_a_filter_for_numbers_among_names_is_refused(index: HashIndex) -> None:
    with pytest.raises(
        InputError, match=r'names in the collection .*write, for example, array_contains\(labels, "rot"\)'
    ):
        index.search(CODES["code"][:1], filter="array_contains(labels, 0)")
    with pytest.raises(InputError, match="looks for the number 0 among labels"):
        index.delete(filter="not array_contains(labels, 0)")
    assert index.search(CODES["code"][:1], filter='array_contains(labels, "none such")').counts.tolist() == [0]


def test_an_old_collection_opens_and_is_shown_by_name(old: HashIndex) -> None:
    assert not old.labels_by_name and old.label_names == NAMES
    assert (old.read_back().labels, shown(old)) == (NUMBERS, LABELS)
    assert old.label_counts() == {"rot": 1, 'a "b"': 1, "größe 7": 1, "3": 0}
    assert old.count("array_contains(labels, 2)") == 1
    with pytest.raises(InputError, match=r"class numbers in the .*: write array_contains\(labels, 2\)"):
        old.search(CODES["code"][:1], filter='array_contains(labels, "größe 7")')


def test_an_old_collection_keeps_its_form(old: HashIndex) -> None:
    old.upsert(IDS[:2], {"code": CODES["code"][:2]}, PRESENT[:2], [["3", "rot"], None])
    old.upsert(["e"], {"code": CODES["code"][:1]}, PRESENT[:1], [[1]])
    assert old.read_back().labels == [[3, 0], None, None, [], [1]]
    with pytest.raises(InputError, match=r"a label is 'zebra'; labels are .* from 0, or names such as rot"):
        old.upsert(["e"], {"code": CODES["code"][:1]}, PRESENT[:1], [["zebra"]])


def test_names_that_were_too_long_to_store_come_from_the_bundle(
    connection: Connection, manifest: Manifest, collection: str
) -> None:
    bare = old_collection(connection, collection, manifest, IDS, CODES, PRESENT, NUMBERS, named=False)
    assert (bare.label_names, shown(bare)) == (None, NUMBERS)
    assert bare.label_counts() == {"0": 1, "1": 1, "2": 1}
    bare.name_classes(manifest.label_names)
    assert shown(bare) == LABELS
    with pytest.raises(InputError, match="no class is called so there"):
        bare.delete(filter='array_contains(labels, "zebra")')
