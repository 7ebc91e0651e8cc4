from __future__ import annotations

import logging
import os
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
from milvus_ichash.runtime.onnxruntime_module import warn_once
from milvus_ichash.runtime.session import CPU, CUDA, OutOfMemoryError, device_of, open_session, run

MakeBundle = Callable[..., Path]
without_cuda = pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA")


@pytest.fixture(scope="module")
def graph(make_bundle: MakeBundle) -> Path:
    return make_bundle() / ENCODER


class GpuWheel:
    """onnxruntime-gpu as it is where CUDA cannot be used: a session, silently on the CPU, or an exception."""

    __version__ = onnxruntime.__version__
    SessionOptions = onnxruntime.SessionOptions

    def __init__(self, *, works: bool = False, raises: bool = False, preload: Exception | None = None) -> None:
        self.works, self.raises, self.preload = works, raises, preload
        self.asked: list[list[Any]] = []

    def preload_dlls(self) -> None:
        if self.preload is not None:
            raise self.preload

    def get_available_providers(self) -> list[str]:
        return ["TensorrtExecutionProvider", CUDA, CPU]

    def InferenceSession(self, model: Any, options: Any, *, providers: list[Any], enable_fallback: int) -> Any:  # noqa: N802
        self.asked.append(providers)
        on_cuda = providers != [CPU]
        if on_cuda and self.raises:
            raise RuntimeError("CUDA failure 35: driver too old")
        real = onnxruntime.InferenceSession(model, options, providers=[CPU])
        on_gpu = SimpleNamespace(get_providers=lambda: [CUDA, CPU], get_inputs=list, get_outputs=list)
        return on_gpu if on_cuda and self.works else real


@pytest.fixture
def gpu_wheel(monkeypatch: pytest.MonkeyPatch) -> Callable[..., GpuWheel]:
    def install(**behaviour: Any) -> GpuWheel:
        wheel = GpuWheel(**behaviour)
        monkeypatch.setattr(under_test, "load_onnxruntime", lambda: wheel)
        warn_once.cache_clear()
        return wheel

    return install


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


@pytest.mark.parametrize(
    ("behaviour", "more"),
    [({}, ""), ({"raises": True}, "driver too old"), ({"preload": OSError("libcublas.so.12: bad")}, "libcublas.so.12")],
)
def test_auto_with_the_gpu_wheel_but_without_cuda_warns_once(
    graph: Path,
    gpu_wheel: Callable[..., GpuWheel],
    behaviour: dict[str, Any],
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
        lambda whole: whole.replace(b"batch", b"b\xfftch"),
        lambda whole: whole.replace(b"code_relaxed", b"code_\xffelaxed"),
    ],
    ids=["truncated", "empty", "text", "flipped", "name of a size", "name of an output"],
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


def test_the_name_of_a_graph_may_be_any_bytes(graph: Path, tmp_path: Path) -> None:
    there = tmp_path / b"caf\xe9.onnx".decode("utf-8", "surrogateescape")
    there.write_bytes(graph.read_bytes())
    assert open_session(there, device="cpu").get_providers() == [CPU]


def test_a_run_that_fails_is_one_sentence(graph: Path) -> None:
    feeds = {
        "image": np.zeros((2, 12), np.float32),
        "text": np.zeros((3, 8), np.float32),
        "present": np.ones((2, 2), bool),
    }
    with pytest.raises(InputError, match="batch of 2 rows") as caught:
        run(open_session(graph), ["code"], feeds)
    assert "\n" not in str(caught.value)


def test_the_log_level_of_the_user_stays(
    graph: Path, gpu_wheel: Callable[..., GpuWheel], capfd: pytest.CaptureFixture[str]
) -> None:
    """Onnxruntime has no function that tells the level: what it writes does."""

    def written() -> str:
        capfd.readouterr()
        onnxruntime.InferenceSession(graph, providers=[CPU])
        return capfd.readouterr().err

    gpu_wheel()
    try:
        for level, writes in ((0, True), (4, False)):
            onnxruntime.set_default_logger_severity(level)
            open_session(graph)
            assert bool(written()) is writes
    finally:
        onnxruntime.set_default_logger_severity(2)


def test_what_onnxruntime_says_of_cuda_is_the_reason_and_other_lines_are_written(
    graph: Path, gpu_wheel: Callable[..., GpuWheel], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = gpu_wheel()

    def preload() -> None:
        os.write(2, b"\x1b[1;31m2026-01-01 [E:onnxruntime:Default, provider.cc:1 Try] no libcudnn.so.9\n\x1b[m\n")
        os.write(2, b"a line of another thread\n")

    monkeypatch.setattr(wheel, "preload_dlls", preload)
    with pytest.raises(BackendMissingError, match=r"CUDA cannot be used: no libcudnn\.so\.9\. There is"):
        open_session(graph, device="cuda")
    assert capfd.readouterr().err == "a line of another thread\n"


def two_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}
    monkeypatch.setattr("milvus_ichash.runtime.onnxruntime_module.installed_distributions", lambda: both)
    warn_once.cache_clear()


@without_cuda
def test_two_distributions_are_a_note_where_the_cpu_will_do(
    graph: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    two_distributions(monkeypatch)
    assert [device_of(open_session(graph)) for _ in range(3)] == ["cpu"] * 3
    (record,) = caplog.records
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in record.getMessage()


@without_cuda
def test_two_distributions_are_an_error_where_cuda_was_asked_for(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_distributions(monkeypatch)
    with pytest.raises(
        BackendMissingError, match=r"CUDA cannot be used: .*pip uninstall -y onnxruntime onnxruntime-gpu"
    ):
        open_session(graph, device="cuda")


@pytest.mark.parametrize(
    "said",
    [
        "/onnxruntime_src/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to "
        "allocate memory for requested buffer of size 939524096",
        "bfc_arena.cc:360 Available memory of 877568 is smaller than requested bytes of 2097152",
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; file=cuda_allocator.cc",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "std::bad_alloc",
    ],
)
def test_what_is_said_where_memory_does_not_suffice(said: str) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError(f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Status Message: {said}")

    with pytest.raises(OutOfMemoryError):
        run(SimpleNamespace(run=fails), [], {"x": np.zeros((2, 1))})  # type: ignore[arg-type]


@pytest.mark.parametrize("said", ["CUDA failure 35: driver too old", "CUDA failure 201: x", "Got invalid dimensions"])
def test_other_failures_are_not_of_memory(said: str) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError(said)

    with pytest.raises(InputError) as caught:
        run(SimpleNamespace(run=fails), [], {"x": np.zeros((2, 1))})  # type: ignore[arg-type]
    assert not isinstance(caught.value, OutOfMemoryError)
