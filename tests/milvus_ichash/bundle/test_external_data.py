"""Weights in other files are found wherever a tensor can stand in an ONNX file, and in nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from support.manifests import edit

from milvus_ichash import HashEncoder
from milvus_ichash.bundle import ENCODER, read_manifest, save, sha256_of, verify
from milvus_ichash.bundle import external_data as under_test
from milvus_ichash.bundle.external_data import _PARTS, check_self_contained
from milvus_ichash.errors import InputError

MakeBundle = Callable[..., Path]


def external(location: str = "weights.bin") -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def internal() -> TensorProto:
    """It has the word in its name and in its values."""
    return numpy_helper.from_array(np.frombuffer(b"\x6a\x0alocation..", np.uint8), "location")


def node(**attribute: object) -> NodeProto:
    made = helper.make_node("Constant", [], ["location"])
    made.attribute.append(AttributeProto(name="a", **attribute))  # type: ignore[arg-type]
    return made


def graph(**fields: object) -> onnx.GraphProto:
    return onnx.GraphProto(name="location", **fields)  # type: ignore[arg-type]


def sparse(tensor: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=internal(), indices=tensor)


PLACES: dict[str, Callable[[TensorProto], ModelProto]] = {
    "a weight": lambda t: ModelProto(graph=graph(initializer=[internal(), t])),
    "a sparse weight": lambda t: ModelProto(graph=graph(sparse_initializer=[sparse(t)])),
    "values of a sparse weight": lambda t: ModelProto(
        graph=graph(sparse_initializer=[onnx.SparseTensorProto(values=t, indices=internal())])
    ),
    "a constant": lambda t: ModelProto(graph=graph(node=[node(t=t)])),
    "constants": lambda t: ModelProto(graph=graph(node=[node(tensors=[internal(), t])])),
    "a sparse constant": lambda t: ModelProto(graph=graph(node=[node(sparse_tensor=sparse(t))])),
    "sparse constants": lambda t: ModelProto(graph=graph(node=[node(sparse_tensors=[sparse(t)])])),
    "a branch": lambda t: ModelProto(graph=graph(node=[node(g=graph(initializer=[t]))])),
    "branches in branches": lambda t: ModelProto(
        graph=graph(node=[node(graphs=[graph(node=[node(g=graph(node=[node(t=t)]))])])])
    ),
    "a function": lambda t: ModelProto(functions=[onnx.FunctionProto(name="f", node=[node(t=t)])]),
    "a default of a function": lambda t: ModelProto(
        functions=[onnx.FunctionProto(name="f", attribute_proto=[AttributeProto(name="a", t=t)])]
    ),
    "training": lambda t: ModelProto(training_info=[onnx.TrainingInfoProto(algorithm=graph(initializer=[t]))]),
}


def written(folder: Path, content: bytes) -> Path:
    (folder / "x.onnx").write_bytes(content)
    return folder / "x.onnx"


@pytest.mark.parametrize("place", PLACES)
def test_it_is_found_wherever_a_tensor_can_be(tmp_path: Path, place: str) -> None:
    path = written(tmp_path, PLACES[place](external()).SerializeToString())
    with pytest.raises(InputError, match=r"x\.onnx' keeps weights in another file \(external data\).*: do that\.\Z"):
        check_self_contained(path, "do that")
    check_self_contained(written(tmp_path, PLACES[place](internal()).SerializeToString()), "do that")


def test_every_message_that_leads_to_a_tensor_is_known() -> None:
    """The newest onnx has no place for tensors beside those above."""
    messages, waiting = {}, [ModelProto.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        children = {field.number: field.message_type for field in message.fields if field.message_type is not None}
        if message.name not in messages:
            messages[message.name] = {number: child.name for number, child in children.items()}
            waiting += children.values()
    leading = {"TensorProto"}
    while more := {name for name, children in messages.items() if leading & set(children.values())} - leading:
        leading |= more
    short = {"ModelProto": "model", "TrainingInfoProto": "training", "SparseTensorProto": "sparse tensor"}
    short |= {f"{each.capitalize()}Proto": each for each in ("graph", "function", "node", "attribute", "tensor")}
    assert {
        short[name]: {number: short[child] for number, child in messages[name].items() if child in leading}
        for name in leading
    } == _PARTS


@pytest.mark.parametrize(
    "content",
    [b"", b"no graph", b"\x3a\xff\xff\xff\xff\x0f", b"\x3a\x03\x0b\x0c", b"\x3a\x05\x0a\x03x", b"\xff" * 20, b"\x3a"],
)
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"x\.onnx' is damaged or no ONNX graph: "):
        check_self_contained(written(tmp_path, content), "do that")


def test_a_file_of_nothing_but_parts_is_not_looked_through_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = ModelProto(graph=graph(node=[NodeProto()] * 1000)).SerializeToString()
    check_self_contained(written(tmp_path, content), "do that")
    monkeypatch.setattr(under_test, "_MOST_FIELDS", 999)
    with pytest.raises(InputError, match="more parts than a graph can need"):
        check_self_contained(tmp_path / "x.onnx", "do that")


@pytest.mark.parametrize("name", [ENCODER, "image_tower.onnx", "completion.onnx"])
def test_no_graph_of_a_bundle_may_have_it(make_bundle: MakeBundle, tmp_path: Path, name: str) -> None:
    made = make_bundle(pictures={"image": 8})
    network = {"file": "completion.onnx", "inputs": ("text",), "outputs": ("image",)}
    manifest = read_manifest(made).model_copy(update={"completion_networks": ()})
    files = {each: made / each for each in manifest.files} | {"completion.onnx": made / ENCODER}
    folder = tmp_path / "b"
    save(folder, type(manifest).model_validate(manifest.model_dump() | {"completion_networks": [network]}), files)
    HashEncoder.load(folder)

    model = onnx.load(folder / name)
    weight = model.graph.initializer[0]
    (folder / "weights.bin").write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    (folder / name).write_bytes(model.SerializeToString())
    edit(folder, lambda content: content["files"].update({name: sha256_of(folder / name)}))
    if name == "image_tower.onnx":  # its content is part of the fingerprint
        with pytest.raises(InputError) as caught:
            read_manifest(folder)
        stated = str(caught.value).split("fingerprint ")[1][:16]
        edit(folder, lambda content: content.update(fingerprint=stated))
    for opening in (verify, HashEncoder.load):
        with pytest.raises(InputError, match=rf"{name}' keeps weights in another file .*and export the bundle again\."):
            opening(folder)
