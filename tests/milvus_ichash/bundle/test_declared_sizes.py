from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from milvus_ichash.bundle import ENCODER, MANIFEST, sha256_of, verify
from milvus_ichash.bundle.declared_sizes import check_declared_sizes
from milvus_ichash.errors import InputError

MakeBundle = Callable[..., Path]


def declare(bundle: Path, where: str, size: int) -> Path:
    """Change the last size that the graph declares of its first input, output or inner value."""
    model = onnx.load(bundle / ENCODER)
    if where == "value_info":
        model.graph.value_info.add().CopyFrom(model.graph.input[0])
    getattr(model.graph, where)[0].type.tensor_type.shape.dim[-1].dim_value = size
    onnx.save(model, bundle / ENCODER)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"][ENCODER] = sha256_of(bundle / ENCODER)
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    return bundle


@pytest.mark.parametrize("where", ["input", "output", "value_info"])
@pytest.mark.parametrize("size", [1 << 31, (1 << 63) - 1])
def test_an_absurd_size_is_refused_before_the_graph_is_opened(make_bundle: MakeBundle, where: str, size: int) -> None:
    bundle = declare(make_bundle(), where, size)
    with pytest.raises(InputError, match=f"declares an input or output of size {size:,}: export the bundle again"):
        verify(bundle)


@pytest.mark.parametrize("size", [12, 1 << 24, -1, 0])
def test_other_sizes_are_left_to_onnxruntime(make_bundle: MakeBundle, size: int) -> None:
    verify(declare(make_bundle(), "input", size))


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x3a\xff\xff\xff\xff\x0f"])
def test_what_is_no_graph_is_left_to_onnxruntime(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    check_declared_sizes(tmp_path / "x.onnx", "")
