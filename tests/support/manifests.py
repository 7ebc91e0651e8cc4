"""A manifest, and changes to one that lies on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from milvus_ichash.bundle import MANIFEST, CodeOutput, Manifest, Modality

NETWORK = {"file": "completion.onnx", "inputs": ["text", "present"], "outputs": ["image"]}


def manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "method": "linear",
        "bits": 16,
        "modalities": (Modality(name="image", dim=12), Modality(name="text", dim=8)),
        "codes": (CodeOutput(name="code"),),
        "weights_sha256": "0" * 64,
        "opset": 18,
    }
    return Manifest(**(fields | changes))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the fields of a bundle's manifest by hand."""
    content = json.loads((folder / MANIFEST).read_text())
    change(content)
    (folder / MANIFEST).write_text(json.dumps(content))
