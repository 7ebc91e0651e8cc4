"""How raw input, words and pictures, becomes the features that the graph takes.

A new kind of step is a class like these, with a `kind` of its own, in the union `RawStep`. What it adds to the
fingerprint must not change afterwards: a field that comes later enters it only where it is not at its default.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from milvus_ichash.bundle.file_names import GraphName, PlainName
from milvus_ichash.bundle.tokenizers import PATTERNS, TokenizerName
from milvus_ichash.choices import PictureFit
from milvus_ichash.strict_model import StrictModel

MOST_PIXELS = 2048
"""Most pixels on a side of the pictures that a tower takes."""

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Byte = Annotated[int, Field(ge=0, le=255)]


class BagOfWords(StrictModel):
    """How a text becomes a bag of words: split by the tokeniser, counted (0 or 1 where `binary`)."""

    kind: Literal["bag_of_words"] = "bag_of_words"
    vocabulary: PlainName
    """File name of a JSON list of words, in the order of the features."""
    tokenizer: TokenizerName = "ascii_words"
    binary: bool = True

    @property
    def file(self) -> str:
        """Name of the file that the step needs."""
        return self.vocabulary

    @property
    def decides(self) -> dict[str, Any]:
        """What enters the fingerprint, in the words of format 1."""
        return {
            "kind": self.kind,
            "vocabulary": self.vocabulary,
            "token_pattern": PATTERNS[self.tokenizer].pattern,
            "binary": self.binary,
        }


class PictureTower(StrictModel):
    """How a picture becomes features: a square, scaled and normalised, through an ONNX tower (N, 3, size, size)."""

    kind: Literal["picture_tower"] = "picture_tower"
    tower: GraphName
    """File name of the ONNX graph."""
    size: int = Field(ge=1, le=MOST_PIXELS)
    mean: tuple[_Finite, _Finite, _Finite]
    std: tuple[_Positive, _Positive, _Positive]
    fit: PictureFit = "stretch"
    """How a picture becomes a square: stretched, or padded with the background (proportions kept)."""
    background: tuple[_Byte, _Byte, _Byte] = (255, 255, 255)
    """Colour put behind transparent pictures, and around padded ones."""

    @property
    def file(self) -> str:
        """Name of the file that the step needs."""
        return self.tower

    @property
    def decides(self) -> dict[str, Any]:
        """What enters the fingerprint, in the words of format 1."""
        return {
            "kind": self.kind,
            "tower": self.tower,
            "size": self.size,
            "mean": self.mean,
            "std": self.std,
            "fit": self.fit,
            "background": self.background,
        }


RawStep = Annotated[BagOfWords | PictureTower, Field(discriminator="kind")]
"""The preprocessing of one modality."""
