"""A trained model: what a finished run, or the best of an unfinished one, hands to the exporter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ichash_export.train.checkpoint import Checkpoint, checkpoint_path, load
from ichash_export.train.model import Model, build_model, spec_of
from milvus_ichash.errors import InputError


@dataclass(frozen=True)
class TrainedModel:
    """Weights that were kept, and where they come from.

    Attributes:
        model: on the CPU, in evaluation mode.
        method: its name.
        settings: all settings of the method, as the run was made with.
        label_names: names of the classes, or None.
        summary: what the manifest says of the training.
        history: losses and validation of every epoch.
        versions: torch and device of the training.
    """

    model: Model
    method: str
    settings: dict[str, Any]
    label_names: tuple[str, ...] | None
    summary: dict[str, Any]
    history: list[dict[str, Any]]
    versions: dict[str, str]

    @property
    def validation_map(self) -> float | None:
        """Mean of the validation mAPs of the epoch that was kept; None without validation."""
        mean: float | None = self.summary["validation"] and self.summary["validation"]["mean"]
        return mean


def load_trained(run: str | Path) -> TrainedModel:
    """The model of a run folder or checkpoint file.

    Raises:
        InputError: no whole checkpoint, or one of an unfinished run that has not been validated yet.
    """
    return trained_from(load(checkpoint_path(run)))


def trained_from(checkpoint: Checkpoint) -> TrainedModel:
    """The model of a checkpoint; see `load_trained`."""
    info = checkpoint.info
    identity, log = info["identity"], info["log"]
    if not log["finished"] and not log["best"]:
        raise InputError(
            f"the run is at epoch {log['epoch']} of {log['epochs']} and has no validated weights yet: "
            "go on with `milvus-ichash train ... --resume`."
        )
    with torch.random.fork_rng(devices=[]):  # the fresh weights are replaced at once
        model = build_model(identity["method"], spec_of(info), identity["settings"])
    model.load_state_dict(checkpoint.best or checkpoint.weights)
    model.eval()
    return TrainedModel(
        model=model,
        method=identity["method"],
        settings=identity["settings"],
        label_names=None if info["label_names"] is None else tuple(info["label_names"]),
        summary=_summary(identity, info["counts"], log),
        history=log["history"],
        versions=info["versions"],
    )


def _summary(identity: dict[str, Any], counts: dict[str, Any], log: dict[str, Any]) -> dict[str, Any]:
    best = log["best"]
    return {
        "settings": identity["settings"],
        "options": identity["options"],
        "items": counts,
        "epochs": log["epoch"],
        "finished": log["finished"],
        "kept_epoch": best["epoch"] if best else log["epoch"],
        "validation": best and {"mean": best["mean"], **best["tasks"]},
        "seconds": round(log["seconds"], 1),
    }
