"""Fixtures of the training frame's tests: two tiny methods, one exported model of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.tiny import make_table, plugin

from ichash_export.onnx.to_onnx import ExportGraph, to_onnx
from ichash_export.train.trained_model import TrainedModel
from ichash_export.train.training import train


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_methods() -> Iterator[None]:
    """`tiny` and `tiny-cross` are in the registry."""
    with plugin():
        yield


@pytest.fixture(scope="session")
def trained() -> TrainedModel:
    """A fused model."""
    with plugin():
        return train(make_table(), "tiny", 16)


@pytest.fixture(scope="session")
def trained_cross() -> TrainedModel:
    """A cross-modal model of three modalities."""
    with plugin():
        return train(make_table(dims={"image": 12, "text": 8, "sound": 5}), "tiny-cross", 16)


@pytest.fixture(scope="session")
def exported(trained: TrainedModel) -> bytes:
    """The fused model's ONNX file."""
    return to_onnx(ExportGraph(trained.model).eval())


@pytest.fixture(scope="session")
def exported_cross(trained_cross: TrainedModel) -> bytes:
    """The cross-modal model's ONNX file."""
    return to_onnx(ExportGraph(trained_cross.model).eval())
