"""The manifest: what the codes of a bundle are, what its graph takes, and which files belong to it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from milvus_ichash.bundle.file_names import ENCODER, GraphName, PlainName
from milvus_ichash.bundle.raw_steps import PictureTower, RawStep
from milvus_ichash.codes import BIT_RULE
from milvus_ichash.errors import InputError, first_problem
from milvus_ichash.strict_model import StrictModel

FORMAT: Literal[2] = 2
PRESENT = "present"
"""Name of the graph's bool (batch, M) input."""
MOST_FEATURES = 1_000_000
"""Most features of a modality."""
MOST_PARTS = 64
"""Most modalities, codes and completion networks: a collection has no more fields."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_Name = Annotated[str, Field(max_length=200)]


class Modality(StrictModel):
    """One input of the graph, float32 (batch, dim).

    Its name is also part of a field's name in Milvus, and the name of a Python argument.
    """

    name: _Name
    dim: int = Field(ge=1, le=MOST_FEATURES)

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

    name: _Name
    modality: str | None = None

    @field_validator("name")
    @classmethod
    def _usable(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"'{name}' cannot name a code: use letters, digits and underscores, a letter first")
        return name


class CompletionNetwork(StrictModel):
    """A second graph, which makes features of modalities that an item lacks; it has no part in the codes.

    Its inputs are named after modalities, float32 (batch, D_m), and `present`, bool (batch, M); its outputs after
    modalities, float32 (batch, D_m).
    """

    file: GraphName
    inputs: tuple[str, ...] = Field(min_length=1)
    outputs: tuple[str, ...] = Field(min_length=1)


class Manifest(StrictModel):
    """The contents of `ichash.json`, but for the fingerprint, which stands there too."""

    format: Literal[1, 2] = FORMAT
    """The format of the file that it was read from; what is written is of the newest."""
    method: str
    bits: int
    modalities: tuple[Modality, ...] = Field(max_length=MOST_PARTS)
    codes: tuple[CodeOutput, ...] = Field(max_length=MOST_PARTS)
    raw: dict[str, RawStep] = Field(default_factory=dict)
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
    completion_networks: tuple[CompletionNetwork, ...] = Field((), max_length=MOST_PARTS)
    golden_vectors: PlainName | None = None
    """File name of items with the codes that they must get on every machine (`GoldenVectors`)."""
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
        for network in self.completion_networks:
            named += [*(name for name in network.inputs if name != PRESENT), *network.outputs]
        for name in (*named, *self.raw):
            if name not in known:
                raise ValueError(f"'{name[:100]}' is none of the modalities {', '.join(known)}")
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
    def graphs(self) -> tuple[str, ...]:
        """Names of the ONNX files that the bundle needs."""
        towers = [step.tower for step in self.raw.values() if isinstance(step, PictureTower)]
        return (ENCODER, *towers, *(network.file for network in self.completion_networks))

    @property
    def needed_files(self) -> tuple[str, ...]:
        """Names of all files that the bundle needs, but for the manifest."""
        others = [step.file for step in self.raw.values()] + ([self.golden_vectors] if self.golden_vectors else [])
        return tuple(dict.fromkeys([*self.graphs, *others]))

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
        # Collections in use hold it. So it is the same in every format, and a field that comes later enters it only
        # where it is not at its default.
        decides = {
            "bit_rule": BIT_RULE,
            "bits": self.bits,
            "modalities": [{"name": m.name, "dim": m.dim} for m in self.modalities],
            "codes": [{"name": c.name, "modality": c.modality} for c in self.codes],
            "raw": {name: {**step.decides, "sha256": self.files.get(step.file)} for name, step in self.raw.items()},
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
        raise InputError(f"{problem_of(error)}. Rename it, for example with --modality NAME=COLUMN.") from error


def problem_of(error: ValidationError) -> str:
    """Return the first problem of a manifest, and its place, in words."""
    place, problem = first_problem(error)
    return f"{place[:100]}: {problem[:300]}" if place else problem[:300]
