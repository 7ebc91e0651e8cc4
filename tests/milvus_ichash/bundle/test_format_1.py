"""Bundles of format 1 open under the fingerprint that they had, and their collections with bundles of format 2."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bundles import as_format_1
from support.command import CommandLine
from support.manifests import edit

from milvus_ichash import HashEncoder
from milvus_ichash.bundle import MANIFEST, BagOfWords, read_manifest, save
from milvus_ichash.errors import InputError

WRITTEN = Path(__file__).with_name("format_1")
FINGERPRINTS = {
    "plain": "970e0d5b910ff983",
    "cross_modal": "fd05cac465acb4ec",
    "words": "03a0e83d42a4e126",
    "counted_words": "9723ef42020b3ad0",
    "words_of_two_letters": "172b799ca2f791ed",
    "pictures": "4be184244ecb7dd3",
    "words_and_pictures": "096ab167ad684267",
    "nested": "970e0d5b910ff983",
    "float16": "8e544cd3ce80b93c",
}
"""Of manifests that version 0.1.0 wrote, as it computed them: collections in use hold them."""
CONTENT = {"encoder.onnx": b"an encoder", "text_vocabulary.json": b"[]", "image_tower.onnx": b"a tower"}


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A bundle of this name."""
    (tmp_path / "old").mkdir()
    shutil.copy(WRITTEN / f"{request.param}.json", tmp_path / "old" / MANIFEST)
    for name in json.loads((tmp_path / "old" / MANIFEST).read_text())["files"]:
        (tmp_path / "old" / name).write_bytes(CONTENT[name])
    return tmp_path / "old"


@pytest.mark.parametrize(("folder", "fingerprint"), FINGERPRINTS.items(), indirect=["folder"])
def test_it_keeps_its_fingerprint_read_or_written_anew(folder: Path, tmp_path: Path, fingerprint: str) -> None:
    old = read_manifest(folder)
    assert (old.format, old.fingerprint) == (1, fingerprint)
    save(tmp_path / "new", old, {name: folder / name for name in old.files})
    new = read_manifest(tmp_path / "new")
    assert (new.format, new.fingerprint) == (2, fingerprint)
    assert new == old.model_copy(update={"format": 2})


def test_each_written_manifest_is_looked_at() -> None:
    assert {path.stem for path in WRITTEN.iterdir()} == set(FINGERPRINTS)


@pytest.mark.parametrize(
    ("folder", "tokenizer"), [("words", "ascii_words"), ("words_of_two_letters", "unicode_words")], indirect=["folder"]
)
def test_its_regular_expressions_are_names_now(folder: Path, tokenizer: str) -> None:
    step = read_manifest(folder).raw["text"]
    assert isinstance(step, BagOfWords) and step.tokenizer == tokenizer


@pytest.mark.parametrize("pattern", ["(a+)+$", "[a-z]{3,}", "[a", "", None, ["[a-z0-9]+"], "x" * 100_000])
@pytest.mark.parametrize("folder", ["words"], indirect=True)
def test_no_other_regular_expression_is_compiled(
    folder: Path, pattern: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(folder, lambda content: content["raw"]["text"].update(token_pattern=pattern))
    compiled: list[object] = []
    real = re.compile
    with monkeypatch.context() as patch:
        patch.setattr(re, "compile", lambda given, *flags: compiled.append(given) or real(given, *flags))
        with pytest.raises(
            InputError, match=r"of those in files only '\[a-z0-9\]\+' and '\\w\\w\+' are ever used"
        ) as caught:
            read_manifest(folder)
    assert pattern not in compiled
    assert len(str(caught.value)) < 500


@pytest.fixture(scope="module")
def bundles(make_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same codes in both formats."""
    new = make_bundle(words={"text": ["red", "apple", "tree", "green", "house", "car", "a", "sky"]})
    return {"new": new, "old": as_format_1(new, tmp_path_factory.mktemp("old") / "bundle")}


def test_a_collection_of_an_old_bundle_is_read_with_its_new_export(bundles: dict[str, Path], tmp_path: Path) -> None:
    place = CommandLine(tmp_path)
    np.savez(tmp_path / "items.npz", id=np.arange(40), text=np.eye(8, dtype=np.float32)[np.arange(40) % 8])
    assert place.run("ingest", "items.npz", "-c", "items", "-b", bundles["old"]).returncode == 0
    assert place.rows("inspect", "-c", "items", "-b", bundles["new"])["bundle"] == "fits"

    def found(bundle: Path) -> Any:
        return place.rows("query", "-c", "items", "-b", bundle, "--words", "green apple", "--top-k", "5")

    assert found(bundles["new"]) == found(bundles["old"])
    assert found(bundles["new"])[0]["distance"] < 16
    done = place.run("ingest", "items.npz", "-c", "items", "-b", bundles["new"])
    assert done.returncode == 0, done.stderr
    assert place.rows("inspect", "-c", "items")["rows"] == 40


def test_both_formats_make_the_same_codes(bundles: dict[str, Path]) -> None:
    old, new = (HashEncoder.load(bundles[name]) for name in ("old", "new"))
    assert (old.manifest.format, new.manifest.format) == (1, 2)
    x = np.random.default_rng(0).standard_normal((20, 8))
    np.testing.assert_array_equal(old.encode(text=x)["code"], new.encode(text=x)["code"])
