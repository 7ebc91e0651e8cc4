from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.foreign_collection import make_foreign

from milvus_ichash.bundle import Manifest, read_manifest
from milvus_ichash.errors import InputError, MismatchError
from milvus_ichash.index import index_building
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.description import Description
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.index_spec import IndexSpec


def test_description_goes_there_and_back(cross: Manifest, fused: Manifest) -> None:
    description = Description.of(cross)
    assert description.codes == {"image_code": "image", "text_code": "text"}
    assert Description.parse(description.to_json()) == description
    assert Description.of(cross, ["text_code"]).codes == {"text_code": "text"}
    assert Description.of(fused).label_names == ("fruit", "car")
    newer = json.dumps({**json.loads(description.to_json()), "ichash": 3})
    others = ["", "made by hand", "[]", json.dumps({"fingerprint": "x"}), newer]
    assert [Description.parse(text) for text in others] == [None] * 5


@pytest.mark.parametrize("codes", [["code"], ["image_code", "nope"], []])
def test_codes_that_the_bundle_does_not_make(cross: Manifest, codes: list[str]) -> None:
    with pytest.raises(InputError, match="it makes image_code, text_code"):
        Description.of(cross, codes)


def test_label_names_that_do_not_fit_are_left_out(fused: Manifest) -> None:
    many = fused.model_copy(update={"label_names": tuple(f"class number {i}" for i in range(2000))})
    assert (Description.of(many).label_names, Description.of(many).labels_by_name) == (None, True)
    assert not Description.of(fused.model_copy(update={"label_names": None})).labels_by_name
    assert len(Description.of(many).to_json()) < 1000


def test_field_names_that_clash(make_bundle: Callable[..., Path]) -> None:
    manifest = read_manifest(make_bundle(modalities={"image": 4, "code": 4}, fused=False))
    clashing = manifest.model_copy(
        update={"codes": tuple(c.model_copy(update={"name": f"has_{c.modality}"}) for c in manifest.codes)}
    )
    with pytest.raises(InputError, match="different names"):
        Description.of(clashing)


def test_what_milvus_made_is_what_was_asked_for(connection: Connection, cross: Manifest, collection: str) -> None:
    HashIndex.create(connection, collection, cross, id_kind="int64")
    found = connection.client.describe_collection(collection)
    assert {f["name"]: (f["type"].name, f["params"]) for f in found["fields"]} == {
        "id": ("INT64", {}),
        "image_code": ("BINARY_VECTOR", {"dim": 16}),
        "text_code": ("BINARY_VECTOR", {"dim": 16}),
        "has_image": ("BOOL", {}),
        "has_text": ("BOOL", {}),
    }
    assert (found["enable_dynamic_field"], found["consistency_level"]) == (True, 0)
    assert {
        (code, i["index_type"], i["metric_type"]) for code, i in index_building.indexes(connection, collection).items()
    } == {
        ("image_code", "BIN_FLAT", "HAMMING"),
        ("text_code", "BIN_FLAT", "HAMMING"),
    }


@pytest.mark.parametrize("bad", ["", "1st", "a-b", "a b", "é", "x" * 256, "a;drop"])
def test_names_of_collections(bad: str, connection: Connection, fused: Manifest) -> None:
    for use in (HashIndex.open, HashIndex.exists, lambda *there: HashIndex.create(*there, fused)):
        with pytest.raises(InputError, match="cannot name a collection"):
            use(connection, bad)


def test_milvus_lite_has_one_index(connection: Connection, fused: Manifest, collection: str) -> None:
    with pytest.raises(InputError, match="Milvus Lite has BIN_FLAT only"):
        HashIndex.create(connection, collection, fused, index=IndexSpec(kind="BIN_IVF_FLAT", nlist=16))


def test_collections_of_others(connection: Connection, fused: Manifest, collection: str) -> None:
    make_foreign(connection, collection, "somebody's")
    for use in (HashIndex.open, lambda *there: HashIndex.create(*there, fused, recreate=True)):
        with pytest.raises(MismatchError, match="was not made by milvus-ichash"):
            use(connection, collection)
    assert connection.client.has_collection(collection)
    with pytest.raises(InputError, match=f"there is no collection 'nowhere'.*{collection}"):
        HashIndex.open(connection, "nowhere")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dim": 32}, "no binary vector of 16 bits"),
        ({"index_type": "BIN_FLAT", "metric_type": "JACCARD"}, "has the metric JACCARD"),
        ({"marks": ("has_image",)}, "no field 'has_text'"),
        ({"key": "pk"}, "primary key is not 'id'"),
    ],
)
def test_collections_that_are_not_as_they_say(
    changes: dict[str, Any], says: str, connection: Connection, fused: Manifest, collection: str
) -> None:
    make_foreign(connection, collection, Description.of(fused).to_json(), **changes)
    with pytest.raises(MismatchError, match=says):
        HashIndex.open(connection, collection)


@pytest.mark.parametrize("several", [False, True])
def test_opening_asks_milvus_few_times(
    several: bool,
    connection: Connection,
    fused: Manifest,
    cross: Manifest,
    collection: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Description, indexes and load state; without columnar calls the indexes are described one by one."""
    HashIndex.create(connection, collection, cross if several else fused)
    handler, asked = connection.client._get_connection(), []

    class Counting:
        stub = handler._stub

        def __getattr__(self, call: str) -> Any:
            asked.append(call)
            return getattr(self.stub, call)

    monkeypatch.setattr(handler, "_stub", Counting())
    HashIndex.open(connection, collection)
    each = 2 + several if connection.columnar is None else 1
    assert asked == ["DescribeCollection", *["DescribeIndex"] * each, "GetLoadState"]


def test_a_creation_that_was_cut_off_is_completed(connection: Connection, fused: Manifest, collection: str) -> None:
    make_foreign(connection, collection, Description.of(fused).to_json())
    assert index_building.indexes(connection, collection) == {}
    assert HashIndex.open(connection, collection).index_states()["code"]["metric_type"] == "HAMMING"
