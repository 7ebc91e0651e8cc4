"""The files that let a bundle take raw input: vocabularies for words, ONNX graphs (towers) for pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from milvus_ichash.bundle import BagOfWords, PictureTower, RawStep, read_words
from milvus_ichash.bundle.external_data import check_self_contained
from milvus_ichash.bundle.format_1 import upgraded_step
from milvus_ichash.bundle.json_file import read_json
from milvus_ichash.bundle.manifest import problem_of
from milvus_ichash.bundle.raw_steps import MOST_PIXELS
from milvus_ichash.choices import PictureFit
from milvus_ichash.errors import InputError, writing

REMEMBERED = "raw.json"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEFAULT_SIZE = 224

_STEPS: TypeAdapter[dict[str, RawStep]] = TypeAdapter(dict[str, RawStep])


@dataclass(frozen=True)
class Attachment:
    """One preprocessing step of a modality and the file it needs."""

    step: BagOfWords | PictureTower
    path: Path
    """The place of the file before the bundle is written."""

    @property
    def name(self) -> str:
        """Name of the file in the bundle."""
        return self.step.file


def vocabulary(modality: str, path: Path, dims: Mapping[str, int]) -> Attachment:
    """Return the attachment for a vocabulary: a JSON list of words in the order of the modality's features.

    Args:
        modality: the modality whose features count these words.
        path: the JSON file.
        dims: number of features of each modality.

    Raises:
        InputError: there is no such file or modality, the file is no list of different words, or it has not one word
            for each feature.
    """
    _check(modality, path, dims)
    words = read_words(path)
    if len(words) != dims[modality]:
        raise InputError(
            f"vocabulary '{path}' has {len(words)} words, but '{modality}' has {dims[modality]} features: one word "
            "each is needed."
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
    """Return the attachment for a picture tower: an ONNX graph from pictures (N, 3, size, size) to features (N, D_m).

    Args:
        modality: the modality whose features the graph makes.
        path: the ONNX file.
        dims: number of features of each modality.
        size: width and height of the pictures in pixels; None: as the graph says, or 224 where it does not say.
        mean: of each channel; it is subtracted from pixels in [0, 1].
        std: of each channel; what is left is divided by it.
        fit: how a picture becomes a square.

    Raises:
        InputError: there is no such file or modality, the file is no ONNX graph with pictures as its one input, keeps
            its weights in another file, or makes another number of features.
    """
    _check(modality, path, dims)
    check_self_contained(path, "export it with its weights inside (torch.onnx.export(..., external_data=False))")
    stated, width = _try_tower(path, size)
    if width != (1, dims[modality]):
        raise InputError(
            f"picture tower '{path}' makes features of shape {width} for one picture; '{modality}' needs (1, "
            f"{dims[modality]})."
        )
    try:
        step = PictureTower(tower=f"{modality}_tower.onnx", size=stated, mean=mean, std=std, fit=fit)
    except ValidationError as error:
        raise InputError(f"picture tower '{path}' cannot be used with this {problem_of(error)}.") from error
    return Attachment(step, path)


def remember(run: Path, attachments: Mapping[str, Attachment]) -> None:
    """Copy the files into a run folder, so that `export` finds them again; those of before are forgotten.

    Raises:
        InputError: the folder cannot be written.
    """
    if not attachments:
        (run / REMEMBERED).unlink(missing_ok=True)
        return
    steps = {modality: attachment.step.model_dump(mode="json") for modality, attachment in attachments.items()}
    with writing(f"the run '{run}'"):
        run.mkdir(parents=True, exist_ok=True)
        for attachment in attachments.values():
            if attachment.path.resolve() != (run / attachment.name).resolve():
                shutil.copyfile(attachment.path, run / attachment.name)
        (run / REMEMBERED).write_text(json.dumps(steps, indent=2) + "\n", "utf-8", newline="\n")


def remembered(run: Path) -> dict[str, Attachment]:
    """Return the attachments that `remember` kept in a run folder, by modality; those of older versions too.

    Raises:
        InputError: the file with their steps is damaged.
    """
    path = run / REMEMBERED
    if not path.is_file():
        return {}
    steps = read_json(path, most_bytes=1 << 20, most_values=10_000)
    try:
        found = _STEPS.validate_python({name: upgraded_step(step) for name, step in dict(steps).items()})
    except (ValueError, TypeError) as error:
        cause = problem_of(error) if isinstance(error, ValidationError) else error
        raise InputError(f"'{path}' does not say what pictures and words become: {cause}.") from error
    return {modality: Attachment(step, run / step.file) for modality, step in found.items()}


def _check(modality: str, path: Path, dims: Mapping[str, int]) -> None:
    if modality not in dims:
        raise InputError(
            f"'{path.name}' is given for '{modality}', which is no modality of the data; there are: {', '.join(dims)}."
        )
    if not path.is_file():
        raise InputError(f"there is no file '{path}'.")


def _try_tower(path: Path, size: int | None) -> tuple[int, tuple[int, ...]]:
    """Return the picture size, and the shape of the features of one picture."""
    import onnxruntime

    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (pixels,) = session.get_inputs()
        stated = pixels.shape[-1] if isinstance(pixels.shape[-1], int) else None
        chosen = size if size is not None else stated or DEFAULT_SIZE
        if not 1 <= chosen <= MOST_PIXELS:
            raise ValueError(f"{chosen} pixels cannot be, take 1 to {MOST_PIXELS}")
        features = session.run(None, {pixels.name: np.zeros((1, 3, chosen, chosen), np.float32)})[0]
    except Exception as error:
        first = str(error).split("\n")[0]
        raise InputError(
            f"picture tower '{path}' does not run on a batch of pictures (1, 3, size, size): {first}"
        ) from error
    return chosen, features.shape
