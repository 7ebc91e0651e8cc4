from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.command import CommandLine, refused

from milvus_ichash.bundle import ENCODER, read_manifest
from milvus_ichash.index.connection import connect, import_pymilvus
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.settings import MilvusSettings


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(label_names=("fruit", "car"), words={"text": [f"word{i}" for i in range(8)]})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> CommandLine:
    """The command, in a folder with a database of two collections, one of them somebody else's."""
    folder = tmp_path_factory.mktemp("place")
    with connect(MilvusSettings(uri=str(folder / "x.db"))) as connection:
        index = HashIndex.create(connection, "items", read_manifest(bundle))
        present = np.array([[True, True], [True, False], [True, False], [False, True]])
        index.upsert(list("abcd"), {"code": np.zeros((4, 2), np.uint8)}, present, [["car"], ["car", "fruit"], None, []])
        fields = connection.client.create_schema()
        fields.add_field("pk", import_pymilvus().DataType.INT64, is_primary=True)
        fields.add_field("v", import_pymilvus().DataType.BINARY_VECTOR, dim=8)
        connection.client.create_collection("others", schema=fields)

    return CommandLine(folder)


def test_list_of_collections(place: CommandLine, bundle: Path) -> None:
    assert place.rows("inspect") == [
        {
            "collection": "items",
            "rows": 4,
            "method": "linear",
            "bits": 16,
            "codes": ["code"],
            "fingerprint": read_manifest(bundle).fingerprint,
        },
        {"collection": "others", "method": "(not made by milvus-ichash)"},
    ]


def test_a_collection_and_its_bundle(place: CommandLine, bundle: Path) -> None:
    found = place.rows("inspect", "--collection", "items", "--bundle", bundle)
    expected = {
        "rows": 4,
        "missing": {"image": 1, "text": 2},
        "index": {"code": {"index_type": "BIN_FLAT", "metric_type": "HAMMING", "state": "Finished"}},
        "classes": 2,
        "labels": {"fruit": 1, "car": 2},
        "labels stored as": "names",
        "code bytes": 8,
        "bundle": "fits",
        "milvus": "Lite 2.5.1 at ./x.db",
    }
    assert {name: found[name] for name in expected} == expected
    assert found["file bytes"] > 0


def test_people_are_shown_the_first_of_many_labels(
    place: CommandLine, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "fruit (1), car (2)" in place.run("inspect", "--collection", "items").stdout
    monkeypatch.setattr("milvus_ichash.cli.commands.inspect._LISTED", 1)
    assert "fruit (1) and 1 more" in place.run("inspect", "--collection", "items").stdout
    assert "fruit and 1 more" in place.run("inspect", "--bundle", bundle).stdout
    assert place.rows("inspect", "--bundle", bundle)["labels"] == ["fruit", "car"]


def test_labels_of_many_items_are_not_counted(place: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milvus_ichash.cli.commands.inspect._COUNTED", 3)
    assert place.rows("inspect", "--collection", "items")["labels"] == ["fruit", "car"]


def test_a_collection_and_another_bundle(place: CommandLine, make_bundle: Callable[..., Path]) -> None:
    other = make_bundle(seed=3)
    done = place.in_a_process("inspect", "-c", "items", "-b", other, "-f", "json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["bundle"] == f"does not fit: {read_manifest(other).fingerprint}"
    assert read_manifest(other).fingerprint in done.stderr


def test_a_bundle_alone(place: CommandLine, bundle: Path) -> None:
    found = place.rows("inspect", "--bundle", bundle)
    expected = {
        "takes": {"image": 12, "text": 8},
        "makes": {"code": "fused"},
        "raw input": {"text": "bag_of_words"},
        "fingerprint": read_manifest(bundle).fingerprint,
    }
    assert {name: found[name] for name in expected} == expected
    assert ENCODER in found["files"]


def test_a_bundle_alone_needs_no_milvus(place: CommandLine, bundle: Path) -> None:
    done = place.run("inspect", "--bundle", bundle, "--db-name", "other")
    assert refused(done, 2, "--db-name would do nothing here: a bundle is a folder, without Milvus")


def test_a_damaged_bundle(place: CommandLine, make_bundle: Callable[..., Path]) -> None:
    damaged = make_bundle()
    (damaged / ENCODER).write_bytes((damaged / ENCODER).read_bytes()[:-10])
    done = place.run("inspect", "--bundle", damaged)
    assert refused(done, 2, "sha256")


def test_people_get_a_table(place: CommandLine) -> None:
    assert "fingerprint" in place.run("inspect", "-c", "items").stdout


def test_collections_that_cannot_be_shown(place: CommandLine) -> None:
    done = place.run("inspect", "-c", "others")
    assert refused(done, 4, "was not made by milvus-ichash")
