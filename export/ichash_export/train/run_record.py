"""What a run has done so far, and what it says after each epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Log:
    """The part of a checkpoint that changes and is no tensor.

    Attributes:
        epochs: how many there shall be.
        epoch: how many are done.
        seconds: time they took, over all sessions of the run.
        history: losses and validation of each.
        best: epoch, mean and tasks of the best validation.
        finished: whether the run is over.
    """

    epochs: int
    epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    finished: bool = False

    def add(self, losses: dict[str, float], validation: dict[str, float] | None) -> bool:
        """Note one more epoch; True where its validation is the best so far."""
        self.epoch += 1
        self.history.append({"epoch": self.epoch, "losses": losses, "validation": validation})
        if validation is None:
            return False
        mean = sum(validation.values()) / len(validation)
        if self.best is not None and mean <= self.best["mean"]:
            return False
        self.best = {"epoch": self.epoch, "mean": mean, "tasks": validation}
        return True

    def out_of_patience(self, patience: int) -> bool:
        """Whether the last `patience` validations were no better than the best one; never for 0."""
        best = self.best["epoch"] if self.best else 0
        since = [epoch for epoch in self.history if epoch["validation"] and epoch["epoch"] > best]
        return 0 < patience <= len(since)

    @property
    def best_is_current(self) -> bool:
        """Whether the best weights are those of the last epoch."""
        return self.best is not None and self.best["epoch"] == self.epoch

    def report(self) -> Report:
        """The last epoch, for people."""
        last = self.history[-1]
        return Report(self.epoch, self.epochs, last["losses"], last["validation"], self.best)


@dataclass(frozen=True)
class Report:
    """What is said after each epoch."""

    epoch: int
    """Epochs done."""
    epochs: int
    losses: dict[str, float]
    validation: dict[str, float] | None
    """mAP by task, where this epoch was validated."""
    best: dict[str, Any] | None
    """The best validation so far: epoch, mean, tasks."""
