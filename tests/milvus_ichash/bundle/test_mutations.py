"""Whatever is changed in a manifest, it is a manifest or an InputError in the end."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bundles import as_format_1

from milvus_ichash import HashEncoder
from milvus_ichash.bundle import ENCODER, MANIFEST, Manifest, read_manifest, save
from milvus_ichash.errors import InputError

MakeBundle = Callable[..., Path]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([0, 1, 8, 16, 2**31, 10**400, 0.5, float("nan"), float("inf"), -1e308])
    | st.text(max_size=8)
    | st.sampled_from(
        ["..", "../x", "a/b", "text", "image", "present", "x.onnx", "nul", "\ud800", "\x1b]52;c;eA==\x07"]
    )
)
KEYS = st.sampled_from(["kind", "tokenizer", "token_pattern", "tower", "file", "name", "bag_of_words", "0"])
VALUES = st.recursive(
    SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), part, max_size=3)
)


def places(value: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the keys that lead to each part of a JSON value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*above, key)
        yield from places(part, (*above, key))


@st.composite
def mutated(draw: st.DrawFn, whole: dict[str, Any]) -> dict[str, Any]:
    content = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(list(places(content)) or [("format",)]))
        within: Any = content
        for key in path:
            within = within[key]
        match draw(st.sampled_from(["replace", "remove", "add", "repeat"])):
            case "replace":
                within[last] = draw(VALUES)
            case "remove":
                within.pop(last, None) if isinstance(within, dict) else within.pop(last)
            case "add" if isinstance(within, dict):
                within[draw(KEYS | st.text(max_size=6))] = draw(VALUES)
            case _ if isinstance(within, list):
                within.append(within[last])
    return content


@pytest.fixture(scope="module")
def whole(make_bundle: MakeBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with everything that a manifest can have."""
    made = make_bundle(words={"text": [f"w{i}" for i in range(8)]}, pictures={"image": 8}, nested=(8, 16))
    network = {"file": "completion.onnx", "inputs": ["text", "present"], "outputs": ["image"]}
    fields = read_manifest(made).model_dump() | {"completion_networks": [network], "golden_vectors": "golden.json"}
    files = {name: made / name for name in read_manifest(made).files}
    folder = tmp_path_factory.mktemp("whole") / "b"
    more: dict[str, Path | bytes] = {"completion.onnx": made / ENCODER, "golden.json": b"{}"}
    save(folder, Manifest.model_validate(fields | {"label_names": ("a", "b")}), files | more)
    return folder


@pytest.fixture(scope="module")
def old(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, of format 1, where no fingerprint guards the fields."""
    return as_format_1(whole, tmp_path_factory.mktemp("old") / "b")


def opened(folder: Path, text: bytes) -> bool:
    """Whether a bundle with this manifest is one: its manifest can be used then, and its graph opens or is refused."""
    (folder / MANIFEST).write_bytes(text)
    logging.disable(logging.WARNING)
    try:
        manifest = read_manifest(folder)
        assert len(manifest.fingerprint) == 16 and manifest.dims and manifest.lengths[-1] == manifest.bits
        assert set(manifest.needed_files) <= set(manifest.files)
        HashEncoder.load(folder, device="cpu", threads=1)
    except InputError as error:
        assert len(str(error)) < 2000
        return False
    finally:
        logging.disable(logging.NOTSET)
    return True


@pytest.mark.parametrize("folder", ["whole", "old"])
@settings(max_examples=150)
@given(data=st.data())
def test_changed_fields(request: pytest.FixtureRequest, folder: str, data: st.DataObject) -> None:
    bundle = request.getfixturevalue(folder)
    kept = (bundle / MANIFEST).read_bytes()
    try:
        opened(bundle, json.dumps(data.draw(mutated(json.loads(kept)))).encode())
    finally:
        (bundle / MANIFEST).write_bytes(kept)


@pytest.mark.parametrize("folder", ["whole", "old"])
@settings(max_examples=100)
@given(place=st.floats(0, 1), junk=st.binary(max_size=4), cut=st.integers(0, 40))
def test_changed_bytes(request: pytest.FixtureRequest, folder: str, place: float, junk: bytes, cut: int) -> None:
    bundle = request.getfixturevalue(folder)
    kept = (bundle / MANIFEST).read_bytes()
    at = int(place * len(kept))
    try:
        opened(bundle, kept[:at] + junk + kept[at + cut :])
    finally:
        (bundle / MANIFEST).write_bytes(kept)


def test_without_a_change_it_opens(whole: Path, old: Path) -> None:
    assert all(opened(folder, (folder / MANIFEST).read_bytes()) for folder in (whole, old))
