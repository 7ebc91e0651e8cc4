from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import CommandLine, refused
from support.damage import flip_a_bit
from support.manifests import edit

from milvus_ichash.bundle import ENCODER, MANIFEST, read_manifest, verify
from milvus_ichash.errors import InputError

MakeBundle = Callable[..., Path]
WORDS = "text_vocabulary.json"
VOCABULARY = [f"w{i}" for i in range(8)]


@pytest.fixture
def folder(make_bundle: MakeBundle) -> Path:
    """A bundle that takes words and pictures."""
    return make_bundle(words={"text": VOCABULARY}, pictures={"image": 8})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        ("[]", "no object with the fields of a manifest"),
        ('{"format": 99}', "bundle format 99, and this version reads formats 1 and 2"),
        ("{}", "bundle format unknown"),
        ('{"format": true}', "does not describe a bundle: "),
        ('{"format": 1, "method": "m"}', "does not describe a bundle: bits"),
        ('{"format": 2, "method": 3}', "does not describe a bundle: method: Input should be a valid string"),
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


# ---- fields of a newer version


def of_the_future(content: dict[str, Any]) -> None:
    content["colour\x1b"] = {"of": "the cover"}
    content["modalities"][0]["unit"] = "m"
    content["raw"]["text"]["bag_of_words"] = None
    content["codes"][0]["note"] = [1, [2, {"a": 3}]]


def test_what_a_newer_version_wrote_is_passed_over_and_named_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = verify(folder)
    edit(folder, of_the_future)
    assert verify(folder) == verify(folder) == before
    (said,) = caplog.messages
    assert said.startswith(
        f"'{folder / MANIFEST}' was written by a newer version: what is not known here is passed over"
    )
    for name in (r"colour\x1b", "modalities.0.unit", "raw.text.bag_of_words.bag_of_words", "codes.0.note"):
        assert name in said
    assert "\x1b" not in said


def test_the_command_line_says_it_on_stderr(folder: Path, tmp_path: Path) -> None:
    edit(folder, of_the_future)
    done = CommandLine(tmp_path).in_a_process("inspect", "--bundle", folder, "--format", "json")
    assert (done.returncode, json.loads(done.stdout)["bits"]) == (0, 16)
    assert "is passed over (" in done.stderr


def test_a_field_that_decides_codes_is_not_passed_over(folder: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["raw"]["text"]["stemmer"] = "porter"
        content["fingerprint"] = "0123456789abcdef"  # a newer version counts its stemmer

    edit(folder, change)
    with pytest.raises(InputError, match=r"only a newer version knows \(raw\.text\.bag_of_words\.stemmer\)\.\Z"):
        read_manifest(folder)


@pytest.mark.parametrize("said", ["0" * 16, 5, None, ["x"]])
def test_a_fingerprint_that_is_not_that_of_the_codes(folder: Path, said: object) -> None:
    edit(folder, lambda content: content.update(fingerprint=said))
    with pytest.raises(
        InputError, match=f"codes of fingerprint .{{16}}, and says {said if isinstance(said, str) else 'none'}"
    ):
        read_manifest(folder)


def test_format_1_has_no_fields_to_pass_over(folder: Path) -> None:
    edit(folder, lambda content: content.update(format=1))
    with pytest.raises(InputError, match="fingerprint: Extra inputs are not permitted"):
        read_manifest(folder)


# ---- bundles of somebody who means harm


def deep(levels: int) -> str:
    return '{"format": 2, "training": {"a": ' + "[" * levels + "]" * levels + "}}"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (deep(48), "does not describe a bundle: method"),
        (deep(60), "nests too deeply"),
        (deep(1_000_000), "nests too deeply"),
        ('{"format": 2, "bits": NaN}', "NaN is no finite number"),
        ('{"format": 2, "bits": -Infinity}', "-Infinity is no finite number"),
        ('{"format": 2, "bits": 1e999}', "1e999 is no finite number"),
        ('{"format": 2, "bits": ' + "9" * 5000 + "}", "not JSON that can be used"),
        ('{"format": 2, "bits": 8, "bits": 16}', "'bits' stands twice"),
        ('{"format": 2, "method": "\\ud800"}', "half a character"),
        ('{"format": 2, "method": "' + "x" * (4 << 20) + '"}', "larger than 4 MiB"),
        ('{"format": 2, "label_names": [' + "1," * 200_000 + "1]}", "more than 200,000 values"),
        ('\ufeff{"format": 2}', "not JSON that can be used"),
        ("", "not JSON that can be used"),
    ],
    ids=[
        *("deep enough", "too deep", "deeper than Python's stack", "NaN", "minus infinity", "too large a number"),
        *("too long a number", "a name twice", "half a character", "too many bytes", "too many values"),
        *("a byte order mark", "nothing"),
    ],
)
def test_json_that_nobody_should_read(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / MANIFEST).write_text(content, "utf-8")
    with pytest.raises(InputError, match=problem) as caught:
        read_manifest(tmp_path)
    assert len(str(caught.value)) < 600


