"""The identity of a case: what it holds, what it is told apart by, and what it never holds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.grids import tiny_case

from ichash_export.compare.case import BASELINE, Case, Protocol, changes, key
from milvus_ichash.errors import InputError

DIGESTS = {"train": "1", "query": "2", "retrieval": "3"}


pytestmark = pytest.mark.usefixtures("tiny_methods")


def test_the_identity_holds_every_setting_and_option(tmp_path: Path) -> None:
    case = replace(tiny_case(pdr=0.5, query_pdr=0.1, seed=3), settings={"width": "8"}, training={"validation": 0.2})
    line = case.identity("items", DIGESTS)
    assert json.loads(json.dumps(line)) == line
    assert line["settings"] == {
        "epochs": 4,
        "batch_size": 32,
        "width": 8,
        "learning_rate": 0.01,
        "warmup_epochs": 0,
        "pause": 0.0,
    }
    assert line["training"] == {"validation": 0.2, "validate_every": 5, "patience": 5}
    assert (line["pdr"], line["level"], line["query_pdr"], line["use"], line["seed"]) == (0.5, None, 0.1, "complete", 3)


@pytest.mark.parametrize(
    "other",
    [
        tiny_case(bits=24),
        tiny_case(seed=1),
        tiny_case("tiny-cross"),
        tiny_case(variant="no completion"),
        tiny_case(pdr=0.5),
        tiny_case(level="easy"),
        tiny_case(query_pdr=0.5),
        tiny_case(use="extend"),
        tiny_case(unseen=("cat",)),
        tiny_case(labelled=0.5),
        tiny_case(unseen=("cat",), unseen_share=0.2),
    ],
)
def test_other_cells_have_other_keys(other: Case) -> None:
    assert key(other.identity("items", DIGESTS)) != key(tiny_case().identity("items", DIGESTS))
    assert key(tiny_case().identity("more items", DIGESTS)) != key(tiny_case().identity("items", DIGESTS))


def test_changes_are_named() -> None:
    case = tiny_case()
    old = case.identity("items", DIGESTS)
    other = replace(case, settings={"width": 8}, training={"patience": 0})
    new = other.identity("items", {**DIGESTS, "query": "9"})
    assert key(old) == key(new)
    assert changes(old, old) == []
    assert changes(old, new) == ["the data (query split)", "width (was 16, is 8)", "patience (was 5, is 0)"]
    without = {**old, "settings": {name: value for name, value in old["settings"].items() if name != "pause"}}
    assert changes(without, old) == ["pause (was None, is 0.0)"]


def test_a_file_stands_by_its_content_and_no_path_is_kept(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "knowledge.npz").write_bytes(b"words")
    first, second = (
        Case("egich", "full", 16, 0, Protocol(), {"knowledge": str(tmp_path / name / "knowledge.npz")}).identity(
            "items", DIGESTS
        )
        for name in ("one", "two")
    )
    assert first == second
    assert first["settings"]["knowledge"] == "file:" + hashlib.sha256(b"words").hexdigest()[:16]
    assert str(tmp_path) not in json.dumps(first)
    (tmp_path / "two" / "knowledge.npz").write_bytes(b"other words")
    third = Case("egich", "full", 16, 0, Protocol(), {"knowledge": str(tmp_path / "two" / "knowledge.npz")}).identity(
        "items", DIGESTS
    )
    assert len(changes(first, third)) == 1


def test_a_baseline_has_neither_settings_nor_options() -> None:
    line = Case("lsh", BASELINE, 16, 0, Protocol(pdr=0.5)).identity("items", DIGESTS)
    assert (line["variant"], line["settings"], line["training"], line["pdr"]) == ("baseline", {}, {}, 0.5)


def test_how_a_case_is_described() -> None:
    assert str(tiny_case(pdr=0.5)) == "tiny, 16 bits, PDR 0.5, seed 0"
    case = tiny_case(
        variant="no completion", level="hard", query_pdr=0.9, use="extend", unseen=("a", "b"), labelled=0.1
    )
    assert (
        case.title == "tiny: no completion, 16 bits, level hard, query PDR 0.9, extend, 2 unseen classes, labelled 0.1"
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"settings": {"widht": 3}}, "did you mean 'width'"),
        ({"training": {"pateince": 3}}, "training has no 'pateince'"),
    ],
)
def test_values_that_cannot_be_used(changed: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(tiny_case(), **changed).identity("items", DIGESTS)
