"""Sessions of onnxruntime: the one place that chooses where a graph runs, and that knows onnxruntime's traps.

`onnxruntime` and `onnxruntime-gpu` are two distributions of one module and overwrite each other; the GPU one falls
back to the CPU silently where CUDA cannot be used. TensorRT is never asked for: it compiles for minutes and rounds
differently.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache
from importlib import metadata
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from milvus_ichash.choices import Device
from milvus_ichash.errors import BackendMissingError, InputError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-rocm")
INSTALL = "pip install 'milvus-ichash[cpu]', or 'milvus-ichash[gpu]' with an NVIDIA GPU"

# TF32, the default on newer GPUs, flips bits against codes made on a CPU.
_CUDA_OPTIONS = {"use_tf32": "0"}

# An ONNX graph with one Identity node: enough to see whether CUDA works.
_IDENTITY = bytes.fromhex(
    "080812003a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801620f0a0179120a0a08080112040a02080142040a001012"
)

_TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)", "bool": "tensor(bool)"}

_log = logging.getLogger(__name__)


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution, without importing it; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def installed_distributions() -> dict[str, str]:
    """Return the versions of the distributions of onnxruntime that are installed, by name."""
    return {name: version for name in DISTRIBUTIONS if (version := version_of(name))}


def check_distributions(installed: Sequence[str]) -> None:
    """Raise BackendMissingError, with the cure, where two distributions of onnxruntime are installed side by side."""
    if len(installed) > 1:
        names = " and ".join(installed)
        raise BackendMissingError(
            f"{names} are both installed and overwrite each other's files: "
            f"pip uninstall -y {' '.join(installed)}, then {INSTALL}."
        )


def load_onnxruntime() -> Any:
    """Import onnxruntime and return it.

    Raises:
        BackendMissingError: it is not installed, installed twice, or damaged.
    """
    installed = installed_distributions()
    check_distributions(list(installed))
    try:
        import onnxruntime
    except ImportError as error:
        if not installed:
            raise BackendMissingError(f"onnxruntime is not installed: {INSTALL}.") from error
        raise BackendMissingError(
            f"onnxruntime is installed but cannot be imported ({error}): install it anew, {INSTALL}."
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        # What is left behind when one of two distributions was uninstalled.
        raise BackendMissingError(
            f"onnxruntime is damaged (its folder is there, its content is not): uninstall it, then {INSTALL}."
        )
    return onnxruntime


def open_session(path: str | Path, *, device: Device = "auto", threads: int | None = None) -> InferenceSession:
    """Open an ONNX file.

    Args:
        path: the file.
        device: "cpu"; "cuda", which must work; or "auto": CUDA where it works, else the CPU.
        threads: threads of one operator on the CPU; None: as many as there are cores.

    Raises:
        BackendMissingError: onnxruntime is missing, installed twice or damaged, or "cuda" cannot be had.
        InputError: the file cannot be read as ONNX, or the number of threads cannot be used.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"there is no device '{device}': choose auto, cpu or cuda.")
    if threads is not None and threads < 1:
        raise InputError(f"{threads} threads cannot run anything: take 1 or more.")
    ort = load_onnxruntime()
    if not Path(path).is_file():
        raise InputError(f"'{path}' is not there.")
    if device == "cpu" or (device == "auto" and CUDA not in ort.get_available_providers()):
        return _create(ort, path, [CPU], threads)
    session, reason = _try_cuda(ort, path, threads)
    if session is not None:
        return session
    if device == "cuda":
        raise BackendMissingError(_no_cuda(ort.get_available_providers(), reason))
    _warn_once(
        f"onnxruntime-gpu is installed, but CUDA cannot be used ({reason}): running on the CPU. "
        "`--device cpu` says so on purpose."
    )
    return _create(ort, path, [CPU], threads)


def device_of(session: InferenceSession) -> Literal["cpu", "cuda"]:
    """Return where a session really runs."""
    return "cuda" if CUDA in session.get_providers() else "cpu"


