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
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from milvus_ichash.codes import BIT_RULE, check_bits
from milvus_ichash.errors import InputError

MANIFEST = "ichash.json"
ENCODER = "encoder.onnx"
FORMAT = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Modality(_Strict):
    """One input of the graph: float32 (batch, dim)."""

    name: str
    dim: int


class CodeOutput(_Strict):
    """One hash code of the graph: outputs `<name>` (uint8) and `<name>_relaxed` (float32).

    `modality` is None for a fused code, which stands for the whole item.
    """

    name: str
    modality: str | None = None


class BagOfWords(_Strict):
    """Words into a bag of words: lower case, `token_pattern`, counted (or 0/1 where `binary`) over the vocabulary."""

    kind: Literal["bag_of_words"] = "bag_of_words"
    vocabulary: str
    """File name of a JSON list of words, in the order of the features."""
    token_pattern: str = r"[a-z0-9]+"
    binary: bool = True


class PictureTower(_Strict):
    """Pictures into features: resized to a square, scaled, normalised, through an ONNX tower (N, 3, size, size)."""

    kind: Literal["picture_tower"] = "picture_tower"
    tower: str
    """File name of the ONNX graph."""
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    background: tuple[int, int, int] = (255, 255, 255)
    """Colour put behind transparent pictures."""


class Manifest(_Strict):
    """Contents of `ichash.json`."""

    format: int = FORMAT
    method: str
    bits: int
    modalities: tuple[Modality, ...]
    codes: tuple[CodeOutput, ...]
    raw: dict[str, BagOfWords | PictureTower] = Field(default_factory=dict)
    """Preprocessing of raw input by modality, where the bundle has it."""
    weights_sha256: str
    """Digest of the names, shapes and values of the weights (not of the ONNX file, which also holds version strings)."""
    precision: Literal["float32", "float16"] = "float32"
    completion: str = ""
    """How the graph completes what is missing, in words."""
    label_names: tuple[str, ...] | None = None
    opset: int
    versions: dict[str, str] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    """sha256 of every other file of the bundle, by name."""

    @property
    def dims(self) -> dict[str, int]:
        """Feature size of each modality, in the order of the columns of `present`."""
        return {m.name: m.dim for m in self.modalities}

    @property
    def fused(self) -> bool:
        """True where an item has one code, False where it has one per modality."""
        return all(code.modality is None for code in self.codes)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name the codes this bundle makes."""
        raw = {
            name: {**step.model_dump(), "sha256": self.files.get(step.vocabulary if isinstance(step, BagOfWords) else step.tower)}
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
            raise InputError(f"'{path}' is of bundle format {content.get('format')!r}; this version reads format {FORMAT}.")
        manifest = Manifest.model_validate(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' is not JSON ({error}): export the bundle again.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"'{path}' does not describe a bundle: {where}: {first['msg']}. Export the bundle again.") from error
    check_bits(manifest.bits)
    return manifest


def verify(bundle: str | Path) -> Manifest:
    """Read the manifest and hold every file against its sha256.

    Raises:
        InputError: names the file that is missing, or whose content changed.
    """
    folder = Path(bundle)
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"bundle '{folder}' lacks its file '{name}': export the bundle again.")
        found = sha256_of(path)
        if found != expected:
            raise InputError(
                f"'{path}' is damaged or was changed: its sha256 is {found[:12]}..., the manifest says {expected[:12]}.... "
                "Export the bundle again."
            )
    if ENCODER not in manifest.files:
        raise InputError(f"'{folder / MANIFEST}' names no {ENCODER}: export the bundle again.")
    return manifest


def save(folder: str | Path, manifest: Manifest, files: Mapping[str, Path | bytes], *, overwrite: bool = False) -> Manifest:
    """Write a bundle: into a temporary folder beside it, renamed at the end, so that no half of it is ever seen.

    Args:
        folder: where the bundle goes.
        manifest: its manifest; `files` in it is filled in here.
        files: content of each file by its name: bytes, or a path to copy from.
        overwrite: replace a bundle that is there already. Anything else in its place is never replaced.

    Returns:
        The manifest as written.

    Raises:
        InputError: where the place is taken.
    """
    target = Path(folder)
    if target.exists() and not (overwrite and (target / MANIFEST).is_file()):
        hint = (
            "use --overwrite to replace it" if (target / MANIFEST).is_file() else "it is not a bundle, so it is left alone; choose another"
        )
        raise InputError(f"'{target}' exists already: {hint}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name, content in files.items():
            if isinstance(content, bytes):
                (staging / name).write_bytes(content)
            else:
                shutil.copyfile(content, staging / name)
        written = manifest.model_copy(update={"files": {name: sha256_of(staging / name) for name in sorted(files)}})
        (staging / MANIFEST).write_text(written.model_dump_json(indent=2) + "\n", "utf-8")
        staging.chmod(0o755)
        _replace(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return written


def _replace(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
        return
    old = staging.with_name(staging.name + ".old")
    target.rename(old)
    staging.rename(target)
    shutil.rmtree(old)


def sha256_of(path: Path) -> str:
    """sha256 of a file's content, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(stream)


def _digest(stream: Any) -> str:
    # Python 3.10 has no hashlib.file_digest.
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
