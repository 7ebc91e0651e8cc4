"""Golden vectors tell a machine that makes other codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command import CommandLine

from milvus_ichash import HashEncoder
from milvus_ichash.bundle import ENCODER, read_manifest, save
from milvus_ichash.bundle.golden_vectors import GOLDEN_VECTORS, GoldenVectors, read_golden_vectors
from milvus_ichash.errors import InputError
from milvus_ichash.runtime.self_test import compare_golden_codes

MakeBundle = Callable[..., Path]
PRESENT = np.array([[True, True], [True, False], [False, True]])


def items() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"image": rng.standard_normal((3, 12), np.float32), "text": rng.standard_normal((3, 8), np.float32)}


@pytest.fixture(scope="module")
def plain(make_bundle: MakeBundle) -> Path:
    return make_bundle(fused=False)


@pytest.fixture(scope="module")
def relaxed(plain: Path) -> dict[str, np.ndarray]:
    return HashEncoder.load(plain).relaxed(present=PRESENT, **items())


def with_golden(plain: Path, folder: Path, content: str) -> Path:
    manifest = read_manifest(plain).model_copy(update={"golden_vectors": GOLDEN_VECTORS})
    save(folder, manifest, {ENCODER: plain / ENCODER, GOLDEN_VECTORS: content.encode()})
    return folder


def written(relaxed: dict[str, np.ndarray]) -> str:
    return GoldenVectors.of(items(), PRESENT, relaxed).model_dump_json()


def test_a_machine_like_the_first_one(plain: Path, relaxed: dict[str, np.ndarray], tmp_path: Path) -> None:
    bundle = with_golden(plain, tmp_path / "b", written(relaxed))
    assert read_manifest(bundle).fingerprint == read_manifest(plain).fingerprint
    golden = read_golden_vectors(bundle, read_manifest(bundle))
    assert golden is not None
    for name, x in golden.arrays({"image": 12, "text": 8}).items():
        there = PRESENT[:, ["image", "text"].index(name)]
        np.testing.assert_array_equal(x[there], items()[name][there])
        assert np.isnan(x[~there]).all()
    assert compare_golden_codes(HashEncoder.load(bundle), bundle) == 3 * 2 * 16
    assert compare_golden_codes(HashEncoder.load(plain), plain) is None


def test_a_machine_that_makes_other_codes(plain: Path, relaxed: dict[str, np.ndarray], tmp_path: Path) -> None:
    near = {name: u.copy() for name, u in relaxed.items()}
    near["image_code"][0, 0] = -np.copysign(1e-4, near["image_code"][0, 0])  # may be so on another machine
    near["text_code"][1, 3:5] *= -1
    bundle = with_golden(plain, tmp_path / "b", written(near))
    with pytest.raises(
        InputError, match="2 of 95 bits, made here on cpu, are not those that the bundle made where it was"
    ):
        compare_golden_codes(HashEncoder.load(bundle), bundle)
    done = CommandLine(tmp_path).run("doctor", "--bundle", bundle, "--format", "json")
    found = {row["check"]: row for row in json.loads(done.stdout)}
    assert (done.returncode, found["bundle"]["status"], found["codes"]["status"]) == (2, "ok", "failed")
    assert "2 of 95 bits" in found["codes"]["what to do"]


def test_doctor_says_that_codes_are_the_same(plain: Path, relaxed: dict[str, np.ndarray], tmp_path: Path) -> None:
    bundle = with_golden(plain, tmp_path / "b", written(relaxed))
    for folder, said in (
        (bundle, "as where the bundle was exported, 96 bits"),
        (plain, "the bundle has no golden vectors"),
    ):
        found = {row["check"]: row for row in CommandLine(tmp_path).rows("doctor", "--bundle", folder)}
        assert found["codes"]["status"] == "ok" and said in found["codes"]["found"]


def _without(content: dict[str, Any], *keys: str) -> None:
    *path, last = keys
    for key in path:
        content = content[key]
    content.pop(last)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.clear(),
        lambda content: content.update(more=1),
        lambda content: _without(content, "features", "text"),
        lambda content: _without(content, "codes", "text_code"),
        lambda content: content["clear"].update(code=["0000"] * 3),
        lambda content: content["features"]["image"].pop(),
        lambda content: content["features"]["image"][0].pop(),
        lambda content: content["features"]["image"].__setitem__(2, [1e300] * 12),
        lambda content: content["features"]["text"].__setitem__(2, None),
        lambda content: content["codes"]["image_code"].__setitem__(0, "00"),
        lambda content: content["codes"]["image_code"].__setitem__(0, "000g"),
        lambda content: content["clear"]["image_code"].__setitem__(0, "00000"),
        lambda content: [column.clear() for part in content.values() for column in part.values()],
        lambda content: content["features"].update(image=["x"] * 3),
    ],
)
def test_golden_vectors_that_are_none(
    plain: Path, relaxed: dict[str, np.ndarray], tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    content = json.loads(written(relaxed))
    change(content)
    bundle = with_golden(plain, tmp_path / "b", json.dumps(content))
    with pytest.raises(InputError):
        compare_golden_codes(HashEncoder.load(bundle), bundle)
