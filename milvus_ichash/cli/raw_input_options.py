"""Options of `train` and `export` for bundles that take words and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.cli.options import mapping

if TYPE_CHECKING:
    from ichash_export.onnx.attachments import Attachment

_RAW = "Words and pictures"


class PictureFit(str, Enum):
    """How a picture becomes a square."""

    stretch = "stretch"
    pad = "pad"


VocabularyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--vocabulary",
        help="MODALITY=FILE: its words, a JSON list in the order of the features, so that `query --words` works.",
        rich_help_panel=_RAW,
        metavar="NAME=FILE",
    ),
]
PictureTowerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--picture-tower",
        help="MODALITY=FILE: ONNX graph that makes its features from pictures (N, 3, size, size).",
        rich_help_panel=_RAW,
        metavar="NAME=FILE",
    ),
]
PictureSizeOption = Annotated[
    int | None,
    typer.Option(
        "--picture-size",
        help="Pixels of the tower's pictures.",
        rich_help_panel=_RAW,
        show_default="as the tower says, or 224",
    ),
]
PictureMeanOption = Annotated[
    tuple[float, float, float] | None,
    typer.Option(
        "--picture-mean",
        help="Mean of each channel, of pixels in [0, 1].",
        rich_help_panel=_RAW,
        show_default="ImageNet's",
    ),
]
PictureStdOption = Annotated[
    tuple[float, float, float] | None,
    typer.Option(
        "--picture-std", help="Standard deviation of each channel.", rich_help_panel=_RAW, show_default="ImageNet's"
    ),
]
PictureFitOption = Annotated[
    PictureFit,
    typer.Option(
        "--picture-fit", help="How a picture becomes a square: stretched, or padded with white.", rich_help_panel=_RAW
    ),
]
Triple = tuple[float, float, float]


def attachments(
    dims: Mapping[str, int],
    vocabularies: list[str] | None,
    towers: list[str] | None,
    size: int | None,
    mean: Triple | None,
    std: Triple | None,
    fit: PictureFit,
) -> dict[str, Attachment]:
    """The steps that the options ask for, checked against the feature sizes.

    Raises:
        InputError: a file or modality that is not there, or that do not fit each other.
    """
    from ichash_export.onnx.attachments import IMAGENET_MEAN, IMAGENET_STD, picture_tower, vocabulary

    found = {m: vocabulary(m, Path(path), dims) for m, path in (mapping(vocabularies, "--vocabulary") or {}).items()}
    for modality, path in (mapping(towers, "--picture-tower") or {}).items():
        found[modality] = picture_tower(
            modality, Path(path), dims, size=size, mean=mean or IMAGENET_MEAN, std=std or IMAGENET_STD, fit=fit.value
        )
    return found
