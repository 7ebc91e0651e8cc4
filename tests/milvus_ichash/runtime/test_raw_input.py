from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from PIL import Image

from milvus_ichash import HashEncoder
from milvus_ichash.bundle import ENCODER, BagOfWords, Manifest, PictureTower, read_manifest, save
from milvus_ichash.errors import BackendMissingError, InputError
from milvus_ichash.runtime import raw_input as under_test
from milvus_ichash.runtime.raw_input import load_pixels

MakeBundle = Callable[..., Path]
VOCABULARY = ["apple", "red", "tree", "green", "house", "1", "2024", "cherry"]
STEP = PictureTower(tower="t.onnx", size=4, mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))


@pytest.fixture(scope="module")
def folder(make_bundle: MakeBundle) -> Path:
    return make_bundle(words={"text": VOCABULARY}, pictures={"image": 8})


@pytest.fixture(scope="module")
def encoder(folder: Path) -> HashEncoder:
    return HashEncoder.load(folder)


def changed(folder: Path, target: Path, files: dict[str, bytes] | None = None, **fields: Any) -> HashEncoder:
    """The bundle with other preprocessing."""
    manifest = read_manifest(folder)
    content = {name: folder / name for name in manifest.files} | (files or {})
    save(target, Manifest.model_validate(manifest.model_dump() | fields), content)
    return HashEncoder.load(target)


def test_words_become_a_bag(encoder: HashEncoder) -> None:
    name, x = encoder.raw.words(["Red apple, red APPLE!", "a tree-house from 2024"])
    assert (name, x.dtype) == ("text", np.float32)
    np.testing.assert_array_equal(x, [[1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 1, 0, 1, 0]])
    assert encoder.encode(text=x)["code"].shape == (2, 2)


@pytest.mark.parametrize(
    ("changes", "words", "bag"),
    [
        ({"binary": False}, "red apple red", [[1, 2, 0, 0, 0, 0, 0, 0]]),
        ({"tokenizer": "unicode_words"}, "1 red-apple", [[1, 1, 0, 0, 0, 0, 0, 0]]),
    ],
    ids=["words may be counted", "the tokeniser decides what a word is"],
)
def test_the_bundle_decides_how_words_become_a_bag(
    folder: Path, tmp_path: Path, changes: dict[str, Any], words: str, bag: list[list[int]]
) -> None:
    step = BagOfWords(vocabulary="text_vocabulary.json", **changes)
    np.testing.assert_array_equal(changed(folder, tmp_path / "b", raw={"text": step}).raw.words(words)[1], bag)


@given(
    st.lists(st.lists(st.sampled_from([*VOCABULARY, "pear", "Sky"]), min_size=1, max_size=8), min_size=1, max_size=5)
)
def test_bags_hold_the_words_of_their_text(encoder: HashEncoder, texts: list[list[str]]) -> None:
    texts = [[*text, "red"] for text in texts]
    _, x = encoder.raw.words([" ".join(text) for text in texts])
    for row, text in zip(x, texts, strict=True):
        counts = Counter(text)
        np.testing.assert_array_equal(row, [min(counts[word], 1) for word in VOCABULARY])


def test_one_text_is_one_row(encoder: HashEncoder) -> None:
    assert encoder.raw.words("red")[1].shape == (1, 8)
    assert encoder.raw.words([])[1].shape == (0, 8)


