"""Vocabularies and picture towers: checked before training, kept with the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.bundles import build_bundle

from ichash_export.onnx.attachments import Attachment, picture_tower, remember, remembered, vocabulary
from milvus_ichash.bundle import BagOfWords
from milvus_ichash.errors import InputError

DIMS = {"image": 12, "text": 3}


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX graph from (N, 3, 16, 16) to 12 features."""
    return build_bundle(tmp_path_factory.mktemp("tower") / "b", pictures={"image": 16}) / "image_tower.onnx"


def _words(folder: Path, content: Any) -> Path:
    path = folder / "v.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_run_remembers_them(tmp_path: Path, tower: Path) -> None:
    given = {
        "text": vocabulary("text", _words(tmp_path, ["a", "b", "c"]), DIMS),
        "image": picture_tower("image", tower, DIMS, mean=(0.5, 0.4, 0.3)),
    }
    remember(tmp_path / "run", given)
    (tmp_path / "v.json").unlink()
    found = remembered(tmp_path / "run")
    assert {m: a.step for m, a in found.items()} == {m: a.step for m, a in given.items()}
    assert json.loads(found["text"].path.read_text()) == ["a", "b", "c"]
    assert found["image"].path.read_bytes() == tower.read_bytes()
    assert (found["image"].step.size, found["image"].step.mean) == (16, (0.5, 0.4, 0.3))
    remember(tmp_path / "run", found)
    assert set(remembered(tmp_path / "run")) == {"text", "image"}
    remember(tmp_path / "run", {})
    assert remembered(tmp_path / "run") == {}
    assert remembered(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["a", "b"], "has 2 words, but 'text' has 3 features"),
        (["a", "b", "a"], "a JSON list of different words"),
        ({"a": 1}, "a JSON list of different words"),
        ([1, 2, 3], "a JSON list of different words"),
        ("[", "is not JSON"),
    ],
)
def test_a_vocabulary_that_does_not_fit(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        vocabulary("text", _words(tmp_path, content), DIMS)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"given for 'words', which is no modality of the data; there are: image, text"
    ):
        vocabulary("words", _words(tmp_path, []), DIMS)
    with pytest.raises(InputError, match=r"there is no file '.*none\.json'"):
        vocabulary("text", tmp_path / "none.json", DIMS)
    with pytest.raises(InputError, match=r"there is no file '.*none\.onnx'"):
        picture_tower("image", tmp_path / "none.onnx", DIMS)


def test_a_tower_that_does_not_fit(tmp_path: Path, tower: Path) -> None:
    with pytest.raises(InputError, match=r"features of shape \(1, 12\) for one picture; 'text' needs \(1, 3\)"):
        picture_tower("text", tower, DIMS)
    with pytest.raises(InputError, match="does not run on a batch of pictures"):
        picture_tower("image", tower, DIMS, size=17)
    (tmp_path / "broken.onnx").write_bytes(tower.read_bytes()[:50])
    with pytest.raises(InputError, match="does not run on a batch of pictures"):
        picture_tower("image", tmp_path / "broken.onnx", DIMS)
    encoder = tower.with_name("encoder.onnx")
    with pytest.raises(InputError, match="does not run on a batch of pictures"):
        picture_tower("image", encoder, DIMS)


def test_names_in_the_bundle(tmp_path: Path) -> None:
    assert Attachment(BagOfWords(vocabulary="x.json"), tmp_path / "y.json").name == "x.json"
