"""The bundle: a folder with everything that turns features into hash codes, and nothing that runs on loading.

    ichash.json     the manifest (`Manifest`): what the codes are, what the graph takes, sha256 of every other file
    encoder.onnx    encoders, completion and bit packing in one graph
    ...             raw towers and vocabularies, where the bundle takes pictures or words (`Manifest.raw`)

The fingerprint is derived from what decides the codes only (weights, inputs, outputs, preprocessing, bit rule), so that
exporting the same checkpoint again fits the collections that were made with it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from milvus_ichash.choices import PictureFit
from milvus_ichash.codes import BIT_RULE, check_bits
from milvus_ichash.errors import InputError, first_problem, writing
from milvus_ichash.strict_model import StrictModel
from milvus_ichash.temporary import TemporaryFolder, abandoned

MANIFEST = "ichash.json"
ENCODER = "encoder.onnx"
FORMAT = 1
PRESENT = "present"
"""Name of the graph's bool (batch, M) input."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NEW, _OLD = "new", "old"
"""Bundles in a temporary folder: the one that is being written, and the one that it replaces."""


def _plain(name: str) -> str:
    if Path(name).name != name:
        raise ValueError(f"'{name}' is no plain file name")
    return name


PlainName = Annotated[str, AfterValidator(_plain)]
"""The name of a file, without a folder."""


class Modality(StrictModel):
    """One input of the graph, float32 (batch, dim).

    Its name is also part of a field's name in Milvus, and the name of a Python argument.
    """

    name: str
    dim: int = Field(ge=1)

    @field_validator("name")
    @classmethod
    def _usable(cls, name: str) -> str:
        if not _NAME.fullmatch(name) or name == PRESENT:
            raise ValueError(
                f"'{name}' cannot name a modality: use letters, digits and underscores, a letter first, "
                f"and not '{PRESENT}'"
            )
        return name


class CodeOutput(StrictModel):
    """One hash code of the graph: outputs `<name>` (uint8) and `<name>_relaxed` (float32).

    `modality` is None for a fused code, which stands for the whole item.
    """

    name: str
    modality: str | None = None


