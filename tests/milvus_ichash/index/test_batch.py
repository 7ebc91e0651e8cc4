from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from milvus_ichash.errors import InputError
from milvus_ichash.index import batch
from milvus_ichash.index.batch import build_batch, code_bytes
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
