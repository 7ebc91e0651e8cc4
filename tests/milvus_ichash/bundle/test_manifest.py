from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from support.manifests import NETWORK, manifest

from milvus_ichash.bundle import ENCODER, BagOfWords, CodeOutput, Modality, PictureTower, modalities_of
from milvus_ichash.errors import InputError


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
        manifest(completion_networks=[NETWORK], golden_vectors="golden.json", files={"completion.onnx": "1" * 64}),
        manifest(format=1),
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
        manifest(raw={"text": BagOfWords(vocabulary="words.json", tokenizer="unicode_words")}),
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
        ({"raw": {"text": {"kind": "bag_of_words", "vocabulary": "v", "token_pattern": "[a"}}}, "token_pattern"),
        ({"raw": {"text": {"kind": "bag_of_words", "vocabulary": "v", "tokenizer": "(a+)+$"}}}, "tokenizer"),
        ({"raw": {"text": {"kind": "text_tower", "tower": "t.onnx"}}}, "'text_tower' .* expected tags"),
        ({"codes": (CodeOutput(name="code"),) * 65}, "at most 64"),
        ({"completion_networks": [NETWORK | {"inputs": ["sound"]}]}, "'sound' is none of"),
        ({"completion_networks": [NETWORK | {"outputs": ["present"]}]}, "'present' is none of"),
        ({"completion_networks": [NETWORK | {"outputs": []}]}, "outputs"),
        ({"completion_networks": [NETWORK | {"file": "network.ort"}]}, "no name of an ONNX file"),
        ({"golden_vectors": "../golden.json"}, "no plain file name"),
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
