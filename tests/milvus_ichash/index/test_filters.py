from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milvus_ichash.bundle import Manifest
from milvus_ichash.index import filters
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex


@pytest.mark.parametrize(
    ("made", "expression"),
    [
        (filters.after('a"b\\c é'), 'id > "a\\"b\\\\c é"'),
        (filters.after(-3), "id > -3"),
        (filters.among([1, np.int64(2)]), "id in [1, 2]"),
        (filters.between("a", "b"), 'id >= "a" and id <= "b"'),
        (filters.having(["image", "text"]), "has_image == true and has_text == true"),
        (filters.having([]), ""),
        (filters.both("", "a == 1"), "a == 1"),
        (filters.both("a == 1 or b == 2", " ", "c == 3"), "(a == 1 or b == 2) and (c == 3)"),
        (filters.both("", ""), ""),
    ],
)
def test_expressions(made: str, expression: str) -> None:
    assert made == expression


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("", []),
        ("title == 'it is \\' nope'", ["title"]),
        ('title == "a \\" and nope" and n > 3.5e2', ["title", "n"]),
        ("array_contains(labels, 3) or not (has_text == True)", ["labels", "has_text"]),
        ('meta["key"] in [1, 2] AND title LIKE "x%"', ["meta", "title"]),
        ('$meta["key"] is null', []),
        ("n >= -1 && n2 <= m", ["n", "n2", "m"]),
    ],
)
def test_names_in_a_filter(expression: str, names: list[str]) -> None:
    assert filters.names_in(expression) == names


# Every string that may be an id in Milvus Lite: see test_rows.
IDS = st.text(
    st.characters(min_codepoint=32, exclude_characters="\x7f\U0010ffff", exclude_categories=("Cs", "Cc"))
    | st.sampled_from("'\"\\&(%_[]"),
    min_size=1,
    max_size=20,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(IDS, min_size=1, max_size=20, unique=True))
def test_milvus_finds_every_id_again(connection: Connection, fused: Manifest, ids: list[str]) -> None:
    """Written, replaced, looked up, ranged over and read back by id, whatever characters it has."""
    index = HashIndex.create(connection, "odd_ids", fused, recreate=True)
    codes = {"code": np.arange(2 * len(ids), dtype=np.uint8).reshape(-1, 2)}
    present = np.ones((len(ids), 2), bool)
    for _ in range(2):
        index.upsert(ids, codes, present)
    assert index.count() == len(ids)
    assert index.existing([*ids, "another one, not there"]) == set(ids)
    assert all(index.count(filters.among([key])) == 1 for key in ids)
    ordered, half = sorted(ids), len(ids) // 2
    assert index.read_back().ids.tolist() == ordered
    for key, code in zip(ids, codes["code"], strict=True):
        assert index.search(code[None], top_k=1, filter=filters.among([key])).ids.tolist() == [[key]]
    assert set(index.search(codes["code"][:1], top_k=50, output_fields=["id"]).ids[0]) == {*ids, None}
    assert index.unchanged(index.batch(ids, codes, present)).all()
    ranges = filters.between(ordered[0], ordered[half]), filters.after(ordered[half])
    assert [index.count(rows) for rows in ranges] == [half + 1, len(ids) - half - 1]
    assert index.delete(ids[:1]) == 1
    assert index.existing(ids) == set(ids[1:])


def test_whole_numbers_as_ids(connection: Connection, fused: Manifest, name: Callable[[], str]) -> None:
    index = HashIndex.create(connection, name(), fused, id_kind="int64")
    ids = np.array([1 - 2**63, -1, 0, 2**63 - 1])
    index.upsert(ids, {"code": np.zeros((4, 2), np.uint8)}, np.ones((4, 2), bool))
    assert index.read_back().ids.tolist() == ids.tolist()
    assert index.existing(ids) == set(ids.tolist())
    assert index.count(filters.between(-1, 0)) == 2
