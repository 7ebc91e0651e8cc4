"""Vocabularies and picture towers: checked before training, kept with the run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
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


NO_TOWER = "does not run on a batch of pictures"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda at: vocabulary("text", _words(at, ["a", "b"]), DIMS), "has 2 words, but 'text' has 3 features"),
        (lambda at: vocabulary("text", _words(at, ["a", "b", "a"]), DIMS), "a JSON list of different words"),
        (lambda at: vocabulary("text", _words(at, {"a": 1}), DIMS), "a JSON list of different words"),
        (lambda at: vocabulary("text", _words(at, [1, 2, 3]), DIMS), "a JSON list of different words"),
        (lambda at: vocabulary("text", _words(at, "["), DIMS), "is not JSON"),
        (
            lambda at: vocabulary("words", _words(at, []), DIMS),
            "given for 'words', which is no modality of the data; there are: image, text",
        ),
        (lambda at: vocabulary("text", at / "none.json", DIMS), r"there is no file '.*none\.json'"),
        (lambda at: picture_tower("image", at / "none.onnx", DIMS), r"there is no file '.*none\.onnx'"),
        (
            lambda at: picture_tower("text", at / "image_tower.onnx", DIMS),
            r"features of shape \(1, 12\) for one picture; 'text' needs \(1, 3\)",
        ),
        (lambda at: picture_tower("image", at / "image_tower.onnx", DIMS, size=17), NO_TOWER),
        (lambda at: picture_tower("image", at / "image_tower.onnx", DIMS, size=10**6), "1000000 pixels cannot be"),
        (lambda at: picture_tower("image", at / "image_tower.onnx", DIMS, size=0), "0 pixels cannot be"),
        (
            lambda at: picture_tower("image", at / "image_tower.onnx", DIMS, std=(1, 0, 1)),
            r"cannot be used with this std\.1: Input should be greater than 0",
        ),
        (
            lambda at: picture_tower("image", at / "image_tower.onnx", DIMS, mean=(float("nan"), 0, 1)),
            r"cannot be used with this mean\.0: Input should be a finite number",
        ),
        (lambda at: picture_tower("image", at / "broken.onnx", DIMS), r"broken\.onnx' is damaged or no ONNX graph"),
        (lambda at: picture_tower("image", at / "encoder.onnx", DIMS), NO_TOWER),
    ],
    ids=[
        *("too few words", "a word twice", "an object", "numbers", "no JSON", "an unknown modality"),
        *(
            "no vocabulary",
            "no tower",
            "another size of features",
            "another size of pictures",
            "huge pictures",
            "no pixels",
        ),
        *("no deviation", "NaN", "a torn tower"),
        "an encoder",
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, tower: Path, call: Callable[[Path], Attachment], message: str
) -> None:
    folder = shutil.copytree(tower.parent, tmp_path / "bundle")
    (folder / "broken.onnx").write_bytes(tower.read_bytes()[:50])
    with pytest.raises(InputError, match=message):
        call(folder)


def test_a_run_of_an_older_version_is_remembered(tmp_path: Path) -> None:
    step = {"kind": "bag_of_words", "vocabulary": "text_vocabulary.json", "token_pattern": r"\w\w+", "binary": True}
    (tmp_path / "raw.json").write_text(json.dumps({"text": step}))
    given = BagOfWords(vocabulary="text_vocabulary.json", tokenizer="unicode_words")
    assert remembered(tmp_path) == {"text": Attachment(given, tmp_path / "text_vocabulary.json")}


@pytest.mark.parametrize(
    "content",
    ["[", "[1]", "1", '{"text": 1}', '{"text": {"kind": "bag_of_words", "vocabulary": "v", "token_pattern": "a+"}}'],
)
def test_a_damaged_memory_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "raw.json").write_text(content)
    with pytest.raises(InputError, match=r"raw\.json' (is not JSON|does not say what pictures and words become)"):
        remembered(tmp_path)


def test_a_tower_with_weights_in_another_file(tmp_path: Path, tower: Path) -> None:
    model = onnx.load(tower)
    onnx.save(model, tmp_path / "t.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(
        InputError, match=r"t\.onnx' keeps weights in another file .* export it with its weights inside"
    ):
        picture_tower("image", tmp_path / "t.onnx", DIMS)


def test_names_in_the_bundle(tmp_path: Path) -> None:
    assert Attachment(BagOfWords(vocabulary="x.json"), tmp_path / "y.json").name == "x.json"
