from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from milvus_ichash.bundle import ENCODER, read_manifest
from milvus_ichash.index.connection import connect, import_pymilvus
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.settings import MilvusSettings

Inspect = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(label_names=("fruit", "car"), words={"text": [f"word{i}" for i in range(8)]})


@pytest.fixture(scope="module")
def inspect(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Inspect:
    """The command, in a folder with a database of two collections, one of them somebody else's."""
    folder = tmp_path_factory.mktemp("place")
    with connect(MilvusSettings(uri=str(folder / "x.db"))) as connection:
        index = HashIndex.create(connection, "items", read_manifest(bundle))
        present = np.array([[True, True], [True, False], [True, False], [False, True]])
        index.upsert(list("abcd"), {"code": np.zeros((4, 2), np.uint8)}, present)
        fields = connection.client.create_schema()
        fields.add_field("pk", import_pymilvus().DataType.INT64, is_primary=True)
        fields.add_field("v", import_pymilvus().DataType.BINARY_VECTOR, dim=8)
        connection.client.create_collection("others", schema=fields)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MILVUS_", "ZILLIZ_"))}
        command = [sys.executable, "-m", "milvus_ichash", "inspect", *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=folder,
            env=kept | {"MILVUS_URI": "x.db"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done

    return run


def test_list_of_collections(inspect: Inspect, bundle: Path) -> None:
    ours, others = json.loads(inspect("--format", "json").stdout)
    fingerprint = read_manifest(bundle).fingerprint
    assert ours == {
        "collection": "items",
        "rows": 4,
        "method": "linear",
        "bits": 16,
        "codes": ["code"],
        "fingerprint": fingerprint,
    }
    assert others == {"collection": "others", "method": "(not made by milvus-ichash)"}


def test_a_collection_and_its_bundle(inspect: Inspect, bundle: Path) -> None:
    done = inspect("--collection", "items", "--bundle", bundle, "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == 4
    assert found["missing"] == {"image": 1, "text": 2}
    assert found["index"] == {"code": {"index_type": "BIN_FLAT", "metric_type": "HAMMING", "state": "Finished"}}
    assert found["classes"] == 2
    assert found["code bytes"] == 8
    assert found["file bytes"] > 0
    assert found["bundle"] == "fits"
    assert found["milvus"] == "Lite 2.5.1 at x.db"


def test_a_collection_and_another_bundle(inspect: Inspect, make_bundle: Callable[..., Path]) -> None:
    other = make_bundle(seed=3)
    done = inspect("-c", "items", "-b", other, "-f", "json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["bundle"] == f"does not fit: {read_manifest(other).fingerprint}"
    assert read_manifest(other).fingerprint in done.stderr


def test_a_bundle_alone(inspect: Inspect, bundle: Path) -> None:
    found = json.loads(inspect("--bundle", bundle, "--format", "json").stdout)
    assert found["takes"] == {"image": 12, "text": 8}
    assert found["makes"] == {"code": "fused"}
    assert found["raw input"] == {"text": "bag_of_words"}
    assert found["fingerprint"] == read_manifest(bundle).fingerprint
    assert ENCODER in found["files"]


def test_a_damaged_bundle(inspect: Inspect, make_bundle: Callable[..., Path]) -> None:
    damaged = make_bundle()
    (damaged / ENCODER).write_bytes((damaged / ENCODER).read_bytes()[:-10])
    done = inspect("--bundle", damaged)
    assert (done.returncode, done.stdout) == (2, "")
    assert "sha256" in done.stderr


def test_people_get_a_table(inspect: Inspect) -> None:
    assert "fingerprint" in inspect("-c", "items").stdout


def test_collections_that_cannot_be_shown(inspect: Inspect) -> None:
    done = inspect("-c", "others")
    assert (done.returncode, done.stdout) == (4, "")
    assert "was not made by milvus-ichash" in done.stderr