def test_unknown_words_are_told(encoder: HashEncoder) -> None:
    assert encoder.raw.unknown_words(["red Pear sky pear", "tree"]) == [["pear", "sky"], []]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aple chery", r"'aple chery' is in the bundle's vocabulary of 8\. Close ones: apple, cherry\."),
        ("xyzzy", r"It has words such as apple, red, tree, green, house\."),
        ("", "holds no word"),
        (" ... ", "holds no word"),
    ],
)
def test_a_text_without_a_known_word_is_refused(encoder: HashEncoder, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encoder.raw.words(["red", text])


def test_words_that_are_suggested_are_no_numbers(make_bundle: MakeBundle) -> None:
    words = ["2007", "2008", "nikon d70", "canon", "2009"]
    encoder = HashEncoder.load(make_bundle(modalities={"text": len(words)}, words={"text": words}))
    with pytest.raises(InputError, match=r"vocabulary of 5\. It has words such as canon\.$"):
        encoder.raw.words("2006")
    with pytest.raises(InputError, match=r"Close ones: canon\.$"):
        encoder.raw.words("canoon 200")
    numbers = HashEncoder.load(make_bundle(modalities={"text": 2}, words={"text": ["1", "2"]}))
    with pytest.raises(InputError, match=r"vocabulary of 2\.$"):
        numbers.raw.words("3")


@pytest.mark.parametrize("what", ["words", "pictures"])
def test_a_bundle_without_preprocessing_says_so(make_bundle: MakeBundle, what: str) -> None:
    plain = HashEncoder.load(make_bundle())
    with pytest.raises(InputError, match=rf"takes no {what}: .*give features of image \(12\), text \(8\)"):
        getattr(plain.raw, what)([])


def test_the_modality_must_take_it(encoder: HashEncoder, make_bundle: MakeBundle) -> None:
    assert encoder.raw.words("red", "text")[0] == "text"
    with pytest.raises(InputError, match=r"'image' takes no words in this bundle: text does"):
        encoder.raw.words("red", "image")
    two = HashEncoder.load(
        make_bundle(modalities={"title": 2, "tags": 2}, words={"title": ["a", "b"], "tags": ["c", "d"]})
    )
    with pytest.raises(InputError, match="choose one of title, tags"):
        two.raw.words("a")
    assert two.raw.words("d", "tags")[0] == "tags"


@pytest.mark.parametrize(
    "content",
    [b"{}", b'["a"]', b'["a","a","a","a","a","a","a","a"]', b"[1,2,3,4,5,6,7,8]", b"not json", b"\xff", b"[" * 10**5],
)
def test_a_vocabulary_that_does_not_fit(folder: Path, tmp_path: Path, content: bytes) -> None:
    encoder = changed(folder, tmp_path / "b", {"text_vocabulary.json": content})
    with pytest.raises(
        InputError, match=r"text_vocabulary\.json' (must be a JSON list of different words|has 1 words|is not JSON)"
    ):
        encoder.raw.words("red")


def picture(path: Path, pixels: Any, mode: str = "RGB", **options: Any) -> Path:
    Image.fromarray(np.asarray(pixels, np.uint8)).convert(mode).save(path, **options)
    return path


def solid(colour: tuple[int, ...], size: int = 8) -> np.ndarray:
    return np.full((size, size, len(colour)), colour, np.uint8)


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """float32 (3, 4, 4) back to 0..255, at full precision."""
    return (pixels * np.array(STEP.std)[:, None, None] + np.array(STEP.mean)[:, None, None]) * 255


def test_pixels_are_scaled_and_normalised(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3))
    x = load_pixels(picture(tmp_path / "p.png", pixels), STEP)
    assert (x.shape, x.dtype) == ((3, 4, 4), np.float32)
    wanted = (pixels / 255 - STEP.mean) / STEP.std  # by row, column and channel
    np.testing.assert_allclose(np.moveaxis(x, 0, -1), wanted, atol=1e-6)


HALVES = np.repeat([0, 255], 15)[:, None]
UPSIDE_DOWN = Image.Exif()
UPSIDE_DOWN[0x0112] = 3


@pytest.mark.parametrize(
    ("pixels", "options", "dark", "light"),
    [
        (np.broadcast_to(HALVES, (6, 30, 3)), {}, np.s_[:, :, 0], np.s_[:, :, 3]),
        (np.broadcast_to(HALVES[:, None], (30, 6, 3)), {}, np.s_[:, 0], np.s_[:, 3]),
        (np.broadcast_to(HALVES[:, None], (30, 6, 3)), {"exif": UPSIDE_DOWN}, np.s_[:, 3], np.s_[:, 0]),
    ],
    ids=["wide", "high", "the camera's orientation is undone"],
)
def test_any_size_becomes_the_square(
    tmp_path: Path, pixels: np.ndarray, options: dict[str, Any], dark: Any, light: Any
) -> None:
    x = as_rgb(load_pixels(picture(tmp_path / "p.png", pixels, **options), STEP))
    assert x.shape == (3, 4, 4)
    assert x[dark].max() < 20
    assert x[light].min() > 235