def test_the_command_line_refuses_it_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(deep(1_000_000))
    done = CommandLine(tmp_path).in_a_process("inspect", "--bundle", tmp_path)
    assert refused(done, 2, "nests too deeply")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content.update(bits="16"), "bits: Input should be a valid integer"),
        (lambda content: content.update(bits=1_000_000), "1000000 bits cannot be stored"),
        (lambda content: content.update(bits=10**30), "bits"),
        (
            lambda content: content["modalities"][0].update(dim=10**9),
            "modalities.0.dim: .* less than or equal to 1000000",
        ),
        (lambda content: content["modalities"][0].update(dim=True), "modalities.0.dim"),
        (lambda content: content["codes"][0].update(name="a/b\x1b[2J"), "cannot name a code"),
        (lambda content: content["raw"]["image"].update(size=100_000), "less than or equal to 2048"),
        (lambda content: content["raw"]["image"].update(std=[0, 1, 1]), "greater than 0"),
        (lambda content: content["raw"]["image"].update(tower="../tower.onnx"), "no plain file name"),
        (lambda content: content["raw"]["image"].update(tower="tower.ort"), "let it end with .onnx"),
        (lambda content: content["raw"]["text"].update(tokenizer="(a+)+$"), "tokenizer: Input should be 'ascii_words'"),
        (lambda content: content["raw"]["text"].update(kind="hash"), "raw.text: .*'hash'"),
        *(
            (lambda content, name=name: content["files"].update({name: "0" * 64}), "no plain file name|manifest itself")
            for name in (
                "/etc/passwd",
                "..",
                ".",
                "",
                "a\\b",
                "C:x",
                "nul",
                "COM1.onnx",
                "ICHASH.json",
                "a.",
                "-a",
                "é",
            )
        ),
    ],
)
def test_fields_that_ask_for_too_much_or_for_other_places(
    folder: Path, change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    edit(folder, change)
    with pytest.raises(InputError, match=problem):
        read_manifest(folder)


@pytest.mark.parametrize("name", [ENCODER, WORDS, MANIFEST])
def test_links_out_of_the_folder(folder: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(InputError, match=r"is a link out of its folder, to '.*elsewhere': copy the bundle .*cp -rL"):
        verify(folder)


def test_links_within_the_folder_and_to_the_folder_are_fine(folder: Path, tmp_path: Path) -> None:
    (folder / ENCODER).rename(folder / "weights.onnx")
    (folder / ENCODER).symlink_to("weights.onnx")
    (tmp_path / "latest").symlink_to(folder)
    assert verify(tmp_path / "latest") == verify(folder)


def test_files_that_are_none_or_never_end(folder: Path) -> None:
    (folder / ENCODER).unlink()
    (folder / ENCODER).symlink_to(ENCODER)
    with pytest.raises(InputError, match=f"lacks its file '{ENCODER}'|cannot be read"):
        verify(folder)
    (folder / ENCODER).unlink()
    os.mkfifo(folder / ENCODER)
    with pytest.raises(InputError, match=f"lacks its file '{ENCODER}'"):
        verify(folder)
    (folder / ENCODER).unlink()
    with (folder / ENCODER).open("wb") as stream:
        stream.truncate(2**31 + 1)
    with pytest.raises(InputError, match="no file of a bundle can be larger"):
        verify(folder)


def test_a_file_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"ichash\.json' cannot be read: Permission denied\."):
        verify(folder)
