"""The names that files of a bundle may have: the same file on every system, and nothing outside the folder."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

MANIFEST = "ichash.json"
ENCODER = "encoder.onnx"

_PLAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""What Windows takes for a device, with any ending."""


def _plain(name: str) -> str:
    if not _PLAIN.fullmatch(name) or _DEVICE.fullmatch(name):
        raise ValueError(
            f"'{name}' is no plain file name: use letters, digits, '.', '_' and '-', and no name of a device"
        )
    if name.lower() == MANIFEST:
        raise ValueError(f"'{name}' is the manifest itself")
    return name


def _graph(name: str) -> str:
    # By another ending, onnxruntime may take the file for one of its own formats.
    if not name.endswith(".onnx"):
        raise ValueError(f"'{name}' is no name of an ONNX file: let it end with .onnx")
    return name


PlainName = Annotated[str, Field(max_length=200), AfterValidator(_plain)]
"""The name of a file, without a folder."""
GraphName = Annotated[PlainName, AfterValidator(_graph)]
"""The name of an ONNX file, without a folder."""
