"""What lets a bundle take raw input: vocabularies for words, ONNX towers for pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from milvus_ichash.bundle import BagOfWords, PictureTower
from milvus_ichash.choices import PictureFit
from milvus_ichash.errors import InputError

REMEMBERED = "raw.json"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEFAULT_SIZE = 224

_STEP: TypeAdapter[BagOfWords | PictureTower] = TypeAdapter(BagOfWords | PictureTower)


@dataclass(frozen=True)
class Attachment:
    """One preprocessing step of a modality and the file it needs."""

    step: BagOfWords | PictureTower
    path: Path
    """Where the file is now."""

    @property
    def name(self) -> str:
        """Name of the file in the bundle."""
        return file_of(self.step)


def vocabulary(modality: str, path: Path, dims: Mapping[str, int]) -> Attachment:
    """A vocabulary: a JSON list of words in the order of the modality's features.

    Raises:
        InputError: no such file or modality, no list of different words, or not one word per feature.
    """
    _check(modality, path, dims)
    try:
        words = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"vocabulary '{path}' is not JSON: {error}.") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or len(set(words)) < len(words):
        raise InputError(f"vocabulary '{path}' must be a JSON list of different words, in the order of the features.")
    if len(words) != dims[modality]:
        raise InputError(
            f"vocabulary '{path}' has {len(words)} words, but '{modality}' has {dims[modality]} features: one word each is needed."
        )
    return Attachment(BagOfWords(vocabulary=f"{modality}_vocabulary.json"), path)


def picture_tower(
    modality: str,
    path: Path,
    dims: Mapping[str, int],
    *,
    size: int | None = None,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    fit: PictureFit = "stretch",
) -> Attachment:
    """A picture tower: an ONNX graph from (N, 3, size, size) to the modality's features.

    Args:
        modality: the modality whose features it makes.
        path: the ONNX file.
        dims: feature size of each modality.
        size: of its pictures in pixels; None: as the graph says, or 224.
        mean: of each channel, taken off pixels in [0, 1].
        std: of each channel, divided by.
        fit: how a picture becomes a square.

    Raises:
        InputError: no such file or modality, not an ONNX graph with one input of pictures, or features of another size.
    """
    _check(modality, path, dims)
    stated, width = _try_tower(path, size)
    if width != (1, dims[modality]):
        raise InputError(
            f"picture tower '{path}' makes features of shape {width} for one picture; '{modality}' needs (1, {dims[modality]})."
        )
    return Attachment(PictureTower(tower=f"{modality}_tower.onnx", size=stated, mean=mean, std=std, fit=fit), path)


def remember(run: Path, attachments: Mapping[str, Attachment]) -> None:
    """Copy the files into the run folder, so that `export` finds them again; what was remembered before is forgotten."""
    if not attachments:
        (run / REMEMBERED).unlink(missing_ok=True)
        return
    run.mkdir(parents=True, exist_ok=True)
    for attachment in attachments.values():
        if attachment.path.resolve() != (run / attachment.name).resolve():
            shutil.copyfile(attachment.path, run / attachment.name)
    steps = {modality: attachment.step.model_dump(mode="json") for modality, attachment in attachments.items()}
    (run / REMEMBERED).write_text(json.dumps(steps, indent=2) + "\n", "utf-8")


def remembered(run: Path) -> dict[str, Attachment]:
    """What `remember` kept; nothing where there is none."""
    path = run / REMEMBERED
    steps: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    found = {modality: _STEP.validate_python(content) for modality, content in steps.items()}
    return {modality: Attachment(step, run / file_of(step)) for modality, step in found.items()}


def file_of(step: BagOfWords | PictureTower) -> str:
    """Name of a step's file in the bundle."""
    return step.vocabulary if isinstance(step, BagOfWords) else step.tower


def _check(modality: str, path: Path, dims: Mapping[str, int]) -> None:
    if modality not in dims:
        raise InputError(
            f"'{path.name}' is given for '{modality}', which is no modality of the data; there are: {', '.join(dims)}."
        )
    if not path.is_file():
        raise InputError(f"there is no file '{path}'.")


def _try_tower(path: Path, size: int | None) -> tuple[int, tuple[int, ...]]:
    """Picture size, and the shape of the features of one picture."""
    import onnxruntime

    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (pixels,) = session.get_inputs()
        stated = pixels.shape[-1] if isinstance(pixels.shape[-1], int) else None
        chosen = size or stated or DEFAULT_SIZE
        features = session.run(None, {pixels.name: np.zeros((1, 3, chosen, chosen), np.float32)})[0]
    except Exception as error:
        first = str(error).split("\n")[0]
        raise InputError(
            f"picture tower '{path}' does not run on a batch of pictures (1, 3, size, size): {first}"
        ) from error
    return chosen, features.shape
