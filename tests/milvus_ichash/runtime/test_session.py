from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from milvus_ichash.bundle import ENCODER
from milvus_ichash.errors import BackendMissingError, InputError
from milvus_ichash.runtime import session as under_test
from milvus_ichash.runtime.session import CPU, CUDA, check_distributions, device_of, load_onnxruntime, open_session, run

MakeBundle = Callable[..., Path]
without_cuda = pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA")


@pytest.fixture(scope="module")
def graph(make_bundle: MakeBundle) -> Path:
    return make_bundle() / ENCODER


class GpuWheel:
    """onnxruntime-gpu as it is where CUDA cannot be used: a session, silently on the CPU, or an exception."""

    __version__ = onnxruntime.__version__
    SessionOptions = onnxruntime.SessionOptions
    set_default_logger_severity = staticmethod(onnxruntime.set_default_logger_severity)

    def __init__(self, *, works: bool = False, raises: bool = False) -> None:
        self.works, self.raises = works, raises
        self.asked: list[list[Any]] = []

    def get_available_providers(self) -> list[str]:
        return ["TensorrtExecutionProvider", CUDA, CPU]

    def InferenceSession(self, model: Any, options: Any, *, providers: list[Any], enable_fallback: int) -> Any:  # noqa: N802
        self.asked.append(providers)
        on_cuda = providers != [CPU]
        if on_cuda and self.raises:
            raise RuntimeError("CUDA failure 35: driver too old")
        real = onnxruntime.InferenceSession(model, options, providers=[CPU])
        return SimpleNamespace(get_providers=lambda: [CUDA, CPU]) if on_cuda and self.works else real


@pytest.fixture
def gpu_wheel(monkeypatch: pytest.MonkeyPatch) -> Callable[..., GpuWheel]:
    def install(**behaviour: bool) -> GpuWheel:
        wheel = GpuWheel(**behaviour)
        monkeypatch.setattr(under_test, "load_onnxruntime", lambda: wheel)
        under_test._warn_once.cache_clear()
        return wheel

    return install


def said_when_loaded(path: Path) -> str:
    """What loading onnxruntime writes to stderr where Python looks into this folder too."""
    load = "from milvus_ichash.runtime.session import load_onnxruntime; load_onnxruntime()"
    env = os.environ | {"PYTHONPATH": str(path)}
    return subprocess.run([sys.executable, "-c", load], env=env, capture_output=True, text=True).stderr


def test_cpu_is_cpu_and_auto_is_what_there_is(graph: Path) -> None:
    assert device_of(open_session(graph, device="cpu")) == "cpu"
    assert open_session(graph, device="cpu").get_providers() == [CPU]


@without_cuda
def test_cuda_without_cuda_says_what_there_is(graph: Path) -> None:
    with pytest.raises(
        BackendMissingError, match=rf"CUDA cannot be used.*There is: .*{CPU}.*milvus-ichash\[gpu\]"
    ) as caught:
        open_session(graph, device="cuda")
    assert caught.value.exit_code == 6


@without_cuda
def test_auto_without_the_gpu_wheel_says_nothing(graph: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert device_of(open_session(graph)) == "cpu"
    assert not caplog.records


@pytest.mark.parametrize(("behaviour", "more"), [({}, ""), ({"raises": True}, "driver too old")])
def test_auto_with_the_gpu_wheel_but_without_cuda_warns_once(
    graph: Path,
    gpu_wheel: Callable[..., GpuWheel],
    behaviour: dict[str, bool],
    more: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gpu_wheel(**behaviour)
    with caplog.at_level(logging.WARNING):
        assert [device_of(open_session(graph)) for _ in range(3)] == ["cpu"] * 3
    (record,) = caplog.records
    assert "CUDA cannot be used" in record.getMessage() and more in record.getMessage()


def test_a_silent_fallback_is_an_error_where_cuda_was_asked_for(
    graph: Path, gpu_wheel: Callable[..., GpuWheel]
) -> None:
    gpu_wheel()
    with pytest.raises(BackendMissingError, match=r"nvidia-smi.*--device cpu"):
        open_session(graph, device="cuda")


def test_cuda_is_asked_for_exact_arithmetic_and_tensorrt_never(graph: Path, gpu_wheel: Callable[..., GpuWheel]) -> None:
    wheel = gpu_wheel(works=True)
    assert device_of(open_session(graph)) == "cuda"
    assert wheel.asked == [[(CUDA, {"use_tf32": "0"}), CPU]]


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_damaged_file_is_no_reason_to_blame_cuda(
    tmp_path: Path, gpu_wheel: Callable[..., GpuWheel], device: str
) -> None:
    gpu_wheel(raises=True)
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match="damaged"):
        open_session(tmp_path / "x.onnx", device=device)


@pytest.mark.parametrize(
    "damaged",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"",
        lambda whole: b"hello",
        lambda whole: whole[:9] + b"\xff" * 9 + whole[18:],
    ],
    ids=["truncated", "empty", "text", "flipped"],
)
def test_a_damaged_file(graph: Path, tmp_path: Path, damaged: Callable[[bytes], bytes]) -> None:
    (tmp_path / "x.onnx").write_bytes(damaged(graph.read_bytes()))
    with pytest.raises(InputError, match=r"x\.onnx' is damaged or no ONNX graph") as caught:
        open_session(tmp_path / "x.onnx")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        (ENCODER, {"device": "tpu"}, "auto, cpu or cuda"),
        (ENCODER, {"threads": 0}, "0 threads"),
        ("other.onnx", {}, "is not there"),
    ],
)
def test_arguments_that_cannot_be_used(graph: Path, name: str, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        open_session(graph.with_name(name), **options)


def test_threads_reach_onnxruntime(graph: Path) -> None:
    assert open_session(graph, threads=3).get_session_options().intra_op_num_threads == 3


def test_a_run_that_fails_is_one_sentence(graph: Path) -> None:
    feeds = {
        "image": np.zeros((2, 12), np.float32),
        "text": np.zeros((3, 8), np.float32),
        "present": np.ones((2, 2), bool),
    }
    with pytest.raises(InputError, match="batch of 2 rows") as caught:
        run(open_session(graph), ["code"], feeds)
    assert "\n" not in str(caught.value)


def test_two_distributions_are_refused_with_the_cure() -> None:
    check_distributions(["onnxruntime-gpu"])
    check_distributions([])
    with pytest.raises(
        BackendMissingError,
        match=r"onnxruntime and onnxruntime-gpu.*pip uninstall -y onnxruntime onnxruntime-gpu.*\[cpu\]",
    ):
        check_distributions(["onnxruntime", "onnxruntime-gpu"])


def test_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(under_test, "installed_distributions", dict)
    with pytest.raises(
        BackendMissingError, match=r"not installed: pip install 'milvus-ichash\[cpu\]', or 'milvus-ichash\[gpu\]'"
    ):
        load_onnxruntime()


def test_two_distributions_that_are_really_there(tmp_path: Path) -> None:
    for name in ("onnxruntime", "onnxruntime-gpu"):
        info = tmp_path / f"{name.replace('-', '_')}-1.31.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.31.1\n")
    assert "onnxruntime and onnxruntime-gpu are both installed" in said_when_loaded(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"), [("", "is damaged"), ("raise ImportError('libfoo.so')", "cannot be imported (libfoo.so)")]
)
def test_a_module_that_is_not_whole(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text(content)
    assert problem in said_when_loaded(tmp_path)
