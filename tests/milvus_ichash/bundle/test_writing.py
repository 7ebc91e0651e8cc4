from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.manifests import manifest

from milvus_ichash.bundle import ENCODER, MANIFEST, read_manifest, save, sha256_of, verify
from milvus_ichash.errors import InputError

OLD, NEW = b"\x08\x08", b"\x08\x09"
"""Two ONNX files without a graph."""


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    source = tmp_path / "vocabulary"
    source.write_text('["red"]')
    written = save(tmp_path / "b", manifest(label_names=("a", "b")), {ENCODER: OLD, "words.json": source})
    assert read_manifest(tmp_path / "b") == verify(tmp_path / "b") == written
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [ENCODER, MANIFEST, "words.json"]
    assert written.files["words.json"] == sha256_of(source)
    assert (written.dims, written.fused) == ({"image": 12, "text": 8}, True)


def test_the_fingerprint_stands_in_the_manifest(tmp_path: Path) -> None:
    written = save(tmp_path / "b", manifest(format=1), {ENCODER: OLD})
    content = json.loads((tmp_path / "b" / MANIFEST).read_text())
    assert (content["format"], content["fingerprint"]) == (2, manifest().fingerprint) == (2, written.fingerprint)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A bundle with an old graph, in a folder of its own."""
    save(tmp_path / "b", manifest(), {ENCODER: OLD})
    return tmp_path / "b"


def test_save_replaces_only_bundles_and_only_when_told(target: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--overwrite"):
        save(target, manifest(), {ENCODER: NEW})
    assert (target / ENCODER).read_bytes() == OLD
    save(target, manifest(), {ENCODER: NEW}, overwrite=True)
    assert (target / ENCODER).read_bytes() == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["b"]

    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "thesis.tex").write_text("...")
    with pytest.raises(InputError, match="not a bundle"):
        save(precious, manifest(), {ENCODER: NEW}, overwrite=True)
    assert (precious / "thesis.tex").is_file()


def test_a_save_that_fails_leaves_the_old_bundle_and_nothing_else(target: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be written: No such file.*gone\.json"):
        save(target, manifest(), {ENCODER: NEW, "words.json": tmp_path / "gone.json"}, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert verify(target).files[ENCODER] == sha256_of(target / ENCODER)
    assert (target / ENCODER).read_bytes() == OLD


def test_a_place_that_cannot_be_written_to(target: Path) -> None:
    with pytest.raises(InputError, match=f"cannot be a folder: '{target / ENCODER}' is there"):
        save(target / ENCODER / "b", manifest(), {ENCODER: b"x"})
