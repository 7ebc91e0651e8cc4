"""Checkpoints: one safetensors file, tensors as they are and everything else as JSON in its header. No pickle.

One file, written beside its place and renamed onto it, so that a run killed at any moment leaves a whole checkpoint: the new
one or the one before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from milvus_ichash.errors import InputError

CHECKPOINT = "checkpoint.safetensors"
FORMAT = 1
_JSON = "ichash"


@dataclass(frozen=True)
class Checkpoint:
    """A run between two epochs.

    Attributes:
        info: everything that is no tensor; must be JSON.
        weights: state of the model.
        best: state of the model at its best validation; empty where that is `weights`, or there was none.
        state: the method's own tensors (`Method.state`).
        optimizers: `state_dict()` of each optimiser.
    """

    info: dict[str, Any]
    weights: dict[str, Tensor]
    best: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)
    optimizers: dict[str, dict[str, Any]] = field(default_factory=dict)


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the old one stays whole until the new one is.

    Raises:
        InputError: where it cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    document = {
        "format": FORMAT,
        "info": checkpoint.info,
        "optimizers": {
            name: _plain(tree, f"optimizers/{name}", tensors) for name, tree in checkpoint.optimizers.items()
        },
    }
    for part in ("weights", "best", "state"):
        tensors.update({f"{part}/{name}": x for name, x in getattr(checkpoint, part).items()})
    # safetensors refuses tensors that share memory, such as tied weights: each gets its own.
    own = {name: x.detach().to("cpu", copy=True).contiguous() for name, x in tensors.items()}
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(own, partial, metadata={_JSON: json.dumps(document)})
        partial.chmod(0o644)  # safetensors writes for the owner only
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"the checkpoint '{path}' cannot be written: {error}.") from error


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, tensors on the CPU.

    Raises:
        InputError: where it is not there, or is not a whole checkpoint of this format.
    """
    document, tensors = _read(path, with_tensors=True)
    return Checkpoint(
        info=document["info"],
        weights=_part(tensors, "weights"),
        best=_part(tensors, "best"),
        state=_part(tensors, "state"),
        optimizers={name: _restored(tree, tensors) for name, tree in document["optimizers"].items()},
    )


def load_info(path: Path) -> dict[str, Any]:
    """Only `Checkpoint.info`, without reading the tensors.

    Raises:
        InputError: as `load`.
    """
    info: dict[str, Any] = _read(path, with_tensors=False)[0]["info"]
    return info


def checkpoint_path(run: str | Path) -> Path:
    """The checkpoint of a run folder, or the file itself where a file is given."""
    return Path(run) / CHECKPOINT if Path(run).is_dir() else Path(run)


def _read(path: Path, *, with_tensors: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"there is no checkpoint at '{path}': give the folder that `milvus-ichash train --out` wrote.")
    try:
        # The numpy reader opens the file once; torch's opens it a second time, which may by then be the next
        # checkpoint.
        with safe_open(path, framework="numpy") as file:
            document = json.loads((file.metadata() or {})[_JSON])
            names = file.keys() if with_tensors else ()
            tensors = {name: torch.from_numpy(file.get_tensor(name)) for name in names}
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise InputError(f"'{path}' is not a whole checkpoint of milvus-ichash ({error}): train again.") from error
    if document["format"] != FORMAT:
        raise InputError(
            f"'{path}' is of checkpoint format {document['format']!r}; this version reads format {FORMAT}."
        )
    return document, tensors


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}/"): x for name, x in tensors.items() if name.startswith(f"{part}/")}


def _plain(tree: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """A nested structure as JSON: tensors go to `tensors` under their path, tuples and non-string keys are marked."""
    if isinstance(tree, Tensor):
        tensors[name] = tree
        return {"tensor": name}
    if isinstance(tree, dict):
        return {"dict": [[key, _plain(value, f"{name}/{key}", tensors)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        kind = "tuple" if isinstance(tree, tuple) else "list"
        return {kind: [_plain(value, f"{name}/{i}", tensors) for i, value in enumerate(tree)]}
    return tree


def _restored(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _restored(value, tensors) for key, value in content}
    values = [_restored(value, tensors) for value in content]
    return tuple(values) if kind == "tuple" else values