def image(pixel: tuple[int, ...], mode: str) -> Image.Image:
    return Image.fromarray(solid(pixel)).convert(mode)


WHITE = (255, 255, 255)
GREEN_BY_PALETTE = Image.new("RGB", (8, 8), (0, 128, 0)).quantize(2)
"""All of it is the colour of index 0."""


@pytest.mark.parametrize(
    ("given", "ending", "options", "background", "colour", "atol"),
    [
        *(
            (image(WHITE, mode), ending, {}, WHITE, WHITE, 2)
            for mode, ending in (
                ("L", "png"),
                ("1", "png"),
                ("P", "png"),
                ("CMYK", "jpg"),
                ("L", "jpg"),
                ("RGB", "webp"),
            )
        ),
        (image((255, 0, 0, 128), "RGBA"), "png", {}, WHITE, (255, 127, 127), 1.5),
        (image((9, 9, 9, 0), "RGBA"), "png", {}, (0, 0, 255), (0, 0, 255), 0.01),
        (image((9, 9, 9, 0), "LA"), "png", {}, WHITE, WHITE, 0.01),
        (GREEN_BY_PALETTE, "gif", {"transparency": 0}, WHITE, WHITE, 0.01),
        (Image.fromarray(np.full((8, 8), 32768, np.uint16)), "png", {}, WHITE, (128, 128, 128), 1),
    ],
    ids=[
        *("grey", "black or white", "palette", "CMYK", "grey JPEG", "WebP"),
        *("half transparent", "transparent", "transparent grey", "transparent colour of a palette", "16 bits of grey"),
    ],
)
def test_colours_of_every_kind_of_picture(
    tmp_path: Path,
    given: Image.Image,
    ending: str,
    options: dict[str, Any],
    background: tuple[int, ...],
    colour: tuple[int, ...],
    atol: float,
) -> None:
    """What is transparent shows the background."""
    given.save(tmp_path / f"p.{ending}", **options)
    x = as_rgb(load_pixels(tmp_path / f"p.{ending}", STEP.model_copy(update={"background": background})))
    np.testing.assert_allclose(np.moveaxis(x, 0, -1), np.broadcast_to(colour, (4, 4, 3)), atol=atol)


