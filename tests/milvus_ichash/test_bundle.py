from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.damage import flip_a_bit

from milvus_ichash.bundle import (
    ENCODER,
    MANIFEST,
    BagOfWords,
    CodeOutput,
    Manifest,
    Modality,
    PictureTower,
    modalities_of,
    read_manifest,
    save,
    sha256_of,
    verify,
)
from milvus_ichash.errors import InputError

MakeBundle = Callable[..., Path]
WORDS = "text_vocabulary.json"


def manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "method": "linear",
        "bits": 16,
        "modalities": (Modality(name="image", dim=12), Modality(name="text", dim=8)),
        "codes": (CodeOutput(name="code"),),
        "weights_sha256": "0" * 64,
        "opset": 18,
    }
    return Manifest(**(fields | changes))


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    source = tmp_path / "vocabulary"
    source.write_text('["red"]')
    written = save(tmp_path / "b", manifest(label_names=("a", "b")), {ENCODER: b"graph", "words.json": source})
    assert read_manifest(tmp_path / "b") == verify(tmp_path / "b") == written
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [ENCODER, MANIFEST, "words.json"]
    assert written.files["words.json"] == sha256_of(source)
    assert (written.dims, written.fused) == ({"image": 12, "text": 8}, True)


def test_lengths_of_nested_codes() -> None:
    nested = manifest(bits=64, nested=(16, 32, 64))
    assert (manifest().nested, nested.nested) == ((), (16, 32, 64))
    assert nested.fingerprint == manifest(bits=64).fingerprint, "the codes are the same, cut or not"


def test_a_length_that_the_codes_can_be_cut_to() -> None:
    nested, whole = manifest(bits=64, nested=(16, 32, 64)), manifest(bits=64)
    assert (nested.lengths, whole.lengths) == ((16, 32, 64), (64,))
    assert [nested.length(bits) for bits in (16, 64, None)] == [16, 64, 64]
    assert whole.length(64) == whole.length(None) == 64
    for bits in (0, 8, 40, 128):
        with pytest.raises(
            InputError, match=f"codes of {bits} bits cannot be had: .* trained to be cut to 16, 32 of 64 bits"
        ):
            nested.length(bits)
    for single in (whole, manifest(bits=64, nested=(64,))):
        with pytest.raises(InputError, match="are not nested: only 64 bits"):
            single.length(32)


def test_the_fingerprint_names_what_decides_the_codes() -> None:
    base = manifest()
    assert len(base.fingerprint) == 16
    same = [
        manifest(versions={"torch": "9"}, training={"epochs": 3}, label_names=("a",), completion="other words"),
        manifest(files={ENCODER: "1" * 64}),
    ]
    assert {m.fingerprint for m in same} == {base.fingerprint}
    words = {"text": BagOfWords(vocabulary="words.json")}
    others = [
        manifest(weights_sha256="1" * 64),
        manifest(bits=32),
        manifest(precision="float16"),
        manifest(modalities=tuple(reversed(base.modalities))),
        manifest(codes=(CodeOutput(name="image_code", modality="image"),)),
        manifest(raw=words),
        manifest(raw=words, files={"words.json": "2" * 64}),
        manifest(raw={"image": PictureTower(tower="t.onnx", size=8, mean=(0, 0, 0), std=(1, 1, 1))}),
    ]
    assert len({m.fingerprint for m in [base, *others]}) == len(others) + 1


def test_the_fingerprint_does_not_change_between_releases() -> None:
    # Collections in use hold it: a change here makes every one of them refuse its bundle.
    assert manifest().fingerprint == "2d770421a9ece566"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"modalities": ()}, "one or more"),
        ({"modalities": (Modality(name="a", dim=1),) * 2}, "different names"),
        ({"codes": ()}, "one or more"),
        ({"codes": (CodeOutput(name="c"), CodeOutput(name="c"))}, "different names"),
        ({"codes": (CodeOutput(name="c", modality="sound"),)}, "'sound' is none of"),
        ({"raw": {"sound": BagOfWords(vocabulary="v")}}, "'sound' is none of"),
        ({"files": {"../encoder.onnx": "0"}}, "no plain file name"),
        ({"surprise": 1}, "surprise"),
        ({"raw": {"text": {"vocabulary": "v", "token_pattern": "[a"}}}, "regular expression"),
        *(
            ({"bits": 64, "nested": wrong}, "nested")
            for wrong in ((16, 32), (32, 16, 64), (12, 64), (0, 64), (64, 128), (16, 16, 64))
        ),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        manifest(**changes)


@pytest.mark.parametrize("name", ["present", "img-emb", "1st", "", "a b", "ü", "a\n"])
def test_names_that_no_modality_can_have(name: str) -> None:
    with pytest.raises(InputError, match="cannot name a modality"):
        modalities_of({"image": 3, name: 4})


def test_modalities_of_keeps_the_order() -> None:
    assert modalities_of({"text": 4, "image": 3}) == (Modality(name="text", dim=4), Modality(name="image", dim=3))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        ("[]", "does not describe a bundle"),
        ('{"format": 99}', "bundle format 99; this version reads format 1"),
        ('{"format": 1, "method": "m"}', "does not describe a bundle: bits"),
    ],
)
def test_a_manifest_that_cannot_be_read(tmp_path: Path, content: str | bytes, problem: str) -> None:
    (tmp_path / MANIFEST).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=problem):
        read_manifest(tmp_path)


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no ichash\.json"):
        read_manifest(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        read_manifest(tmp_path / "nowhere")


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    change(content)
    (folder / MANIFEST).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: edit(folder, lambda content: content.update(bits=12)), "12 bits"),
        (lambda folder: flip_a_bit(folder / ENCODER), r"encoder\.onnx' is damaged or was changed"),
        (lambda folder: (folder / WORDS).unlink(), rf"lacks its file '{WORDS}'"),
        (lambda folder: edit(folder, lambda content: content["files"].pop(ENCODER)), f"no sha256 of {ENCODER}"),
        (lambda folder: edit(folder, lambda content: content["files"].pop(WORDS)), f"no sha256 of {WORDS}"),
    ],
)
def test_what_is_not_as_it_was_written_is_named(
    make_bundle: MakeBundle, damage: Callable[[Path], object], problem: str
) -> None:
    folder = make_bundle(words={"text": [f"w{i}" for i in range(8)]})
    verify(folder)
    damage(folder)
    with pytest.raises(InputError, match=problem):
        verify(folder)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A bundle with an old graph, in a folder of its own."""
    save(tmp_path / "b", manifest(), {ENCODER: b"old"})
    return tmp_path / "b"


def test_save_replaces_only_bundles_and_only_when_told(target: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--overwrite"):
        save(target, manifest(), {ENCODER: b"new"})
    assert (target / ENCODER).read_bytes() == b"old"
    save(target, manifest(), {ENCODER: b"new"}, overwrite=True)
    assert (target / ENCODER).read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]

    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "thesis.tex").write_text("...")
    with pytest.raises(InputError, match="not a bundle"):
        save(precious, manifest(), {ENCODER: b"new"}, overwrite=True)
    assert (precious / "thesis.tex").is_file()


def test_a_save_that_fails_leaves_the_old_bundle_and_nothing_else(target: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be written: No such file.*gone\.json"):
        save(target, manifest(), {ENCODER: b"new", "words.json": tmp_path / "gone.json"}, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert verify(target).files[ENCODER] == sha256_of(target / ENCODER)
    assert (target / ENCODER).read_bytes() == b"old"


def test_a_place_that_cannot_be_written_to(target: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        save(target / ENCODER / "b", manifest(), {ENCODER: b"x"})