def cuda_problem() -> str | None:
    """Return why CUDA cannot be used, or None where it can.

    Raises:
        BackendMissingError: onnxruntime itself cannot be used.
    """
    session, reason = _try_cuda(load_onnxruntime(), _IDENTITY, None)
    return reason if session is None else None


def fits(node: Any, kind: str, *sizes: int) -> bool:
    """Return whether an input or output of a graph is (batch, *sizes) of this kind, "float32", "uint8" or "bool".

    Any size but the batch's may be left open; the batch's must be.
    """
    batch, *rest = node.shape or [0]
    # A size that the graph leaves open is a string or None.
    same = [size == want or not isinstance(size, int) for size, want in zip(rest, sizes, strict=False)]
    return node.type == _TYPES[kind] and not isinstance(batch, int) and len(rest) == len(sizes) and all(same)


def run(
    session: InferenceSession, outputs: Sequence[str], feeds: Mapping[str, npt.NDArray[Any]]
) -> list[npt.NDArray[Any]]:
    """Run a graph and return the arrays of these outputs, in this order.

    Raises:
        InputError: onnxruntime fails (out of memory on the GPU, say, or a graph that only fits one batch size).
    """
    try:
        results: list[npt.NDArray[Any]] = session.run(outputs, feeds)
    except Exception as error:  # its error classes live in a private module
        rows = len(next(iter(feeds.values())))
        raise InputError(f"onnxruntime cannot run the graph on a batch of {rows} rows: {_short(error)}") from error
    return results


def _try_cuda(ort: Any, model: str | Path | bytes, threads: int | None) -> tuple[InferenceSession | None, str]:
    """Return a session on CUDA and "", or None and the reason why there is none."""
    if CUDA not in ort.get_available_providers():
        return None, "this onnxruntime is built without CUDA"
    with _quiet(ort) as said:
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # CUDA and cuDNN from pip packages, which the system's loader does not find
        try:
            session = _create(ort, model, [(CUDA, _CUDA_OPTIONS), CPU], threads)
        except InputError as error:
            # A damaged file fails on the CPU as well, and is reported from there.
            _create(ort, model, [CPU], threads)
            return None, _short(error.__cause__ or error).rstrip(".")
    if device_of(session) == "cuda":
        return session, ""
    return None, next(iter(said.getvalue().splitlines()), "its libraries or the driver cannot be loaded")


def _create(ort: Any, model: str | Path | bytes, providers: list[Any], threads: int | None) -> InferenceSession:
    options = ort.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        # Without `enable_fallback=0`, onnxruntime prints failures to stdout and goes on.
        session: InferenceSession = ort.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=providers, enable_fallback=0
        )
    except Exception as error:  # its error classes live in a private module
        raise InputError(
            f"'{model!s}' is damaged or no ONNX graph that onnxruntime {ort.__version__} can run: {_short(error)}"
        ) from error
    return session


def _short(error: BaseException) -> str:
    """Return onnxruntime's message without its code and the path, which is named already."""
    text = " ".join(str(error).split())
    text = text.rpartition("failed:")[2].strip() or text
    return (text if len(text) <= 200 else text[:200] + "...").rstrip(".") + "."


@contextmanager
def _quiet(ort: Any) -> Iterator[StringIO]:
    """Keep onnxruntime from writing to stderr, and catch what it prints to stdout, for one sentence of our own."""
    ort.set_default_logger_severity(4)
    try:
        with redirect_stdout(StringIO()) as said:
            yield said
    finally:
        ort.set_default_logger_severity(2)


def _no_cuda(available: Sequence[str], reason: str) -> str:
    there = ", ".join(available)
    cure = (
        "check the driver with nvidia-smi, and the libraries with pip install 'onnxruntime-gpu[cuda,cudnn]'"
        if CUDA in available
        else "uninstall onnxruntime and pip install 'milvus-ichash[gpu]'"
    )
    return f"CUDA cannot be used: {reason}. There is: {there}. To have it, {cure}; or take --device cpu."


@lru_cache
def _warn_once(message: str) -> None:
    _log.warning(message)
