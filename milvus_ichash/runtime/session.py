"""Sessions of onnxruntime: the one place that chooses where a graph runs, and that knows onnxruntime's traps.

The distribution for GPUs falls back to the CPU silently where CUDA cannot be used. TensorRT is never asked for: it
compiles for minutes and rounds differently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from milvus_ichash.choices import Device
from milvus_ichash.errors import BackendMissingError, InputError
from milvus_ichash.printable import is_utf8
from milvus_ichash.runtime.onnxruntime_module import load_onnxruntime, several_installed, warn_once
from milvus_ichash.runtime.quiet import quiet

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

# TF32, the default on newer GPUs, flips bits against codes made on a CPU.
_CUDA_OPTIONS = {"use_tf32": "0"}

# An ONNX graph with one Identity node: enough to see whether CUDA works.
_IDENTITY = bytes.fromhex(
    "080812003a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801620f0a0179120a0a08080112040a02080142040a001012"
)

_FATAL = 4
"""The level of onnxruntime's log that leaves out errors."""

_TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)", "bool": "tensor(bool)"}

_NO_MEMORY = re.compile(
    r"failed to allocate|out of memory|bad_?alloc|ALLOC_FAILED|available memory of \d+ is smaller|BFCArena|"
    r"CUDA (failure|error):? 2\b|not enough (memory|space)",
    re.IGNORECASE,
)
"""What onnxruntime, CUDA and cuBLAS say where memory does not suffice; there is no class or code for it."""


class OutOfMemoryError(InputError):
    """A batch does not fit into the memory of the GPU, or of the computer. A smaller one may."""


def open_session(path: str | Path, *, device: Device = "auto", threads: int | None = None) -> InferenceSession:
    """Open an ONNX file.

    Args:
        path: the file.
        device: "cpu"; "cuda", which must work; or "auto": CUDA where it works, else the CPU.
        threads: threads of one operator on the CPU; None: as many as there are cores.

    Raises:
        BackendMissingError: onnxruntime is missing or damaged, or "cuda" cannot be had.
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
    warn_once(
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
        OutOfMemoryError: memory does not suffice for so many rows.
        InputError: onnxruntime fails otherwise (a graph that only fits one batch size, say).
    """
    from onnxruntime import RunOptions

    # The error has it all; the same in red on stderr, between our own lines, would be the second time.
    options = RunOptions()
    options.log_severity_level = _FATAL
    try:
        results: list[npt.NDArray[Any]] = session.run(outputs, feeds, options)
    except Exception as error:  # its error classes live in a private module
        rows = len(next(iter(feeds.values())))
        kind = OutOfMemoryError if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) else InputError
        raise kind(f"onnxruntime cannot run the graph on a batch of {rows} rows: {_short(error)}") from error
    return results


def _try_cuda(ort: Any, model: str | Path | bytes, threads: int | None) -> tuple[InferenceSession | None, str]:
    """Return a session on CUDA and "", or None and the reason why there is none."""
    if CUDA not in ort.get_available_providers():
        return None, "this onnxruntime is built without CUDA"
    with quiet() as said:
        try:
            if hasattr(ort, "preload_dlls"):
                ort.preload_dlls()  # CUDA and cuDNN from pip packages, which the system's loader does not find
        except Exception as error:  # of any kind: it loads whatever libraries it finds
            return None, f"its libraries cannot be loaded, {_short(error).rstrip('.')}"
        try:
            session = _create(ort, model, [(CUDA, _CUDA_OPTIONS), CPU], threads)
        except InputError as error:
            # A damaged file fails on the CPU as well, and is reported from there.
            _create(ort, model, [CPU], threads)
            return None, _short(error.__cause__ or error).rstrip(".")
    if device_of(session) == "cuda":
        return session, ""
    return None, next(iter(said), "its libraries or the driver cannot be loaded")


def _create(ort: Any, model: str | Path | bytes, providers: list[Any], threads: int | None) -> InferenceSession:
    options = ort.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        # onnxruntime takes no path that is not UTF-8.
        given = model if isinstance(model, bytes) else str(model) if is_utf8(str(model)) else Path(model).read_bytes()
        # Without `enable_fallback=0`, onnxruntime prints failures to stdout and goes on.
        session: InferenceSession = ort.InferenceSession(given, options, providers=providers, enable_fallback=0)
        for node in (*session.get_inputs(), *session.get_outputs()):
            _ = node.name, node.shape  # names in them that are no UTF-8 are noticed only where they are read
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


def _no_cuda(available: Sequence[str], reason: str) -> str:
    there = ", ".join(available)
    several = several_installed()
    if several:
        return f"CUDA cannot be used: {reason}. There is: {there}. {several}; or take --device cpu."
    cure = (
        "check the driver with nvidia-smi, and the libraries with pip install 'onnxruntime-gpu[cuda,cudnn]'"
        if CUDA in available
        else "uninstall onnxruntime and pip install 'milvus-ichash[gpu]'"
    )
    return f"CUDA cannot be used: {reason}. There is: {there}. To have it, {cure}; or take --device cpu."
