"""Turn words and pictures into features, by the preprocessing that the bundle carries."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import numpy as np

from milvus_ichash.bundle import BagOfWords, Manifest, PictureTower, read_words
from milvus_ichash.bundle.tokenizers import words_of
from milvus_ichash.choices import Device
from milvus_ichash.errors import InputError
from milvus_ichash.extras import import_extra
from milvus_ichash.features import Features
from milvus_ichash.runtime.batches import Batches
from milvus_ichash.runtime.session import device_of, fits, open_session, run

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from PIL.Image import Image

Step = TypeVar("Step", BagOfWords, PictureTower)

_PICTURES_AT_ONCE = 32
_MOST_PIXELS = 100_000_000
"""Pixels of a picture: what cameras make is below. A file of a few KB can claim to have more than fit into memory."""
_PIXELS_AT_ONCE = 32 * 512 * 512
"""Larger pictures go through the tower fewer at a time: their pixels take 100 MB at most."""


class RawInput:
    """The words and pictures that a bundle takes. Vocabularies and towers are opened when they are first needed."""

    def __init__(
        self, bundle: Path, manifest: Manifest, *, device: Device = "auto", threads: int | None = None
    ) -> None:
        self.device = device
        self.threads = threads
        self._bundle = bundle
        self._manifest = manifest
        self._vocabularies: dict[str, dict[str, int]] = {}
        self._towers: dict[str, InferenceSession] = {}

    def words(self, texts: str | Sequence[str], modality: str | None = None) -> tuple[str, Features]:
        """Turn texts into bags of words.

        Args:
            texts: B texts, or one. Words that the vocabulary does not have are passed over (see `unknown_words`).
            modality: which modality, where several take words.

        Returns:
            The modality's name, and its features, float32 (B, D).

        Raises:
            InputError: the bundle takes no words, or a text has none that it knows; close ones are named.
        """
        name, step = self._step(BagOfWords, modality)
        vocabulary = self._vocabulary(name, step)
        texts = [texts] if isinstance(texts, str) else texts
        bags = np.zeros((len(texts), len(vocabulary)), np.float32)
        for row, text in enumerate(texts):
            found = words_of(text, step.tokenizer)
            columns = [vocabulary[word] for word in found if word in vocabulary]
            if not columns:
                raise InputError(_no_known_word(text, found, vocabulary))
            np.add.at(bags[row], columns, 1)
        return name, np.minimum(bags, 1) if step.binary else bags

    def unknown_words(self, texts: str | Sequence[str], modality: str | None = None) -> list[list[str]]:
        """Return the words of each text that the vocabulary does not have, in order and once each."""
        name, step = self._step(BagOfWords, modality)
        vocabulary = self._vocabulary(name, step)
        texts = [texts] if isinstance(texts, str) else texts
        found = [dict.fromkeys(words_of(text, step.tokenizer)) for text in texts]
        return [[word for word in words if word not in vocabulary] for words in found]

    def pictures(self, paths: str | Path | Sequence[str | Path], modality: str | None = None) -> tuple[str, Features]:
        """Turn picture files, in any format that Pillow reads, into features by the bundle's tower.

        Args:
            paths: B files, or one.
            modality: which modality, where several take pictures.

        Returns:
            The modality's name, and its features, float32 (B, D).

        Raises:
            InputError: the bundle takes no pictures, or a file is not there or no picture.
            BackendMissingError: Pillow is not installed.
        """
        name, step = self._step(PictureTower, modality)
        paths = [paths] if isinstance(paths, str | Path) else paths
        tower = self._tower(name, step)
        source, target = tower.get_inputs()[0].name, tower.get_outputs()[0].name
        dim = self._manifest.dims[name]

        def run_pictures(start: int, stop: int) -> Features:
            pixels = np.stack([load_pixels(path, step) for path in paths[start:stop]])
            features: Features = run(tower, [target], {source: pixels})[0]
            if features.shape != (len(pixels), dim):
                raise InputError(
                    f"tower '{step.tower}' of bundle '{self._bundle}' makes {features.shape} of {len(pixels)} "
                    f"pictures, not {(len(pixels), dim)}: export the bundle again."
                )
            return features

        together = max(1, min(_PICTURES_AT_ONCE, _PIXELS_AT_ONCE // step.size**2))
        parts = Batches(together, device_of(tower)).run(len(paths), run_pictures)
        return name, np.concatenate([np.zeros((0, dim), np.float32), *parts])

    def _step(self, kind: type[Step], modality: str | None) -> tuple[str, Step]:
        """Return the modality that takes this kind of raw input, and its preprocessing."""
        what = "words" if kind is BagOfWords else "pictures"
        steps = {name: step for name, step in self._manifest.raw.items() if isinstance(step, kind)}
        if not steps:
            takes = ", ".join(f"{name} ({dim})" for name, dim in self._manifest.dims.items())
            raise InputError(
                f"bundle '{self._bundle}' takes no {what}: it has no preprocessing for them; give features of {takes}."
            )
        if modality is None and len(steps) > 1:
            raise InputError(f"several modalities take {what}: choose one of {', '.join(steps)}.")
        name = next(iter(steps)) if modality is None else modality
        if name not in steps:
            raise InputError(f"modality '{name}' takes no {what} in this bundle: {', '.join(steps)} does.")
        return name, steps[name]

    def _vocabulary(self, name: str, step: BagOfWords) -> dict[str, int]:
        if name not in self._vocabularies:
            path = self._bundle / step.vocabulary
            words, dim = read_words(path), self._manifest.dims[name]
            if len(words) != dim:
                raise InputError(
                    f"vocabulary '{path}' has {len(words)} words, and '{name}' has {dim} features: export the bundle "
                    "again, with one word for each feature."
                )
            self._vocabularies[name] = {word: column for column, word in enumerate(words)}
        return self._vocabularies[name]

    def _tower(self, name: str, step: PictureTower) -> InferenceSession:
        if name not in self._towers:
            path = self._bundle / step.tower
            tower = open_session(path, device=self.device, threads=self.threads)
            inputs, outputs = tower.get_inputs(), tower.get_outputs()
            dim = self._manifest.dims[name]
            if (
                len(inputs) != 1
                or not fits(inputs[0], "float32", 3, step.size, step.size)
                or not outputs
                or not fits(outputs[0], "float32", dim)
            ):
                raise InputError(
                    f"tower '{path}' does not fit its manifest: "
                    f"expected (batch, 3, {step.size}, {step.size}) in, (batch, {dim}) out."
                )
            self._towers[name] = tower
        return self._towers[name]


def load_pixels(path: str | Path | BinaryIO, step: PictureTower) -> Features:
    """Return a picture file, or a stream of one, as a tower takes it: float32 (3, size, size).

    The picture is turned as its EXIF data says, laid over the background where it is transparent, padded to a square
    where the step says so, resized (bicubic), and scaled to [0, 1]; then each channel becomes (x - mean) / std.

    Raises:
        InputError: the file is not there, or no picture.
        BackendMissingError: Pillow is not installed.
    """
    import_extra("PIL", "reading pictures", "pictures", "Pillow")
    from PIL import Image, ImageOps

    if isinstance(path, str | Path) and not Path(path).is_file():
        raise InputError(f"there is no picture '{path}'.")
    square = (step.size, step.size)
    try:
        with _opened(path) as opened:
            picture = _opaque(ImageOps.exif_transpose(opened), step.background)
        if step.fit == "pad":
            picture = ImageOps.pad(picture, square, Image.Resampling.BICUBIC, color=step.background)
        else:
            picture = picture.resize(square, Image.Resampling.BICUBIC)
    except InputError:
        raise
    except Exception as error:  # each of Pillow's decoders fails in its own way
        raise InputError(f"'{path}' is no picture that can be read: {error}.") from error
    pixels = np.asarray(picture, np.float32) / np.float32(255)
    scaled = (pixels - np.array(step.mean, np.float32)) / np.array(step.std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


@contextmanager
def _opened(path: str | Path | BinaryIO) -> Iterator[Image]:
    """Open a picture, of which only the header is read yet.

    Raises:
        InputError: it has more pixels than can be worked with.
    """
    from PIL import Image

    with warnings.catch_warnings():
        # Pillow warns at another number.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        opened = Image.open(path)
    with opened:
        width, height = opened.size
        if width * height > _MOST_PIXELS:
            raise InputError(
                f"'{path}' has {width:,} x {height:,} pixels; {_MOST_PIXELS // 1_000_000} million are the most that "
                "are read: make it smaller."
            )
        yield opened


def _opaque(picture: Image, background: tuple[int, int, int]) -> Image:
    from PIL import Image

    if picture.mode.startswith("I"):
        # 16 bits of grey, which convert() would cut off at 255.
        picture = Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (*background, 255)), layer).convert("RGB")


def _no_known_word(text: str, found: Sequence[str], vocabulary: dict[str, int]) -> str:
    if not found:
        return f"'{text}' holds no word."
    # Numbers that look alike have nothing to do with each other.
    words = [word for word in vocabulary if any(map(str.isalpha, word)) and not any(map(str.isdigit, word))]
    close = dict.fromkeys(near for word in found for near in difflib.get_close_matches(word, words, n=3))
    hint = f" Close ones: {', '.join(close)}." if close else f" It has words such as {', '.join(words[:5])}."
    return f"none of the words of '{text}' is in the bundle's vocabulary of {len(vocabulary)}.{hint if words else ''}"
