"""What a training run records of itself: what it was made with, how far it is, and how good its codes are.

The record stands as JSON in the header of a checkpoint, and its summary in the manifest of a bundle.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ichash_export.methods.base import ModelSpec
from ichash_export.train.options import TrainingOptions
from milvus_ichash.strict_model import StrictModel
from milvus_ichash.trained_items import TrainedItems


class RunIdentity(StrictModel):
    """What decides the weights of a run: runs with equal identities end with equal weights on the same machine."""

    method: str
    bits: int
    settings: dict[str, Any]
    """All settings of the method, with their defaults."""
    options: TrainingOptions
    data: dict[str, Any]
    """The digest of the training items (`run_folder.digest`); empty where the run writes no checkpoint."""


class ModelSizes(StrictModel):
    """The sizes that the data and the user decide."""

    dims: dict[str, int]
    """Number of features of each modality, in order."""
    classes: int
    bits: int
    inputs: dict[str, int] = Field(default_factory=dict)
    """Sizes that files decide which the settings name (`Method.input_sizes`)."""


class ItemCounts(StrictModel):
    """Numbers of items, after modalities were hidden and the validation items were taken out."""

    training_items: int
    complete_items: int
    """Training items that have every modality."""
    observed: dict[str, int]
    """Training items that have the modality, by modality."""
    validation_items: int


class EpochRecord(StrictModel):
    """One epoch."""

    epoch: int
    """Counted from 1."""
    losses: dict[str, float]
    """Mean of each loss term by name."""
    validation: dict[str, float] | None
    """Tie-aware mAP@all by task; None where the epoch was not validated."""


class BestValidation(StrictModel):
    """The validation of the epoch whose weights are kept."""

    epoch: int
    mean: float
    """Mean of `tasks`."""
    tasks: dict[str, float]
    """Tie-aware mAP@all by task."""


class RunLog(BaseModel):
    """How far a run is; the one part of the record that changes."""

    model_config = ConfigDict(extra="forbid")

    epochs: int
    """Number of epochs that the run shall have."""
    epoch: int = 0
    """Number of epochs that are done."""
    seconds: float = 0.0
    """Time that they took, over all sessions of the run."""
    history: list[EpochRecord] = Field(default_factory=list)
    best: BestValidation | None = None
    finished: bool = False

    def add(self, losses: dict[str, float], validation: dict[str, float] | None) -> bool:
        """Note one more epoch and return whether its validation is the best so far."""
        self.epoch += 1
        self.history.append(EpochRecord(epoch=self.epoch, losses=losses, validation=validation))
        if validation is None:
            return False
        mean = sum(validation.values()) / len(validation)
        if self.best is not None and mean <= self.best.mean:
            return False
        self.best = BestValidation(epoch=self.epoch, mean=mean, tasks=validation)
        return True

    def out_of_patience(self, patience: int) -> bool:
        """Return whether the last `patience` validations were no better than the best one; never for 0."""
        since = self.history[self.best.epoch if self.best else 0 :]
        return 0 < patience <= sum(bool(each.validation) for each in since)

    @property
    def kept_epoch(self) -> int:
        """The epoch whose weights are kept: that of the best validation, or the last one where there was none."""
        return self.best.epoch if self.best else self.epoch


class TrainingSummary(StrictModel):
    """What a manifest says of the training."""

    settings: dict[str, Any]
    options: TrainingOptions
    items: ItemCounts
    epochs: int
    """Number of epochs that are done."""
    finished: bool
    kept_epoch: int
    validation: dict[str, float] | None
    """Tie-aware mAP@all of the kept epoch, by task, with their "mean" in front; None without validation."""
    seconds: float
    data: dict[str, Any]
    """Where the items are from, as the caller says: the file's name, and its holdout."""
    trained_items: TrainedItems | None
    """None for runs of versions before 0.2."""


class RunRecord(StrictModel):
    """Everything about a run that is no tensor."""

    identity: RunIdentity
    sizes: ModelSizes
    label_names: tuple[str, ...] | None
    counts: ItemCounts
    versions: dict[str, str]
    """The version of torch, and the kind of device."""
    log: RunLog
    data: dict[str, Any] = Field(default_factory=dict)
    trained_items: TrainedItems | None = None

    @property
    def spec(self) -> ModelSpec:
        """The sizes as a method takes them."""
        return ModelSpec(**dict(self.sizes), label_names=self.label_names or ())

    @property
    def summary(self) -> TrainingSummary:
        """What a manifest says of the training."""
        log, best = self.log, self.log.best
        return TrainingSummary(
            settings=self.identity.settings,
            options=self.identity.options,
            items=self.counts,
            epochs=log.epoch,
            finished=log.finished,
            kept_epoch=log.kept_epoch,
            validation=best and {"mean": best.mean, **best.tasks},
            seconds=round(log.seconds, 1),
            data=self.data,
            trained_items=self.trained_items,
        )
