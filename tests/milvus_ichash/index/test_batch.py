from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from milvus_ichash.choices import IdKind
from milvus_ichash.errors import InputError
from milvus_ichash.index import batch
from milvus_ichash.index.batch import build_batch, checked_ids, code_bytes
from milvus_ichash.index.description import Description

FUSED = Description(fingerprint="f", method="m", bits=16, codes={"code": None}, modalities=("image", "text"))
CODES = np.array([[1, 2], [3, 4]], np.uint8)
PRESENT = np.array([[True, False], [True, True]])


def build(**changes: Any) -> list[dict[str, Any]]:
    given: dict[str, Any] = {
        "codes": {"code": CODES, "other": CODES},
        "present": PRESENT,
        "labels": None,
        "payload": None,
    }
    return build_batch(FUSED, ["a", "b"], **(given | changes)).rows()


def test_rows_hold_all_fields() -> None:
    rows = build(labels=[[0, 3], None], payload={"title": ["x", None], "n": np.array([1, 2])})
    assert rows == [
        {"id": "a", "code": b"\x01\x02", "has_image": True, "has_text": False, "title": "x", "n": 1, "labels": [0, 3]},
        {"id": "b", "code": b"\x03\x04", "has_image": True, "has_text": True, "title": None, "n": 2},
    ]
    assert all(type(row["has_image"]) is bool for row in rows)


def test_labels_and_payload_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By `build_batch`, which so finds out what cannot be stored; the parts of a batch share it."""
    encoded: list[Any] = []
    to_json = batch._to_json
    monkeypatch.setattr(batch, "_to_json", lambda value: encoded.append(value) or to_json(value))
    payload = {"title": ["é" * 40, "x"]}
    built = build_batch(FUSED, ["a", "b"], {"code": CODES}, PRESENT, [[0, 3], None], payload)
    parts = list(built.parts(rows=2, size=100))
    assert [part.columns()["$meta"] for part in parts] == [
        ['{{"title":"{}","labels":[0,3]}}'.format("é" * 40).encode()],
        [b'{"title":"x"}'],
    ]
    assert [part.rows()[0]["title"] for part in parts] == payload["title"]
    assert len(encoded) == 2


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros((2, 2), np.int8),
        np.zeros((2, 2), np.float32),
        np.zeros((2, 16), np.uint8),  # unpacked bits
        np.zeros((2, 1), np.uint8),
        np.zeros((2, 3), np.uint8),
        np.zeros(2, np.uint8),
        [[0, 0], [0, 0]],
    ],
)
def test_only_packed_codes_of_the_right_length_go_in(codes: Any) -> None:
    """Milvus Lite takes all of these, and stores something else."""
    with pytest.raises(InputError, match=r"uint8 \(n, 2\)"):
        build(codes={"code": codes})


def test_codes_in_any_memory_order() -> None:
    transposed = np.ascontiguousarray(CODES.T).T
    assert code_bytes(transposed, 16) == [b"\x01\x02", b"\x03\x04"] == code_bytes(np.repeat(CODES, 2, axis=0)[::2], 16)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"codes": {"other": CODES}}, "stores 'code'"),
        ({"codes": {"code": CODES[:1]}}, "2 ids, but 1 codes"),
        ({"present": PRESENT[:, :1]}, r"expected bool \(2, 2\)"),
        ({"present": PRESENT.astype(int)}, "expected bool"),
        ({"labels": [[0]]}, "2 ids, but 1 lists"),
        ({"labels": [[0], [-1]]}, "label is -1"),
        ({"labels": [[0], [2**31]]}, "label is 2147483648"),
        ({"labels": [[0], [1.0]]}, "label is 1.0"),
        ({"labels": [[0], [True]]}, "label is True"),
        ({"payload": {"labels": [1, 2]}}, "column 'labels'"),
        ({"payload": {"id": [1, 2]}}, "column 'id'"),
        ({"payload": {"code": [1, 2]}}, "column 'code'"),
        ({"payload": {"has_text": [1, 2]}}, "column 'has_text'"),
        ({"payload": {"$meta": [1, 2]}}, r"column '\$meta'"),
        ({"payload": {"": [1, 2]}}, "column ''"),
        ({"payload": {"n": [1]}}, "1 values for 2 ids"),
        ({"payload": {"n": [1, float("nan")]}}, "row 1 of the payload column 'n' holds nan"),
        ({"payload": {"n": [1, {"a": [float("inf")]}]}}, "row 1 of the payload column 'n'"),
        ({"payload": {"n": [b"raw", 1]}}, "row 0 of the payload column 'n' holds b'raw'"),
        ({"payload": {"t": ["a", "b"], "n": ["b", "\ud800"]}}, "row 1 of the payload column 'n'"),
    ],
)
def test_what_milvus_would_corrupt_or_die_of_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        build(**changes)


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
