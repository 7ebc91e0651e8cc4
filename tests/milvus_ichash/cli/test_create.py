from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import CommandLine, refused
from support.gappy_parquet import gappy_columns, write_parquet


@pytest.fixture
def place(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(modalities={"image": 6, "text": 4}, bits=32, nested=(16, 32))


def test_create_and_ingest(place: CommandLine, bundle: Path, tmp_path: Path) -> None:
    done = place.run("create", "-b", bundle, "-c", "items", "--format", "json")
    made = json.loads(done.stdout)
    assert (done.returncode, made["made"], made["rows"], made["bits"], made["id"]) == (0, True, 0, 32, "str")
    assert made["index"]["code"]["index_type"] == "BIN_FLAT"
    write_parquet(tmp_path / "items.parquet", gappy_columns(20))
    assert place.rows("ingest", "items.parquet", "-b", bundle, "-c", "items", "--insert")[0]["written"] == 20
    again = json.loads(place.run("create", "-b", bundle, "-c", "items", "--format", "json").stdout)
    assert again == made | {"made": False, "rows": 20}


@pytest.mark.parametrize("kind", ["names", "numbers"])
def test_labels_of_both_kinds_go_into_what_a_bundle_without_names_was_made_for(
    place: CommandLine, bundle: Path, tmp_path: Path, kind: str
) -> None:
    labels = [[["a", "b"], [0, 2]][kind == "numbers"]] * 20
    write_parquet(tmp_path / "items.parquet", gappy_columns(20, id=[f"a{i}" for i in range(20)], labels=labels))
    assert place.run("create", "-b", bundle, "-c", "items").returncode == 0
    assert place.rows("ingest", "items.parquet", "-b", bundle, "-c", "items")[0]["written"] == 20
    (hit,) = place.rows("query", "--id", "a0", "-b", bundle, "-c", "items", "-k", 1, "--field", "labels")
    assert hit["labels"] == [["a", "b"], ["0", "2"]][kind == "numbers"]
    by_search = place.rows("evaluate", "items.parquet", "-b", bundle, "-c", "items")
    assert by_search[0]["mAP@all"] == pytest.approx(1.0)


def test_what_is_there_must_be_what_is_wanted(
    place: CommandLine, bundle: Path, make_bundle: Callable[..., Path]
) -> None:
    other = make_bundle(modalities={"image": 6, "text": 4}, bits=32, seed=3)
    create = ("create", "-c", "items")
    assert place.run(*create, "-b", bundle, "--bits", 16).returncode == 0
    assert place.run(*create, "-b", bundle).returncode == 0
    for words, code, says in (
        (("-b", other), 4, "holds codes of the bundle"),
        (("-b", bundle, "--bits", 32), 2, "holds codes of 16 bits, not 32"),
        (("-b", bundle, "--ids", "int64"), 2, "of type int64, and the collection 'items' of type str"),
        (("-b", bundle, "--codes", "image_code"), 2, "the bundle makes no code 'image_code'"),
        (("-b", bundle, "--index", "BIN_IVF_FLAT"), 2, "Milvus Lite has BIN_FLAT only"),
    ):
        assert refused(place.run(*create, *words), code, says)