def test_pictures_go_through_the_tower(folder: Path, encoder: HashEncoder, tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 3))
    paths = [picture(tmp_path / f"{i}.png", solid(tuple(colour))) for i, colour in enumerate(colours)]
    name, x = encoder.raw.pictures(paths)
    weight = next(
        numpy_helper.to_array(c) for c in onnx.load(folder / "image_tower.onnx").graph.initializer if c.name == "w"
    )
    assert (name, x.shape, x.dtype) == ("image", (40, 12), np.float32)
    np.testing.assert_allclose(x, ((colours / 255 - 0.5) / 0.25) @ weight, atol=1e-4)
    np.testing.assert_allclose(encoder.raw.pictures(str(paths[3]))[1], x[[3]], atol=1e-6)
    np.testing.assert_allclose(encoder.raw.pictures(paths[3], "image")[1], x[[3]], atol=1e-6)
    assert encoder.raw.pictures([])[1].shape == (0, 12)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *((f"{name}.png", r"is no picture that can be read: [^\n]*\Z") for name in ("notes", "empty", "cut", "header")),
        ("none.png", r"\Athere is no picture '"),
        (".", r"\Athere is no picture '"),
    ],
)
def test_files_that_are_no_pictures(encoder: HashEncoder, tmp_path: Path, name: str, message: str) -> None:
    whole = picture(tmp_path / "p.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3))).read_bytes()
    damaged = {"notes": b"no picture", "empty": b"", "cut": whole[: len(whole) // 2], "header": whole[:20]}
    for stem, content in damaged.items():
        (tmp_path / f"{stem}.png").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        encoder.raw.pictures([tmp_path / name])
    assert f"'{tmp_path / name}'" in str(caught.value)


@pytest.mark.parametrize(
    ("side", "message"), [(10_001, r"has 10,001 x 10,001 pixels"), (14_000, "no picture that can")]
)
def test_a_picture_of_more_pixels_than_can_be_worked_with(
    encoder: HashEncoder, tmp_path: Path, side: int, message: str, recwarn: pytest.WarningsRecorder
) -> None:
    Image.new("1", (side, side)).save(tmp_path / "p.png")
    with pytest.raises(InputError, match=message):
        encoder.raw.pictures(tmp_path / "p.png")
    assert not recwarn.list


def test_pillow_is_named_where_it_is_missing(
    encoder: HashEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = picture(tmp_path / "p.png", solid((1, 2, 3)))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(BackendMissingError, match=r"pip install 'milvus-ichash\[pictures\]'"):
        encoder.raw.pictures([path])


@pytest.mark.parametrize(
    ("files", "size", "message"),
    [
        ({}, 9, r"expected \(batch, 3, 9, 9\) in, \(batch, 12\) out"),
        ({"image_tower.onnx": None}, 8, "does not fit its manifest"),
        ({"image_tower.onnx": b"{}"}, 8, "no ONNX graph"),
    ],
    ids=["another size", "another graph", "no graph"],
)
def test_a_tower_that_does_not_fit(
    folder: Path, tmp_path: Path, files: dict[str, bytes | None], size: int, message: str
) -> None:
    step = read_manifest(folder).raw["image"].model_copy(update={"size": size})
    content = {name: given or (folder / ENCODER).read_bytes() for name, given in files.items()}
    with pytest.raises(InputError, match=message):
        changed(folder, tmp_path / "b", content, raw={"image": step.model_dump()}).raw.pictures(
            [picture(tmp_path / "p.png", solid((1, 2, 3)))]
        )


def only_seven_features(model: onnx.ModelProto) -> bytes:
    """A tower that declares any number of features, and makes another one than it should."""
    graph = model.graph
    graph.output[0].type.tensor_type.shape.dim[1].dim_param = "features"
    graph.node[-1].output[0] = "all"
    graph.initializer.append(numpy_helper.from_array(np.arange(12) < 7, "kept"))
    graph.node.append(helper.make_node("Compress", ["all", "kept"], ["features"], axis=1))
    return model.SerializeToString()


def test_a_tower_that_makes_another_number_of_features(folder: Path, tmp_path: Path) -> None:
    content = only_seven_features(onnx.load(folder / "image_tower.onnx"))
    encoder = changed(folder, tmp_path / "b", {"image_tower.onnx": content})
    with pytest.raises(InputError, match=r"makes \(1, 7\) of 1 pictures, not \(1, 12\)"):
        encoder.raw.pictures([picture(tmp_path / "p.png", solid((1, 2, 3)))])


def test_large_pictures_go_through_the_tower_fewer_at_a_time(
    encoder: HashEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = under_test.run

    def watched(session: Any, outputs: Any, feeds: Any) -> Any:
        sizes.append(len(feeds["pixels"]))
        return real(session, outputs, feeds)

    monkeypatch.setattr(under_test, "run", watched)
    path = picture(tmp_path / "p.png", solid((1, 2, 3)))
    for pixels, expected in ((8 * 8 * 2, [2, 2, 1]), (1, [1] * 5), (10**9, [5])):
        monkeypatch.setattr(under_test, "_PIXELS_AT_ONCE", pixels)
        sizes.clear()
        assert encoder.raw.pictures([path] * 5)[1].shape == (5, 12)
        assert sizes == expected


def test_padding_keeps_the_proportions_and_shows_the_background(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (255, 0, 0)).save(tmp_path / "wide.png")
    step = PictureTower(tower="t.onnx", size=8, mean=(0, 0, 0), std=(1, 1, 1), background=(0, 0, 255), fit="pad")
    pixels = load_pixels(tmp_path / "wide.png", step)
    assert pixels[0, 3:5].min() > 0.9  # the picture lies across the middle ...
    assert pixels[2, 0].min() > 0.9 and pixels[0, 0].max() < 0.1  # ... with background above it
    stretched = load_pixels(tmp_path / "wide.png", step.model_copy(update={"fit": "stretch"}))
    assert stretched[0].min() > 0.9


def test_a_stream_is_read_as_the_file_is(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", solid((1, 200, 30), size=9))
    np.testing.assert_allclose(load_pixels(BytesIO(path.read_bytes()), STEP), load_pixels(path, STEP))
