"""ONNX files that keep weights in other files, which no sha256 of a manifest covers, are refused.

onnxruntime follows such references, out of the folder too, and into memory. The package `onnx` is not needed: of the
protobuf messages, only what leads to tensors is read here.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from milvus_ichash.bundle.protobuf import fields_within
from milvus_ichash.errors import InputError

_PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""The fields of each message, by number, that hold tensors or lead to them (onnx.proto)."""
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of a tensor
_MOST_FIELDS = 4_000_000


def check_self_contained(path: Path, cure: str) -> None:
    """Raise InputError where an ONNX file keeps tensors in other files, or is no ONNX file; `cure` says what to do.

    Values of tensors are passed over unread, so the size of the file does not matter.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _refers_to_files(content)
    except ValueError as error:  # also where the file is empty
        raise InputError(f"'{path}' is damaged or no ONNX graph: {error}.") from error
    if found:
        raise InputError(f"'{path}' keeps weights in another file (external data), which nobody checks: {cure}.")


def _refers_to_files(content: mmap.mmap) -> bool:
    for seen, (message, number, _, first, last) in enumerate(fields_within(content, "model", _PARTS), 1):
        if seen > _MOST_FIELDS:
            raise ValueError("it has more parts than a graph can need")
        if message == "tensor" and (
            number == _EXTERNAL_DATA or (number == _DATA_LOCATION and content[first:last].strip(b"\0\x80"))
        ):
            return True
    return False
