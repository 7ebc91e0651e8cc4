"""The check before a bundle is written: torch and onnxruntime must make the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ichash_export.train.model import Model
from milvus_ichash.bundle import PRESENT
from milvus_ichash.errors import IchashError

TOLERANCE = 1e-4
"""Bits whose relaxed value is nearer to zero than this may differ, because there the order of a sum decides."""
BATCHES = (1, 2, 7, 64)
ROWS = 64
_ALL_PATTERNS_UP_TO = 4

Outputs = dict[str, npt.NDArray[Any]]


class ParityError(IchashError):
    """The exported graph does not make the codes that torch makes."""


@dataclass(frozen=True)
class ParityReport:
    """What was compared, for the manifest.

    Attributes:
        rows: number of rows.
        batch_sizes: the sizes of the batches that they were given in.
        largest_difference: the largest difference of a relaxed value.
    """

    rows: int
    batch_sizes: tuple[int, ...]
    largest_difference: float


@dataclass(frozen=True)
class Probe:
    """Rows to compare on.

    Attributes:
        clean: features, float32 (n, D_m) by modality, with zeros where it is missing.
        dirty: the same features, with NaN, infinities and large numbers where the modality is missing.
        present: bool (n, M) with every combination of modalities; for more than four modalities: all, none, each
            alone, and random combinations.
    """

    clean: dict[str, npt.NDArray[np.float32]]
    dirty: dict[str, npt.NDArray[np.float32]]
    present: npt.NDArray[np.bool_]


def compare_with_torch(model: Model, content: bytes, *, dims: Mapping[str, int]) -> ParityReport:
    """Compare the codes of an exported graph with those of the model, for several batch sizes and all combinations of
    modalities.

    Args:
        model: the model, on the CPU and in evaluation mode.
        content: the bytes of the ONNX file.
        dims: number of features of each modality.

    Returns:
        What was compared, for the manifest.

    Raises:
        ParityError: a bit differs where |relaxed| > 1e-4, a packed code does not follow its relaxed code, or an item
            without any modality has a code other than zeros; the message says how many bits differ, and where the
            first one is.
    """
    import onnxruntime

    probe = make_probe(model, dims)
    expected = codes_of_torch(model, probe)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for size in BATCHES:
        found = _onnx(session, probe, size)
        for code, relaxed in expected.items():
            _compare(code, relaxed, found, probe.present, size)
            largest = max(largest, float(np.abs(found[f"{code}_relaxed"] - relaxed).max()))
    return ParityReport(len(probe.present), BATCHES, largest)


def make_probe(model: Model, dims: Mapping[str, int], seed: int = 0) -> Probe:
    """Return random rows in the range of the training features."""
    rng = np.random.default_rng(seed)
    present = _patterns(len(dims), rng)
    clean, dirty = {}, {}
    for i, (name, dim) in enumerate(dims.items()):
        shift, scale = (x.cpu().numpy() for x in (model.scaling[i].shift, model.scaling[i].scale))
        x = (rng.standard_normal((len(present), dim)) / scale + shift).astype(np.float32)
        there = present[:, i : i + 1]
        junk = rng.choice(np.array([np.nan, np.inf, -np.inf, 1e30, 7.0], np.float32), x.shape)
        junk[::2] = np.nan  # the usual way to write a missing row
        clean[name], dirty[name] = np.where(there, x, np.float32(0)), np.where(there, x, junk)
    return Probe(clean, dirty, present)


def _patterns(modalities: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return bool (n, M) with n >= ROWS: the combinations of modalities in turn, so that every batch mixes them."""
    if modalities <= _ALL_PATTERNS_UP_TO:
        patterns = np.array(list(product([True, False], repeat=modalities)))
        return np.resize(patterns, (ROWS, modalities))
    random = rng.random((ROWS, modalities)) < 0.5
    random[~random.any(axis=1), 0] = True
    every, none = np.ones((1, modalities), bool), np.zeros((1, modalities), bool)
    return np.concatenate([every, none, np.eye(modalities, dtype=bool), random])


@torch.no_grad()
def codes_of_torch(model: Model, probe: Probe) -> Outputs:
    """Return the relaxed codes that the graph must make of the rows, float32 (n, bits) by the code's name."""
    features = {name: torch.from_numpy(x) for name, x in probe.clean.items()}
    codes = model(features, torch.from_numpy(probe.present))
    something = probe.present.any(axis=1, keepdims=True)
    return {code: np.where(something, u.numpy(), np.float32(0)) for code, u in codes.items()}


def _onnx(session: Any, probe: Probe, size: int) -> Outputs:
    names = [output.name for output in session.get_outputs()]
    parts = []
    for start in range(0, len(probe.present), size):
        rows = slice(start, start + size)
        parts.append(session.run(names, {**{m: x[rows] for m, x in probe.dirty.items()}, PRESENT: probe.present[rows]}))
    return {name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)}


def _compare(
    code: str, expected: npt.NDArray[np.float32], found: Outputs, present: npt.NDArray[np.bool_], size: int
) -> None:
    relaxed, packed = found[f"{code}_relaxed"], found[code]
    bits = np.unpackbits(packed, axis=1)
    for wrong, what in (
        (~np.isfinite(relaxed) | ~np.isfinite(expected), "relaxed values are not finite"),
        (
            ~present.any(axis=1, keepdims=True) & (relaxed != 0),
            "relaxed values of items without any modality are not 0",
        ),
        (bits != (relaxed > 0), "packed bits are not those of the relaxed code"),
        ((bits != (expected > 0)) & (np.abs(expected) > TOLERANCE), "bits differ from torch's"),
    ):
        if wrong.any():
            row, bit = np.argwhere(wrong)[0]
            raise ParityError(
                f"the exported graph is not the trained model, so no bundle was written: {int(wrong.sum())} of "
                f"{wrong.size} {what} in "
                f"'{code}' at batch size {size}, first at row {row}, bit {bit}, present {present[row].tolist()} "
                f"(torch {expected[row, bit]:.6g}, onnxruntime {relaxed[row, bit]:.6g})."
            )
