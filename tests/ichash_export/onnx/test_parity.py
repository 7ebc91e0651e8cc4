"""The gate before a bundle: every way in which a graph can be wrong is caught."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ichash_export.onnx.parity import ParityError, _patterns, compare_with_torch, make_probe
from ichash_export.train.trained_model import TrainedModel

Change = Callable[[onnx.GraphProto], None]


def test_a_faithful_graph_passes(trained: TrainedModel, exported: bytes) -> None:
    said = compare_with_torch(trained.model, exported, dims=trained.model.spec.dims)
    assert said.batch_sizes == (1, 2, 7, 64)
    assert 0 <= said.largest_difference < 1e-5


def test_three_modalities_and_two_codes_pass(trained_cross: TrainedModel, exported_cross: bytes) -> None:
    compare_with_torch(trained_cross.model, exported_cross, dims=trained_cross.model.spec.dims)


def _initializer(graph: onnx.GraphProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    found = next(x for x in graph.initializer if x.name == name)
    found.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(found)), name))


def _missing_rows_not_masked(graph: onnx.GraphProto) -> None:
    """Where(present, x, 0) becomes x."""
    for node in graph.node:
        if node.op_type == "Where":
            kept = node.input[1]
            node.op_type = "Identity"
            del node.input[:]
            node.input.append(kept)


def _presence_swapped(graph: onnx.GraphProto) -> None:
    """The columns of `present` in the wrong order."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == "present":
                node.input[i] = "swapped"
    graph.initializer.append(numpy_helper.from_array(np.array([1, 0]), "order"))
    graph.node.insert(0, onnx.helper.make_node("Gather", ["present", "order"], ["swapped"], axis=1))


def _nothing_gets_a_code(graph: onnx.GraphProto) -> None:
    """The last Where, which makes zeros of items without any modality, is passed by."""
    (last,) = [node for node in graph.node if "code_relaxed" in node.output]
    assert last.op_type == "Where"
    kept = last.input[1]
    last.op_type = "Identity"
    del last.input[:]
    last.input.append(kept)


def _rows_depend_on_the_batch(graph: onnx.GraphProto) -> None:
    """Each row's relaxed code has the batch's mean in it."""
    (last,) = [node for node in graph.node if "code_relaxed" in node.output]
    last.output[0] = "alone"
    axes = numpy_helper.from_array(np.array([0]), "first_axis")
    graph.initializer.append(axes)
    position = list(graph.node).index(last) + 1
    graph.node.insert(position, onnx.helper.make_node("ReduceMean", ["alone", "first_axis"], ["average"], keepdims=1))
    graph.node.insert(position + 1, onnx.helper.make_node("Sub", ["alone", "average"], ["code_relaxed"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda graph: _initializer(graph, "model.method.head.bias", lambda x: x + np.float32(0.5)),
            r"\d+ of \d+ bits differ from torch's in 'code' at batch size 1, first at row \d+, bit \d+, present \[",
        ),
        (
            lambda graph: _initializer(graph, "places", lambda x: np.ascontiguousarray(x[::-1])),
            r"packed bits are not those of the relaxed code in 'code'",
        ),
        (_missing_rows_not_masked, r"relaxed values are not finite in 'code'"),
        (_presence_swapped, r"in 'code' at batch size 1, .* present \[True, False\]"),
        (_nothing_gets_a_code, r"without any modality are not 0 in 'code'.* present \[False, False\]"),
        (_rows_depend_on_the_batch, r"bits differ from torch's in 'code' at batch size 1"),
    ],
    ids=[
        *("other weights", "least significant bit first", "missing rows not masked", "presence swapped"),
        *("items without any modality not masked", "rows depend on the batch"),
    ],
)
def test_a_broken_graph_does_not_pass(trained: TrainedModel, exported: bytes, change: Change, message: str) -> None:
    broken = onnx.load_from_string(exported)
    change(broken.graph)
    onnx.checker.check_model(broken)
    with pytest.raises(ParityError, match=message):
        compare_with_torch(trained.model, broken.SerializeToString(), dims=trained.model.spec.dims)


def test_the_probe_covers_every_pattern_and_fills_gaps_with_junk(
    trained: TrainedModel, trained_cross: TrainedModel
) -> None:
    for model, patterns in ((trained.model, 4), (trained_cross.model, 8)):
        probe = make_probe(model, model.spec.dims)
        assert len(np.unique(probe.present, axis=0)) == patterns
        for i, name in enumerate(model.spec.modalities):
            missing = ~probe.present[:, i]
            assert not probe.clean[name][missing].any()
            assert np.isnan(probe.dirty[name][missing]).any()
            assert np.isinf(probe.dirty[name][missing]).any()
            np.testing.assert_array_equal(probe.clean[name][~missing], probe.dirty[name][~missing])


def test_many_modalities_have_all_none_each_alone_and_random_ones() -> None:
    present = _patterns(6, np.random.default_rng(0))
    assert present[0].all() and not present[1].any()
    assert np.array_equal(present[2:8], np.eye(6, dtype=bool))
    assert present[2:].any(axis=1).all()
    assert len(present) >= 64
