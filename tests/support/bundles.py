"""Small real bundles without torch: linear encoders and completion in an ONNX graph, with weights given or random.

Random weights are `exact`: with features that are so too, codes are the same bit by bit on every processor.

Layout of the graph, for modality m with the masked features x_m (zeros where missing) and z_m = x_m W_m (after ReLU
layers, if there are any):

    fused:        code = sum of z_m
    cross-modal:  m_code = z_m where m is present, else the mean of z over the modalities that are
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx.parser
from onnx import TensorProto, numpy_helper
from support.exact import exact

from milvus_ichash.bundle import (
    ENCODER,
    MANIFEST,
    BagOfWords,
    CodeOutput,
    Manifest,
    Modality,
    PictureTower,
    save,
)
from milvus_ichash.bundle.tokenizers import PATTERNS

OPSET = 18
FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
IMAGE_AND_TEXT = {"image": 12, "text": 8}


def build_bundle(
    folder: Path,
    *,
    modalities: Mapping[str, int] = IMAGE_AND_TEXT,
    bits: int = 16,
    fused: bool = True,
    seed: int = 0,
    weights: Mapping[str, np.ndarray] | None = None,
    hidden: Mapping[str, Sequence[int]] | None = None,
    words: Mapping[str, Sequence[str]] | None = None,
    pictures: Mapping[str, int] | None = None,
    label_names: Sequence[str] | None = None,
    method: str = "linear",
    nested: Sequence[int] = (),
) -> Path:
    """Write a bundle into `folder` and return it.

    Args:
        folder: where it goes (must not exist).
        modalities: feature sizes by name, in order.
        bits: code length.
        fused: one `code` per item, or one `<modality>_code` per modality.
        seed: of the weights; other seeds give other fingerprints.
        weights: float32 (D_m, bits) by modality in place of random ones. With `np.eye(bits)` a feature's sign is its
            bit.
        hidden: sizes of ReLU layers before the last one, by modality.
        words: vocabulary of a modality that is a bag of words; its length must be the modality's size.
        pictures: square size in pixels of a modality that takes pictures (its tower projects the mean colour).
        label_names: names of the classes.
        method: the method's name in the manifest.
        nested: lengths that the manifest says the codes can be cut to, with `bits` at the end.
    """
    rng = np.random.default_rng(seed)
    given, before = weights or {}, hidden or {}
    layers = {m: _layers(rng, [dim, *before.get(m, ()), bits], given.get(m)) for m, dim in modalities.items()}
    codes = {"code": None} if fused else {f"{m}_code": m for m in modalities}
    files: dict[str, bytes] = {ENCODER: _encoder(dict(modalities), bits, codes, layers)}
    raw: dict[str, BagOfWords | PictureTower] = {}
    for m, vocabulary in (words or {}).items():
        files[f"{m}_vocabulary.json"] = json.dumps(list(vocabulary)).encode()
        raw[m] = BagOfWords(vocabulary=f"{m}_vocabulary.json")
    for m, size in (pictures or {}).items():
        files[f"{m}_tower.onnx"] = _tower(rng, size, modalities[m])
        raw[m] = PictureTower(tower=f"{m}_tower.onnx", size=size, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    manifest = Manifest(
        method=method,
        bits=bits,
        modalities=tuple(Modality(name=m, dim=dim) for m, dim in modalities.items()),
        codes=tuple(CodeOutput(name=name, modality=m) for name, m in codes.items()),
        raw=raw,
        weights_sha256=_digest(layers),
        completion="mean of the other modalities' relaxed codes",
        label_names=None if label_names is None else tuple(label_names),
        opset=OPSET,
        nested=tuple(nested),
    )
    save(folder, manifest, files)
    return folder


def as_format_1(bundle: Path, folder: Path) -> Path:
    """Copy a bundle into a folder, with the manifest that a program of format 1 wrote of it, and return the folder."""
    shutil.copytree(bundle, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    for name in ("fingerprint", "golden_vectors", "completion_networks"):
        manifest.pop(name)
    for step in manifest["raw"].values():
        if name := step.pop("tokenizer", None):
            step["token_pattern"] = PATTERNS[name].pattern
    (folder / MANIFEST).write_text(json.dumps(manifest | {"format": 1}, indent=2) + "\n")
    return folder


def _layers(rng: np.random.Generator, sizes: Sequence[int], given: np.ndarray | None) -> list[np.ndarray]:
    if given is not None:
        return [np.asarray(given, np.float32)]
    return [exact(rng.standard_normal((a, b)) / np.sqrt(a)) for a, b in pairwise(sizes)]


def _digest(layers: Mapping[str, Sequence[np.ndarray]]) -> str:
    return hashlib.sha256(b"".join(w.tobytes() for ws in layers.values() for w in ws)).hexdigest()


def _encoder(
    dims: dict[str, int], bits: int, codes: Mapping[str, str | None], layers: Mapping[str, Sequence[np.ndarray]]
) -> bytes:
    inputs = [f"float[batch, {dim}] {m}" for m, dim in dims.items()] + [f"bool[batch, {len(dims)}] present"]
    outputs = [f"uint8[batch, {bits // 8}] {code}, float[batch, {bits}] {code}_relaxed" for code in codes]
    constants: dict[str, np.ndarray] = {"zero": np.zeros((), np.float32)}
    nodes, z = [], {}
    for column, m in enumerate(dims):
        constants[f"{m}_column"] = np.array([column])
        nodes += [f"{m}_there = Gather <axis = 1> (present, {m}_column)", f"{m}_x0 = Where ({m}_there, {m}, zero)"]
        for i, w in enumerate(layers[m]):
            constants[f"{m}_w{i}"] = w
            nodes += [
                f"{m}_r{i} = {'Relu' if i else 'Identity'} ({m}_x{i})",
                f"{m}_x{i + 1} = MatMul ({m}_r{i}, {m}_w{i})",
            ]
        z[m] = f"{m}_x{len(layers[m])}"
    nodes += [f"total = Sum ({', '.join(z.values())})"]
    nodes += [f"{m}_count = Cast <to = {FLOAT}> ({m}_there)" for m in dims]
    nodes += [f"count = Sum ({', '.join(f'{m}_count' for m in dims)})", "mean = Div (total, count)"]
    for code, modality in codes.items():
        constants[f"{code}_shape"] = np.array([-1, bits // 8, 8])
        constants[f"{code}_places"] = (2 ** np.arange(7, -1, -1)).astype(np.float32)
        of_present = "Identity (total)" if modality is None else f"Where ({modality}_there, {z[modality]}, mean)"
        nodes += [
            f"{code}_relaxed = {of_present}",
            f"{code}_positive = Greater ({code}_relaxed, zero)",
            f"{code}_bits = Cast <to = {FLOAT}> ({code}_positive)",
            f"{code}_split = Reshape ({code}_bits, {code}_shape)",
            f"{code}_value = MatMul ({code}_split, {code}_places)",
            f"{code} = Cast <to = {UINT8}> ({code}_value)",
        ]
    return _graph(inputs, outputs, nodes, constants)


def _tower(rng: np.random.Generator, size: int, dim: int) -> bytes:
    nodes = ["colour = ReduceMean <keepdims = 0> (pixels, axes)", "features = MatMul (colour, w)"]
    constants = {"axes": np.array([2, 3]), "w": rng.standard_normal((3, dim)).astype(np.float32)}
    return _graph([f"float[batch, 3, {size}, {size}] pixels"], [f"float[batch, {dim}] features"], nodes, constants)


def _graph(
    inputs: Sequence[str], outputs: Sequence[str], nodes: Sequence[str], constants: Mapping[str, np.ndarray]
) -> bytes:
    """An ONNX file, from inputs, outputs and nodes in ONNX's own textual form."""
    signature = f"encoder ({', '.join(inputs)}) => ({', '.join(outputs)})"
    text = f'<ir_version: 8, opset_import: ["": {OPSET}]> {signature} {{ {" ".join(nodes)} }}'
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(model)
    return model.SerializeToString()
