"""Ids that can be stored; on Milvus Lite those with an apostrophe are stored with another sign, and shown as given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvus_ichash.bundle import Manifest
from milvus_ichash.choices import IdKind
from milvus_ichash.errors import InputError
from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.stored_ids import RESERVED, StoredIds, checked_ids
from milvus_ichash.queries import codes_of_stored_items
from milvus_ichash.settings import MilvusSettings

LITE = StoredIds(escaped=True)
SIGN = f"&{RESERVED}"
IDS = st.text(st.characters(exclude_characters=RESERVED, exclude_categories=["Cs"]) | st.sampled_from("'&(%"))


@given(st.lists(IDS, min_size=1))
def test_ids_come_back_and_sort_alike(ids: list[str]) -> None:
    stored = LITE.stored(ids)
    assert list(LITE.shown(stored)) == ids
    assert not any("'" in key for key in stored)
    assert sorted(ids) == list(LITE.shown(sorted(stored)))
    assert [key.encode() for key in sorted(stored)] == sorted(key.encode() for key in stored)


@pytest.mark.parametrize(
    ("given_filter", "stored"),
    [
        ('id == "kid\'s"', f'id == "kid{SIGN}s"'),
        (r"id == 'kid\'s'", f"id == 'kid{SIGN}s'"),
        ('id in ["a", "it\'s", "]\'"] and n == 1', f'id in ["a", "it{SIGN}s", "]{SIGN}"] and n == 1'),
        ("id not in ['a', \"b'\"]", f"id not in ['a', \"b{SIGN}\"]"),
        ('"a\'" <= id <= "b\'"', f'"a{SIGN}" <= id <= "b{SIGN}"'),
        ('id like "it\'s%"', f'id like "it{SIGN}s%"'),
        ('title == "it\'s" or id>"it\'s"', f'title == "it\'s" or id>"it{SIGN}s"'),
        ('paid == "it\'s" and idx in ["it\'s"]', 'paid == "it\'s" and idx in ["it\'s"]'),
        ("title == \"id == 'a'\"", "title == \"id == 'a'\""),
        ('id == "a\\\\\'b"', f'id == "a\\\\{SIGN}b"'),
    ],
)
def test_filters(given_filter: str, stored: str) -> None:
    assert LITE.expression(given_filter) == stored
    assert StoredIds(escaped=False).expression(given_filter) == given_filter


def test_apostrophes_in_every_call(connection: Connection, fused: Manifest, collection: str) -> None:
    """The second id would delete the rows of all others, where it got into SQL as it is."""
    ids = ["kid's ball", "x') OR ('1'='1", "plain", "a&b", "a'b", "a(b", "50 %", 'say "it\'s"', "back\\slash'"]
    index = HashIndex.create(connection, collection, fused)
    codes = np.arange(2 * len(ids), dtype=np.uint8).reshape(-1, 2)
    present, titles = np.ones((len(ids), 2), bool), [f"it's {i}" for i in range(len(ids))]
    for _ in range(2):
        index.upsert(ids, {"code": codes}, present, None, {"title": titles})
    assert index.count() == len(ids)
    back = index.read_back()
    assert back.ids.tolist() == sorted(ids)
    assert back.codes["code"].tolist() == [codes[ids.index(key)].tolist() for key in back.ids]
    hits = index.search(codes, top_k=1, output_fields=["id", "title"])
    assert hits.ids[:, 0].tolist() == ids
    assert [fields[0] for fields in hits.fields] == [
        {"id": key, "title": title} for key, title in zip(ids, titles, strict=True)
    ]
    assert codes_of_stored_items(index, ids).codes["code"].tolist() == codes.tolist()
    assert index.search(codes[:1], filter='id == "a\'b" and title == "it\'s 4"').ids.tolist()[0][0] == "a'b"
    assert [len(ranked) for ranked, _ in index.rank_all(codes[:1])] == [len(ids)]
    assert index.look_up(ids).missing == []
    assert index.delete(["kid's ball"]) == 1
    assert index.delete(filter='id like "x\')%"') == 1
    assert index.read_back().ids.tolist() == sorted(ids[2:])


def test_they_are_there_when_the_file_is_opened_again(fused: Manifest, tmp_path: Path) -> None:
    settings, ids = MilvusSettings(uri=str(tmp_path / "x.db")), ["it's", "its", "it''s"]
    with connect(settings) as connection:
        index = HashIndex.create(connection, "items", fused)
        for _ in range(2):
            index.upsert(ids, {"code": np.zeros((3, 2), np.uint8)}, np.ones((3, 2), bool))
        index.delete(["its"])
    with connect(settings) as connection:
        assert HashIndex.open(connection, "items").read_back().ids.tolist() == ["it''s", "it's"]


@pytest.mark.parametrize(
    ("ids", "kind"), [(np.array(["a", "é" * 256], object), "str"), (np.array([3, 1 - 2**63]), "int64")]
)
def test_ids_that_a_collection_takes(ids: np.ndarray, kind: IdKind) -> None:
    assert checked_ids(ids, kind, lite=True) == ids.tolist()


@pytest.mark.parametrize(
    ("kind", "bad", "says"),
    [
        ("str", ["a", "b", "a"], "'a' comes twice"),
        ("str", ["a", 1], "the id 1 is int"),
        ("str", ["a", ""], "is empty"),
        ("str", ["a", "x" * 513], "513"),
        ("str", ["a", "é" * 257], "514 bytes"),
        ("str", ["a", "b\tc"], "control character"),
        ("str", ["a", "\x00"], "control character"),
        ("str", ["a", "\ud800"], "no valid Unicode"),
        ("int64", [1, 1], "comes twice"),
        ("int64", [1, "1"], "'1' is str"),
        ("int64", [True], "True is bool"),
        ("int64", [2**63], "beyond 63 bits"),
        ("int64", [-(2**63)], "beyond"),
    ],
    ids=str,
)
def test_ids_that_no_collection_takes(kind: IdKind, bad: list[Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        checked_ids(bad, kind, lite=kind == "int64")


@pytest.mark.parametrize("bad", ["kid's ball", "x') OR ('1'='1"])
def test_what_milvus_lite_stores_for_an_apostrophe_takes_more_bytes(bad: str) -> None:
    for lite in (False, True):
        assert checked_ids(["a", bad], "str", lite=lite) == ["a", bad]
    long = "'" * 200
    assert checked_ids([long], "str", lite=False) == [long]
    for refused, says in ((long, "has 1000 bytes"), ("a\U0010ffff", "which is no character")):
        with pytest.raises(InputError, match=says):
            checked_ids([refused], "str", lite=True)
