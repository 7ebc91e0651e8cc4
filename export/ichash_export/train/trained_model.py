"""A trained model: the weights that were kept of a run, and the run's record. The exporter takes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ichash_export.train.checkpoint import Checkpoint, checkpoint_path, load
from ichash_export.train.model import Model, build_model
from ichash_export.train.run_record import RunRecord
from milvus_ichash.errors import InputError


@dataclass(frozen=True)
class TrainedModel:
    """The weights that were kept, and where they come from.

    Attributes:
        model: the model, on the CPU and in evaluation mode.
        record: what the run recorded of itself.
    """

    model: Model
    record: RunRecord

    @property
    def validation_map(self) -> float | None:
        """Mean over the tasks of the validation mAP of the epoch that was kept; None without validation."""
        best = self.record.log.best
        return None if best is None else best.mean


def load_trained(run: str | Path) -> TrainedModel:
    """Return the model of a run folder or of a checkpoint file.

    Raises:
        InputError: there is no whole checkpoint, or it is one of an unfinished run that has not been validated yet.
    """
    return trained_from(load(checkpoint_path(run)))


def trained_from(checkpoint: Checkpoint) -> TrainedModel:
    """Return the model of a checkpoint that was read already.

    Raises:
        InputError: the run is not finished and has not been validated yet.
    """
    record = checkpoint.record
    log = record.log
    if not log.finished and not log.best:
        raise InputError(
            f"the run is at epoch {log.epoch} of {log.epochs} and has no validated weights yet: "
            "go on with `milvus-ichash train ... --resume`."
        )
    with torch.random.fork_rng(devices=[]):  # the fresh weights are replaced at once
        model = build_model(record.identity.method, record.spec, record.identity.settings)
    model.load_state_dict(checkpoint.best or checkpoint.weights)
    return TrainedModel(model.eval(), record)
