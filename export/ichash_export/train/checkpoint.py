"""Checkpoints: one safetensors file, with tensors as they are and everything else as JSON in its header. No pickle.

The file is written beside its place and renamed onto it. So a run that is killed at any moment leaves a whole
checkpoint: the new one, or the one before.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ichash_export.train.run_record import RunRecord
from milvus_ichash.errors import InputError, WriteError

CHECKPOINT = "checkpoint.safetensors"
FORMAT = 1
_JSON = "ichash"


@dataclass(frozen=True)
class Checkpoint:
    """A run between two epochs.

    Attributes:
        record: everything that is no tensor.
        weights: state of the model.
        best: state of the model at its best validation; empty where that is `weights`, or where there was none.
        state: the method's own tensors (`Method.state`).
        optimizers: `state_dict()` of each optimiser.
    """

    record: RunRecord
    weights: dict[str, Tensor]
    best: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)
    optimizers: dict[str, dict[str, Any]] = field(default_factory=dict)


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the old one stays whole until the new one is there.

    Raises:
        WriteError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    document = {
        "format": FORMAT,
        "info": checkpoint.record.model_dump(mode="json"),
        "optimizers": {
            name: _plain(tree, f"optimizers/{name}", tensors) for name, tree in checkpoint.optimizers.items()
        },
    }
    for part in ("weights", "best", "state"):
        tensors.update({f"{part}/{name}": x for name, x in getattr(checkpoint, part).items()})
    # safetensors refuses tensors that share memory, such as tied weights: each gets its own.
    own = {name: x.detach().to("cpu", copy=True).contiguous() for name, x in tensors.items()}
    partial = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(own, partial, metadata={_JSON: json.dumps(document)})
        partial.chmod(0o644)  # safetensors writes for the owner only
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        reason = (
            error.strerror
            if isinstance(error, OSError)
            else re.sub(r".*I/O error: (.*) \(os error.*", r"\1", str(error))
        )
        raise WriteError(f"the checkpoint '{path}' cannot be written: {reason}.") from error


def partial_of(path: Path) -> Path:
    """Return the name of a checkpoint that is being written."""
    return path.with_name(path.name + ".part")


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, with its tensors on the CPU.

    Raises:
        InputError: the file is not there, or is not a whole checkpoint of this format.
    """
    record, document, tensors = _read(path, with_tensors=True)
    return Checkpoint(
        record=record,
        weights=_part(tensors, "weights"),
        best=_part(tensors, "best"),
        state=_part(tensors, "state"),
        optimizers={name: _restored(tree, tensors) for name, tree in document["optimizers"].items()},
    )


def load_record(path: Path) -> RunRecord:
    """Read the record of a checkpoint, without its tensors.

    Raises:
        InputError: the file is not there, or is not a whole checkpoint of this format.
    """
    return _read(path, with_tensors=False)[0]


def checkpoint_path(run: str | Path) -> Path:
    """Return the path of the checkpoint in a run folder, or the file itself where a file is given."""
    return Path(run) / CHECKPOINT if Path(run).is_dir() else Path(run)


def _read(path: Path, *, with_tensors: bool) -> tuple[RunRecord, dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"there is no checkpoint at '{path}': give the folder that `milvus-ichash train --out` wrote.")
    try:
        # The numpy reader opens the file once; torch's opens it again, and that may by then be the next checkpoint.
        with safe_open(path, framework="numpy") as file:
            document = json.loads((file.metadata() or {})[_JSON])
            names = file.keys() if with_tensors else ()
            tensors = {name: torch.from_numpy(file.get_tensor(name)) for name in names}
        if document["format"] != FORMAT:
            raise InputError(
                f"'{path}' is of checkpoint format {document['format']!r}; this version reads format {FORMAT}."
            )
        return RunRecord.model_validate(document["info"]), document, tensors
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"'{path}' is not a whole checkpoint of milvus-ichash ({error}): train again.") from error


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}/"): x for name, x in tensors.items() if name.startswith(f"{part}/")}


def _plain(tree: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return a nested structure as JSON.

    Tensors go to `tensors` under their path; tuples, and dicts whose keys may be numbers, are marked as such.
    """
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
