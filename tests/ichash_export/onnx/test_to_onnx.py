"""Export: one graph that takes any mix of missing modalities, and a bundle that says where it comes from."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.tiny import make_table

from ichash_export.onnx import golden as golden_module
from ichash_export.onnx import to_onnx as module
from ichash_export.onnx.attachments import vocabulary
from ichash_export.onnx.parity import ParityError, Probe
from ichash_export.onnx.to_onnx import OPSET, ExportGraph, export_bundle, to_onnx, weights_digest
from ichash_export.train.trained_model import TrainedModel
from ichash_export.train.training import train
from milvus_ichash import HashEncoder, codes
from milvus_ichash.bundle import read_manifest, verify
from milvus_ichash.bundle.golden_vectors import read_golden_vectors
from milvus_ichash.errors import InputError
from milvus_ichash.runtime.self_test import compare_golden_codes


@pytest.fixture(scope="module")
def bundle(trained: TrainedModel, exported: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    words = folder / "words.json"
    words.write_text(json.dumps(list("abcdefgh")))
    given = {"text": vocabulary("text", words, trained.model.spec.dims)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "to_onnx", lambda graph: exported)  # made once for all tests
        export_bundle(trained, folder / "bundle", attachments=given)
    return folder / "bundle"


def _codes(
    trained: TrainedModel, content: bytes, rows: int = 50
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What onnxruntime makes of real rows with NaN in their gaps, and what torch does."""
    model = trained.model
    table = make_table(rows, dims=model.spec.dims, seed=5)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = dict(
        zip(
            [o.name for o in session.get_outputs()],
            session.run(None, {**table.features, "present": table.present}),
            strict=True,
        )
    )
    with torch.no_grad():
        expected = model({m: torch.from_numpy(x) for m, x in table.features.items()}, torch.from_numpy(table.present))
    return found, {name: u.numpy() for name, u in expected.items()}


def test_the_graph_makes_packed_and_relaxed_codes(
    trained: TrainedModel, exported: bytes, trained_cross: TrainedModel, exported_cross: bytes
) -> None:
    for model, content in ((trained, exported), (trained_cross, exported_cross)):
        found, expected = _codes(model, content)
        assert list(found) == [name for code in expected for name in (code, f"{code}_relaxed")]
        for code, relaxed in expected.items():
            np.testing.assert_allclose(found[f"{code}_relaxed"], relaxed, atol=1e-5)
            np.testing.assert_array_equal(found[code], codes.pack(found[f"{code}_relaxed"]))
            assert (found[code].dtype, found[code].shape) == (np.uint8, (50, 2))


def test_packing_follows_the_bit_rule(trained: TrainedModel) -> None:
    relaxed = torch.randn(20, 24)
    relaxed[0] = 0
    relaxed[1, :8] = float("nan")
    np.testing.assert_array_equal(ExportGraph(trained.model).pack(relaxed).numpy(), codes.pack(relaxed.numpy()))


