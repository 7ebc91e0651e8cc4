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
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from support.exact import exact

from milvus_ichash.bundle import ENCODER, BagOfWords, CodeOutput, Manifest, Modality, PictureTower, save

OPSET = 18
IMAGE_AND_TEXT = {"image": 12, "text": 8}


class Graph:
    """Nodes and constants of an ONNX graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def model(self, inputs: list[Any], outputs: list[Any]) -> bytes:
        graph = helper.make_graph(self.nodes, "encoder", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model)
        return model.SerializeToString()


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


def _layers(rng: np.random.Generator, sizes: Sequence[int], given: np.ndarray | None) -> list[np.ndarray]:
    if given is not None:
        return [np.asarray(given, np.float32)]
    return [exact(rng.standard_normal((a, b)) / np.sqrt(a)) for a, b in pairwise(sizes)]


def _digest(layers: Mapping[str, Sequence[np.ndarray]]) -> str:
    return hashlib.sha256(b"".join(w.tobytes() for ws in layers.values() for w in ws)).hexdigest()


def _encoder(
    dims: dict[str, int], bits: int, codes: Mapping[str, str | None], layers: Mapping[str, Sequence[np.ndarray]]
) -> bytes:
    g = Graph()
    zero = g.constant("zero", np.zeros((), np.float32))
    there = _presence_columns(g, list(dims))
    z = {m: _projection(g, m, there[m], zero, layers[m]) for m in dims}
    for code, modality in codes.items():
        relaxed = f"{code}_relaxed"
        if modality is None:
            g.add("Sum", list(z.values()), relaxed)
        else:
            g.add("Where", [there[modality], z[modality], _mean_of_present(g, code, z, there)], relaxed)
        _pack(g, relaxed, code, bits, zero)
    inputs = [helper.make_tensor_value_info(m, TensorProto.FLOAT, ["batch", dim]) for m, dim in dims.items()]
    inputs.append(helper.make_tensor_value_info("present", TensorProto.BOOL, ["batch", len(dims)]))
    outputs = []
    for code in codes:
        outputs.append(helper.make_tensor_value_info(code, TensorProto.UINT8, ["batch", bits // 8]))
        outputs.append(helper.make_tensor_value_info(f"{code}_relaxed", TensorProto.FLOAT, ["batch", bits]))
    return g.model(inputs, outputs)


def _presence_columns(g: Graph, names: Sequence[str]) -> dict[str, str]:
    """bool (B, 1) for each modality."""
    columns = {}
    for i, m in enumerate(names):
        index = g.constant(f"{m}_column", np.array([i], np.int64))
        columns[m] = g.add("Gather", ["present", index], f"{m}_present", axis=1)
    return columns


def _projection(g: Graph, m: str, there: str, zero: str, layers: Sequence[np.ndarray]) -> str:
    """z_m, with zeros where the modality is missing (there is no bias)."""
    x = g.add("Where", [there, m, zero], f"{m}_masked")
    for i, w in enumerate(layers):
        if i:
            x = g.add("Relu", [x], f"{m}_relu_{i}")
        x = g.add("MatMul", [x, g.constant(f"{m}_w{i}", w)], f"{m}_linear_{i}")
    return x


def _mean_of_present(g: Graph, code: str, z: Mapping[str, str], there: Mapping[str, str]) -> str:
    total = g.add("Sum", list(z.values()), f"{code}_total")
    ones = [g.add("Cast", [t], f"{code}_{m}_count", to=TensorProto.FLOAT) for m, t in there.items()]
    count = g.add("Sum", ones, f"{code}_count")
    return g.add("Div", [total, count], f"{code}_completed")


def _pack(g: Graph, relaxed: str, code: str, bits: int, zero: str) -> None:
    bit = g.add("Cast", [g.add("Greater", [relaxed, zero], f"{code}_positive")], f"{code}_bits", to=TensorProto.FLOAT)
    shape = g.constant(f"{code}_shape", np.array([-1, bits // 8, 8], np.int64))
    place = g.constant(f"{code}_places", (2 ** np.arange(7, -1, -1)).astype(np.float32))
    split = g.add("Reshape", [bit, shape], f"{code}_split")
    value = g.add("MatMul", [split, place], f"{code}_value")
    g.add("Cast", [value], code, to=TensorProto.UINT8)


def _tower(rng: np.random.Generator, size: int, dim: int) -> bytes:
    g = Graph()
    axes = g.constant("axes", np.array([2, 3], np.int64))
    colour = g.add("ReduceMean", ["pixels", axes], "colour", keepdims=0)
    g.add("MatMul", [colour, g.constant("w", rng.standard_normal((3, dim)).astype(np.float32))], "features")
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, size, size])
    return g.model([pixels], [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", dim])])
