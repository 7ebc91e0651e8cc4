"""ONNX files that declare inputs or outputs of absurd sizes are refused before they are opened.

onnxruntime asks for memory of these sizes while it opens the file: 2 GB for one number in it.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from milvus_ichash.bundle.protobuf import VARINT, fields_within, varint_at
from milvus_ichash.errors import InputError

_MOST = 1 << 24
_PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph"},
    "graph": {11: "value", 12: "value", 13: "value"},
    "value": {2: "type"},
    "type": {1: "tensor"},
    "tensor": {2: "shape"},
    "shape": {1: "dimension"},
    "dimension": {},
}
"""The fields of each message, by number, that lead to the sizes of a graph's inputs and outputs (onnx.proto)."""
_SIZE = 1  # field of a dimension


def check_declared_sizes(path: Path, cure: str) -> None:
    """Raise InputError where an ONNX file declares an input or output with more than 16 million columns.

    A file that is no ONNX graph at all is left to onnxruntime to refuse.
    """
    if not path.stat().st_size:
        return
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            largest = _largest(content)
        except ValueError:
            return
    if largest > _MOST:
        raise InputError(f"'{path}' declares an input or output of size {largest:,}: {cure}.")


def _largest(content: mmap.mmap) -> int:
    largest = 0
    for message, number, kind, first, last in fields_within(content, "model", _PARTS):
        if message == "dimension" and (number, kind) == (_SIZE, VARINT):
            size, _ = varint_at(content, first, last)
            # Negative sizes are numbers of 64 bits with the first one set; onnxruntime refuses them itself.
            largest = max(largest, size if size < 1 << 63 else 0)
    return largest