def test_inputs_are_named_and_batches_free(exported_cross: bytes) -> None:
    model = onnx.load_from_string(exported_cross)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    shapes = {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    assert list(shapes) == ["image", "text", "sound", "present"]
    assert [shape[1] for shape in shapes.values()] == [12, 8, 5, 3]
    assert all(isinstance(shape[0], str) for shape in shapes.values())


def test_the_graph_holds_nothing_of_this_machine(exported: bytes) -> None:
    for word in (str(Path.cwd()), "site-packages", ".py", "stack_trace"):
        assert word.encode() not in exported, word


def test_the_manifest_says_where_the_codes_come_from(bundle: Path, trained: TrainedModel) -> None:
    manifest = verify(bundle)
    assert (manifest.method, manifest.bits, manifest.dims, manifest.opset) == (
        "tiny",
        16,
        {"image": 12, "text": 8},
        OPSET,
    )
    assert [(c.name, c.modality) for c in manifest.codes] == [("code", None)]
    assert manifest.completion.startswith("the mean of the encodings")
    assert manifest.label_names == ("class 0", "class 1", "class 2", "class 3")
    assert {"milvus-ichash", "onnx", "torch"} <= set(manifest.versions)
    assert manifest.training["kept_epoch"] == trained.record.log.kept_epoch
    assert manifest.training["parity"]["batch_sizes"] == [1, 2, 7, 64]
    assert sorted(p.name for p in bundle.iterdir()) == [
        *("encoder.onnx", "golden_vectors.json", "ichash.json", "text_vocabulary.json")
    ]


def test_golden_vectors_are_items_with_gaps_and_their_codes_on_any_machine(
    bundle: Path, trained: TrainedModel, tmp_path: Path
) -> None:
    encoder = HashEncoder.load(bundle)
    golden = read_golden_vectors(bundle, encoder.manifest)
    assert golden is not None
    features = golden.arrays(trained.model.spec.dims)
    present = np.stack([~np.isnan(x).all(axis=1) for x in features.values()], axis=1)
    assert {tuple(row) for row in present.tolist()} == {(True, True), (True, False), (False, True)}
    bits = compare_golden_codes(encoder, bundle)
    assert bits == golden.compared() and 0.9 * 8 * 16 < bits <= 8 * 16
    sure = np.abs(encoder.relaxed(**features)["code"]) > 0.01
    clear = np.array([list(bytes.fromhex(row)) for row in golden.clear["code"]], np.uint8)
    assert np.unpackbits(clear, axis=1)[sure].all(), "what is clear is compared"


@pytest.mark.parametrize(("dims", "rows"), [({"image": 9_000, "text": 1_000}, 4), ({"sound": 100_000}, 1)])
def test_golden_vectors_of_wide_items_are_fewer(
    trained: TrainedModel, monkeypatch: pytest.MonkeyPatch, dims: dict[str, int], rows: int
) -> None:
    present = np.ones((64, len(dims)), np.bool_)
    wide = Probe({m: np.zeros((64, dim), np.float32) for m, dim in dims.items()}, {}, present)
    monkeypatch.setattr(golden_module, "make_probe", lambda *_: wide)
    monkeypatch.setattr(golden_module, "codes_of_torch", lambda *_: {"code": np.ones((64, 16), np.float32)})
    found = golden_module.golden_vectors(trained.model, dims)
    assert len(found.codes["code"]) == rows


def test_the_same_checkpoint_has_the_same_weights_again_and_the_exporter_is_quiet(
    bundle: Path,
    trained: TrainedModel,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    again = export_bundle(copy.deepcopy(trained), tmp_path / "again")
    assert (*capfd.readouterr(), [str(w.message) for w in recwarn]) == ("", "", [])
    assert again.weights_sha256 == read_manifest(bundle).weights_sha256
    assert again.fingerprint != read_manifest(bundle).fingerprint, "a vocabulary decides codes too"


def test_the_digest_sees_every_change(trained: TrainedModel) -> None:
    made_with = trained.record.identity

    def digest(trained: TrainedModel, **changed: Any) -> str:
        return weights_digest(ExportGraph(trained.model), made_with.model_copy(update=changed))

    first = digest(trained)
    assert digest(copy.deepcopy(trained)) == first
    for name, x in trained.model.state_dict().items():
        changed = copy.deepcopy(trained)
        value = changed.model.state_dict()[name]
        value.flatten()[:1].copy_(x.flatten()[:1] + 1)
        assert digest(changed) != first, name
    assert digest(trained, settings={**made_with.settings, "width": 99}) != first
    assert digest(trained, method="other") != first


def test_no_bundle_where_the_gate_is_shut(
    trained: TrainedModel, exported: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = copy.deepcopy(trained)
    with torch.no_grad():
        other.model.method.head.bias += 0.5
    monkeypatch.setattr(module, "to_onnx", lambda graph: exported)
    with pytest.raises(ParityError, match="no bundle was written"):
        export_bundle(other, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_methods")
def test_one_modality_will_do(tmp_path: Path) -> None:
    trained = train(make_table(dims={"sound": 9}), "tiny-cross", 8)
    manifest = export_bundle(trained, tmp_path / "bundle")
    assert [(c.name, c.modality) for c in manifest.codes] == [("sound_code", "sound")]
    assert list(manifest.training["validation"]) == ["mean", "sound->sound"]


def test_a_method_that_cannot_be_exported_is_an_error_in_words(trained: TrainedModel) -> None:
    broken = copy.deepcopy(trained)
    broken.model.method.encode = lambda features, present: {
        "code": features["image"][:, :8] if present.all() else features["text"]
    }
    with pytest.raises(InputError, match="the method's `encode` cannot be exported to ONNX: "):
        to_onnx(ExportGraph(broken.model).eval())
