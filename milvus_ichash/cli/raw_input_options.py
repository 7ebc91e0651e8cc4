"""Options of `train` and `export` for bundles that take words and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.choices import PictureFit
from milvus_ichash.cli.option_groups import given, refuse_given
from milvus_ichash.cli.option_values import colours, pairs
from milvus_ichash.errors import InputError, check_once

if TYPE_CHECKING:
    from ichash_export.onnx.attachments import Attachment

_RAW = "Words and pictures"


@dataclass(frozen=True)
class RawInputOptions:
    """What a bundle needs to make features of words and pictures itself."""

    vocabulary: Annotated[
        list[str] | None,
        typer.Option(
            "--vocabulary",
            help="File with the words of a modality, for `query --words`: a JSON list, in the order of the features.",
            rich_help_panel=_RAW,
            metavar="MODALITY=FILE",
        ),
    ] = None
    picture_tower: Annotated[
        list[str] | None,
        typer.Option(
            "--picture-tower",
            help="ONNX graph that makes the features of a modality from pictures of shape (N, 3, size, size).",
            rich_help_panel=_RAW,
            metavar="MODALITY=FILE",
        ),
    ] = None
    picture_size: Annotated[
        int | None,
        typer.Option(
            "--picture-size",
            help="Width and height of the tower's pictures, in pixels.",
            rich_help_panel=_RAW,
            show_default="as the tower says, or 224",
        ),
    ] = None
    picture_mean: Annotated[
        str | None,
        typer.Option(
            "--picture-mean",
            help="Mean of each colour channel, of pixel values in [0, 1], such as 0.5,0.5,0.5.",
            rich_help_panel=_RAW,
            metavar="R,G,B",
            show_default="ImageNet's",
        ),
    ] = None
    picture_std: Annotated[
        str | None,
        typer.Option(
            "--picture-std",
            help="Standard deviation of each colour channel, of pixel values in [0, 1], such as 0.5,0.5,0.5.",
            rich_help_panel=_RAW,
            metavar="R,G,B",
            show_default="ImageNet's",
        ),
    ] = None
    picture_fit: Annotated[
        PictureFit,
        typer.Option(
            "--picture-fit",
            help="How a picture becomes a square: stretched, or padded with white.",
            rich_help_panel=_RAW,
        ),
    ] = "stretch"

    def attachments(self, dims: Mapping[str, int]) -> dict[str, Attachment]:
        """Return the steps that the options ask for, by modality, checked against the feature sizes.

        Raises:
            InputError: a file or modality that is not there, or that do not fit each other; a modality that is given
                both words and pictures, or pictures' properties without a tower.
        """
        from ichash_export.onnx.attachments import IMAGENET_MEAN, IMAGENET_STD, picture_tower, vocabulary

        words = pairs(self.vocabulary, "--vocabulary") or {}
        found = {modality: vocabulary(modality, Path(path), dims) for modality, path in words.items()}
        mean, std = colours(self.picture_mean, "--picture-mean"), colours(self.picture_std, "--picture-std")
        if std is not None and min(std) <= 0:
            raise InputError(f"--picture-std takes numbers greater than 0; got '{self.picture_std}'.")
        towers = pairs(self.picture_tower, "--picture-tower") or {}
        if not towers:
            properties = given(self, "picture_size", "picture_mean", "picture_std", "picture_fit")
            refuse_given(properties, "there is no --picture-tower")
        for modality, path in towers.items():
            check_once(modality, found, "--vocabulary with --picture-tower")
            found[modality] = picture_tower(
                modality,
                Path(path),
                dims,
                size=self.picture_size,
                mean=mean or IMAGENET_MEAN,
                std=std or IMAGENET_STD,
                fit=self.picture_fit,
            )
        return found