class BagOfWords(StrictModel):
    """How a text becomes a bag of words: in lower case, split by `token_pattern`, counted (0 or 1 where `binary`)."""

    kind: Literal["bag_of_words"] = "bag_of_words"
    vocabulary: str
    """File name of a JSON list of words, in the order of the features."""
    token_pattern: str = r"[a-z0-9]+"
    binary: bool = True

    @field_validator("token_pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"'{pattern}' is not a regular expression: {error}") from error
        return pattern


class PictureTower(StrictModel):
    """How a picture becomes features: a square, scaled and normalised, through an ONNX tower (N, 3, size, size)."""

    kind: Literal["picture_tower"] = "picture_tower"
    tower: str
    """File name of the ONNX graph."""
    size: int = Field(ge=1, le=4096)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: PictureFit = "stretch"
    """How a picture becomes a square: stretched, or padded with the background (proportions kept)."""
    background: tuple[int, int, int] = (255, 255, 255)
    """Colour put behind transparent pictures, and around padded ones."""


class Manifest(StrictModel):
    """The contents of `ichash.json`."""

    format: int = FORMAT
    method: str
    bits: int
    modalities: tuple[Modality, ...]
    codes: tuple[CodeOutput, ...]
    raw: dict[str, BagOfWords | PictureTower] = Field(default_factory=dict)
    """Preprocessing of raw input by modality, where the bundle has it."""
    weights_sha256: str
    """Digest of the names, shapes and values of the weights, and of the method's settings (not of the ONNX file, which
    also holds version strings)."""
    precision: Literal["float32", "float16"] = "float32"
    completion: str = ""
    """How the graph completes what is missing, in words."""
    nested: tuple[int, ...] = ()
    """Lengths to which the codes were trained to be cut (their first bits), rising, `bits` last; empty: not nested."""
    label_names: tuple[str, ...] | None = None
    opset: int
    versions: dict[str, str] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    files: dict[PlainName, str] = Field(default_factory=dict)
    """sha256 of every other file of the bundle, by name."""

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        known = self.dims
        if not known or len(known) < len(self.modalities):
            raise ValueError("modalities must be one or more, with different names")
        if not self.codes or len({code.name for code in self.codes}) < len(self.codes):
            raise ValueError("codes must be one or more, with different names")
        named = [code.modality for code in self.codes if code.modality is not None]
        for name in (*named, *self.raw):
            if name not in known:
                raise ValueError(f"'{name}' is none of the modalities {', '.join(known)}")
        if self.nested and (
            list(self.nested) != sorted(set(self.nested)) or self.nested[-1] != self.bits or self.nested[0] < 1
        ):
            raise ValueError(f"nested must be rising lengths up to the {self.bits} bits of the codes")
        if any(length % 8 for length in self.nested):
            raise ValueError("nested lengths must be multiples of 8")
        return self

    @property
    def dims(self) -> dict[str, int]:
        """Feature size of each modality, in the order of the columns of `present`."""
        return {m.name: m.dim for m in self.modalities}

    @property
    def lengths(self) -> tuple[int, ...]:
        """The code lengths that can be had, rising: those of nested codes, else `bits` alone."""
        return self.nested or (self.bits,)

    def length(self, bits: int | None) -> int:
        """Return `bits` where the codes can be cut to it, and the whole length for None.

        Raises:
            InputError: it is none of `lengths`.
        """
        if bits is None:
            return self.bits
        if bits not in self.lengths:
            shorter = ", ".join(map(str, self.lengths[:-1]))
            whole = f"were trained to be cut to {shorter} of" if shorter else "are not nested: only"
            raise InputError(f"codes of {bits} bits cannot be had: this bundle's codes {whole} {self.bits} bits.")
        return bits

    @property
    def fused(self) -> bool:
        """True where an item has one code, False where it has one per modality."""
        return all(code.modality is None for code in self.codes)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name the codes this bundle makes."""
        raw = {
            name: {**step.model_dump(), "sha256": self.files.get(_file_of(step))}
            for name, step in sorted(self.raw.items())
        }
        decides = {
            "bit_rule": BIT_RULE,
            "bits": self.bits,
            "modalities": [m.model_dump() for m in self.modalities],
            "codes": [c.model_dump() for c in self.codes],
            "raw": raw,
            "weights": self.weights_sha256,
            "precision": self.precision,
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def modalities_of(dims: Mapping[str, int]) -> tuple[Modality, ...]:
    """Return the modalities of a bundle from their feature sizes; call it before training, since it checks the names.

    Raises:
        InputError: where a name cannot be a modality's.
    """
    try:
        return tuple(Modality(name=name, dim=dim) for name, dim in dims.items())
    except ValidationError as error:
        raise InputError(f"{_said(error)}. Rename it, for example with --modality NAME=COLUMN.") from error


def read_manifest(bundle: str | Path) -> Manifest:
    """Read the manifest of a bundle folder.

    Raises:
        InputError: where the folder or its manifest is not there, is not JSON, or is of a format not known here.
    """
    folder = Path(bundle)
    path = folder / MANIFEST
    if not path.is_file():
        what = "has no ichash.json" if folder.is_dir() else "is not a folder"
        raise InputError(f"'{folder}' {what}: a bundle is the folder that `milvus-ichash train` or `export` writes.")
    try:
        content = json.loads(path.read_text("utf-8"))
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise InputError(
                f"'{path}' is of bundle format {content.get('format')!r}; this version reads format {FORMAT}."
            )
        manifest = Manifest.model_validate(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' is not JSON ({error}): export the bundle again.") from error
    except ValidationError as error:
        raise InputError(f"'{path}' does not describe a bundle: {_said(error)}. Export the bundle again.") from error
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error
    check_bits(manifest.bits)
    return manifest


def verify(bundle: str | Path) -> Manifest:
    """Read the manifest and compare every file with its sha256.

    Raises:
        InputError: names the file that is missing, or whose content changed.
    """
    folder = Path(bundle)
    manifest = read_manifest(folder)
    for name in (ENCODER, *(_file_of(step) for step in manifest.raw.values())):
        if name not in manifest.files:
            raise InputError(f"'{folder / MANIFEST}' has no sha256 of {name}: export the bundle again.")
    for name, expected in manifest.files.items():
        check_file(folder / name, expected, "export the bundle again")
    return manifest


def check_file(path: Path, sha256: str, cure: str) -> None:
    """Raise InputError where a file is not there, or has another sha256; `cure` says what to do then."""
    if not path.is_file():
        raise InputError(f"'{path.parent}' lacks its file '{path.name}': {cure}.")
    found = sha256_of(path)
    if found != sha256:
        digests = f"sha256 {found[:12]}..., {sha256[:12]}... in the manifest"
        raise InputError(f"'{path}' is damaged or was changed ({digests}): {cure}.")


def check_free(folder: str | Path, *, overwrite: bool = False) -> None:
    """Raise InputError where a bundle may not be written here; call it before hours of training."""
    target = Path(folder)
    is_bundle = (target / MANIFEST).is_file()
    if target.exists() and not (overwrite and is_bundle):
        hint = (
            "use --overwrite to replace it" if is_bundle else "it is not a bundle, so it is left alone; choose another"
        )
        raise InputError(f"'{target}' exists already: {hint}.")


def save(
    folder: str | Path, manifest: Manifest, files: Mapping[str, Path | bytes], *, overwrite: bool = False
) -> Manifest:
    """Write a bundle into a temporary folder that is renamed at the end, so that nobody ever sees half of it.

    Args:
        folder: where the bundle goes.
        manifest: its manifest; `files` in it is filled in here.
        files: content of each file by its name: bytes, or a path to copy from.
        overwrite: replace a bundle that is there already. Anything else in its place is never replaced.

    Returns:
        The manifest as written.

    Raises:
        InputError: where the place is taken, or cannot be written to.
    """
    target = Path(folder)
    with writing(f"bundle '{target}'"):
        _bring_back(target)
    check_free(target, overwrite=overwrite)
    with writing(f"bundle '{target}'"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFolder(f".{target.name}", target.parent) as temporary:
            written = _fill(temporary / _NEW, manifest, files)
            _replace(target, temporary)
    return written


def _fill(folder: Path, manifest: Manifest, files: Mapping[str, Path | bytes]) -> Manifest:
    folder.mkdir()
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            shutil.copyfile(content, folder / name)
    written = manifest.model_copy(update={"files": {name: sha256_of(folder / name) for name in sorted(files)}})
    (folder / MANIFEST).write_text(written.model_dump_json(indent=2) + "\n", "utf-8")
    return written


def _replace(target: Path, temporary: Path) -> None:
    """Rename the new bundle in a temporary folder to `target`; one that was there goes with the temporary folder."""
    if target.exists():
        target.rename(temporary / _OLD)
    try:
        (temporary / _NEW).rename(target)
    except BaseException:
        if (temporary / _OLD).exists():
            (temporary / _OLD).rename(target)
        raise


def _bring_back(target: Path) -> None:
    """Bring a bundle back that was to be replaced by a run which was killed just then."""
    for left in abandoned(f".{target.name}", target.parent):
        if (left / _OLD).is_dir() and not target.exists():
            (left / _OLD).rename(target)


def _file_of(step: BagOfWords | PictureTower) -> str:
    return step.vocabulary if isinstance(step, BagOfWords) else step.tower


def _said(error: ValidationError) -> str:
    return ": ".join(filter(None, first_problem(error)))


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
