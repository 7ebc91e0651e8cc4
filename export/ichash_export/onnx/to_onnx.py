"""From a trained model to a bundle: one ONNX graph, compared with torch before anything is written."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from ichash_export.onnx.attachments import Attachment
from ichash_export.onnx.golden import golden_vectors
from ichash_export.onnx.parity import compare_with_torch
from ichash_export.train.model import Model
from ichash_export.train.run_record import RunIdentity
from ichash_export.train.trained_model import TrainedModel
from milvus_ichash.bundle import ENCODER, PRESENT, CodeOutput, Manifest, modalities_of, save
from milvus_ichash.bundle.golden_vectors import GOLDEN_VECTORS
from milvus_ichash.errors import InputError
from milvus_ichash.version import __version__

OPSET = 18


class ExportGraph(nn.Module):
    """What becomes `encoder.onnx`: scaling, encoding, completion and the packing of bits.

    The inputs are float32 (batch, D_m) for each modality, then `present`, bool (batch, M). The outputs for each code
    are its packed bits, uint8 (batch, bits / 8), and its relaxed values, float32 (batch, bits). An item without any
    modality has zeros in both, so that no program mistakes the code of nothing for that of an item.
    """

    places: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("places", torch.tensor([128.0, 64, 32, 16, 8, 4, 2, 1]), persistent=False)

    @property
    def input_names(self) -> list[str]:
        """The modalities, then `present`."""
        return [*self.model.spec.modalities, PRESENT]

    @property
    def output_names(self) -> list[str]:
        """`<code>` and `<code>_relaxed` for each code."""
        return [name for code in self.model.method.codes for name in (code, f"{code}_relaxed")]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs from the inputs, both in the order of their names."""
        *features, present = inputs
        relaxed = self.model(dict(zip(self.model.spec.modalities, features, strict=True)), present)
        something = present.any(dim=1, keepdim=True)
        outputs: list[Tensor] = []
        for code in self.model.method.codes:
            u = torch.where(something, relaxed[code], torch.zeros(()))  # also where a method divides by zero items
            outputs += [self.pack(u), u]
        return tuple(outputs)

    def pack(self, relaxed: Tensor) -> Tensor:
        """Pack relaxed values as `milvus_ichash.codes` does; sums of powers of two are exact in float32."""
        bits = (relaxed > 0).to(torch.float32).reshape(-1, relaxed.shape[1] // 8, 8)
        return (bits @ self.places).to(torch.uint8)


def export_bundle(
    trained: TrainedModel,
    out: str | Path,
    *,
    attachments: Mapping[str, Attachment] | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Export a trained model, check it and write the bundle.

    Args:
        trained: the model.
        out: the folder of the bundle.
        attachments: vocabularies and picture towers by modality.
        overwrite: replace a bundle that is in the folder already.

    Returns:
        The manifest as written.

    Raises:
        InputError: the folder is taken, or the method cannot be exported.
        ParityError: torch and onnxruntime make different codes; nothing is written.

    Example:
        export_bundle(train(table, "unihash", 64), "bundle")
    """
    graph = ExportGraph(trained.model).eval()
    content = to_onnx(graph)
    parity = compare_with_torch(trained.model, content, dims=trained.model.spec.dims)
    given = attachments or {}
    method, record = trained.model.method, trained.record
    manifest = Manifest(
        method=record.identity.method,
        bits=trained.model.spec.bits,
        modalities=modalities_of(trained.model.spec.dims),
        codes=tuple(CodeOutput(name=name, modality=modality) for name, modality in method.codes.items()),
        raw={modality: attachment.step for modality, attachment in given.items()},
        weights_sha256=weights_digest(graph, record.identity),
        completion=method.completion(),
        golden_vectors=GOLDEN_VECTORS,
        nested=method.nested,
        label_names=record.label_names,
        opset=OPSET,
        versions={"milvus-ichash": __version__, "onnx": onnx.__version__, **record.versions},
        training={**record.summary.model_dump(mode="json"), "parity": asdict(parity)},
    )
    golden = golden_vectors(trained.model, trained.model.spec.dims).model_dump_json() + "\n"
    files: dict[str, Path | bytes] = {ENCODER: content, GOLDEN_VECTORS: golden.encode()} | {
        attachment.name: attachment.path for attachment in given.values()
    }
    return save(out, manifest, files, overwrite=overwrite)


def to_onnx(graph: ExportGraph) -> bytes:
    """Return the graph as the bytes of an ONNX file.

    Raises:
        InputError: torch's exporter cannot translate the graph.
    """
    # An example batch of one would fix the batch size; three rows also show different patterns of presence.
    rows = 3
    dims = graph.model.spec.dims
    present = torch.ones(rows, len(dims), dtype=torch.bool)
    for row in range(1, rows):
        present[row, (row - 1) % len(dims)] = len(dims) == 1
    example = (*(torch.zeros(rows, dim) for dim in dims.values()), present)
    batch = torch.export.Dim("batch")
    try:
        with quiet():
            program: Any = torch.onnx.export(
                graph,
                example,
                dynamo=True,
                input_names=graph.input_names,
                output_names=graph.output_names,
                dynamic_shapes=(tuple({0: batch} for _ in example),),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise InputError(
            f"the method's `encode` cannot be exported to ONNX: {type(error).__name__}: {first}"
        ) from error
    content: bytes = _without_traces(program.model_proto).SerializeToString()
    return content


def weights_digest(graph: ExportGraph, made_with: RunIdentity) -> str:
    """Return a sha256 over names, types, shapes and values of the graph's state, and over the method and its settings.

    The state is that of torch, since the constants of the ONNX file change with the version of the exporter. The
    settings count because one of them may change the codes without changing a weight.
    """
    digest = hashlib.sha256(json.dumps([made_with.method, made_with.settings], sort_keys=True).encode())
    for name, x in sorted(graph.state_dict().items()):
        digest.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
        digest.update(x.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without the notes of the exporter, which quote source files and their paths on this machine."""
    parts = [model, model.graph, *model.functions]
    for body in (model.graph, *model.functions):
        parts += [*body.node, *body.value_info]
    parts += [*model.graph.input, *model.graph.output, *model.graph.initializer]
    for part in parts:
        del part.metadata_props[:]
        part.doc_string = ""
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter, which prints and warns about things that nobody here can act on."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
