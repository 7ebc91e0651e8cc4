"""Training: what all methods share between a feature table and trained weights.

Everything random comes from torch's global generator and one CPU generator. Both are seeded from the run's seed and
the epoch before every epoch. So a run that was stopped and goes on from its checkpoint makes the same weights, bit for
bit, as one that was not stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from ichash_export.methods import registry
from ichash_export.methods.base import TrainData
from ichash_export.train.checkpoint import CHECKPOINT, Checkpoint, load, save
from ichash_export.train.device import reproducible, resolve_device, seed_everything
from ichash_export.train.model import build_model
from ichash_export.train.options import TrainingOptions, validated
from ichash_export.train.run_folder import alone_in, digest, record_to_resume, refuse_changes
from ichash_export.train.run_record import ModelSizes, RunIdentity, RunLog, RunRecord
from ichash_export.train.trained_model import TrainedModel, trained_from
from ichash_export.train.training_items import Note, TrainingItems, counts, prepare, tensors
from ichash_export.train.validation import validate
from milvus_ichash.bundle import modalities_of
from milvus_ichash.codes import check_bits
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable
from milvus_ichash.trained_items import TrainedItems

CHECKPOINT_SHARE = 0.1
"""Writing checkpoints takes at most this share of the time; where they are cheap, every epoch has one."""
LARGE_WEIGHT = 1e4
"""Weights beyond this are those of a training that diverged; those of one that learns stay below 100."""


def train(
    table: FeatureTable,
    method: str,
    bits: int,
    *,
    settings: Mapping[str, Any] | None = None,
    options: TrainingOptions | None = None,
    device: str = "auto",
    run: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    origin: Mapping[str, Any] | None = None,
    progress: Callable[[RunLog], None] = lambda log: None,
    note: Note = lambda message: None,
) -> TrainedModel:
    """Train a method on a feature table.

    Args:
        table: the training items, with labels.
        method: name of the method (`registry.method_names`).
        bits: code length, a multiple of 8.
        settings: the settings of the method that differ from their defaults.
        options: seed, hidden modalities and validation; None: the defaults.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        run: folder for the checkpoint; None: nothing is written.
        resume: go on from the checkpoint in the folder.
        overwrite: replace a run that is in the folder already.
        origin: where the items are from, for the record: the name of the file, say, and its holdout.
        progress: called with the log of the run after each epoch.
        note: called with remarks for the user, one sentence each.

    Returns:
        The model with the weights of the best validation, or of the last epoch where there was none.

    Raises:
        InputError: the data or the settings cannot be used; a run is in the folder already; the run to go on with was
            made with other data or settings; or a loss or weight is no longer a finite number.
        BackendMissingError: CUDA is asked for and is not there.

    Example:
        trained = train(open_source("items.parquet").read(), "unihash", 64, settings={"epochs": 30})
    """
    options = options or TrainingOptions()
    place = resolve_device(device)
    chosen = registry.load(method)
    config = validated(chosen.Config, settings or {}, f"method '{method}'")
    check_bits(bits)
    modalities_of(table.dims)
    before = None if run is None else record_to_resume(run, resume=resume, overwrite=overwrite)
    identity = RunIdentity(
        method=method,
        bits=bits,
        settings=config.model_dump(mode="json"),
        options=options,
        data={} if run is None else digest(table),
    )
    if run is not None and before is not None:
        refuse_changes(before.identity, identity, run)
    inputs = chosen.input_sizes(config, None if before is None else before.sizes.inputs)
    checkpoint = load(run / CHECKPOINT) if run is not None and before is not None else None
    if checkpoint is not None and checkpoint.record.log.finished:
        return trained_from(checkpoint)
    items = prepare(table, options, needs_labels=chosen.needs_labels, note=note)
    record = RunRecord(
        identity=identity,
        sizes=ModelSizes(dims=table.dims, classes=table.known_labels().shape[1], bits=bits, inputs=inputs),
        label_names=table.label_names,
        counts=counts(items),
        versions={"torch": torch.__version__, "device": place.type},
        log=RunLog(epochs=config.epochs) if checkpoint is None else checkpoint.record.log,
        data=dict(origin or {}),
        trained_items=TrainedItems.of(table),
    )
    with nullcontext() if run is None else alone_in(run), reproducible(place):
        return _Run(record, items, place, run, note).go(checkpoint, progress)


class _Run:
    """One run: the model, the data and the optimisers on the device."""

    training: TrainData
    optimizers: dict[str, Optimizer]

    def __init__(
        self, record: RunRecord, items: TrainingItems, place: torch.device, folder: Path | None, note: Note
    ) -> None:
        self.record, self.items, self.place, self.folder, self.note = record, items, place, folder, note
        self.log, self.options = record.log, record.identity.options
        seed_everything(self.options.seed, -1)
        self.model = build_model(record.identity.method, record.spec, record.identity.settings).to(place)
        self.method = self.model.method
        self.best: dict[str, Tensor] = {}
        self.seconds_saving = 0.0

    def go(self, checkpoint: Checkpoint | None, progress: Callable[[RunLog], None]) -> TrainedModel:
        """Train to the end, from the beginning or from a checkpoint, and return the model that is kept."""
        if checkpoint is None:
            self._begin()
        else:
            self._restore(checkpoint)
        self.validation = self.model.scaled(tensors(self.items.validation, self.place))
        began, before = time.monotonic(), self.log.seconds
        while self.log.epoch < self.log.epochs and not self.log.out_of_patience(self.options.patience):
            self._epoch()
            self.log.seconds = before + time.monotonic() - began
            if self.seconds_saving <= CHECKPOINT_SHARE * (time.monotonic() - began):
                self._save()
            progress(self.log)
        return self._finish()

    def _begin(self) -> None:
        raw = tensors(self.items.training, self.place)
        self.model.fit_scaling(raw)
        self.training = self.model.scaled(raw)
        self.method.begin(self.training)
        for remark in self.method.remarks:
            self.note(remark)
        self.optimizers = self.method.optimizers()
        self._save()

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.model.load_state_dict(checkpoint.weights)
        self.training = self.model.scaled(tensors(self.items.training, self.place))
        if self.log.best:
            self.best = {name: x.to(self.place) for name, x in (checkpoint.best or checkpoint.weights).items()}
        self.method.state = {name: x.to(self.place) for name, x in checkpoint.state.items()}
        self.optimizers = self.method.optimizers()
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(checkpoint.optimizers[name])

    def _epoch(self) -> None:
        generator = seed_everything(self.options.seed, self.log.epoch)
        self.model.train()
        losses = self.method.train_epoch(self.training, self.log.epoch, self.optimizers, generator)
        self._check(losses)
        validation = None
        if self._due():
            self._fix()
            validation = validate(self.method, self.validation, self.training)
        if self.log.add(losses, validation):
            self.best = {name: x.detach().clone() for name, x in self.model.state_dict().items()}

    def _due(self) -> bool:
        done = self.log.epoch + 1
        if not len(self.validation) or done <= self.method.warmup:
            return False
        return done % self.options.validate_every == 0 or done == self.log.epochs

    def _fix(self) -> None:
        self.model.eval()
        with torch.no_grad():
            self.method.finish(self.training)

    def _finish(self) -> TrainedModel:
        if self.best:
            self.model.load_state_dict(self.best)
        else:
            self._fix()
        largest = max((float(x.detach().abs().max()) for x in self.method.parameters() if x.numel()), default=0.0)
        if largest > LARGE_WEIGHT:
            self.note(
                f"weights have grown to {largest:.1g}: the training diverged, and its codes will be poor; try a "
                "smaller learning rate or smaller loss weights (--set NAME=VALUE)."
            )
        self.log.finished = True
        done = Checkpoint(self.record, self.model.state_dict())
        if self.folder is not None:
            save(self.folder / CHECKPOINT, done)
        return trained_from(done)

    def _check(self, losses: dict[str, float]) -> None:
        wrong = [f"the loss '{name}'" for name, value in losses.items() if not np.isfinite(value)]
        wrong += [f"the weight '{name}'" for name, x in self.method.named_parameters() if not torch.isfinite(x).all()]
        if wrong:
            before = f" The checkpoint in '{self.folder}' is from before." if self.folder else ""
            raise InputError(
                f"{wrong[0]} is no longer a finite number in epoch {self.log.epoch + 1}: the training diverged. Try a "
                "smaller learning "
                f"rate or smaller loss weights (--set NAME=VALUE), or look for extreme values in the features.{before}"
            )

    def _save(self) -> None:
        if self.folder is None:
            return
        began = time.monotonic()
        checkpoint = Checkpoint(
            record=self.record,
            weights=self.model.state_dict(),
            best={} if self.log.kept_epoch == self.log.epoch else self.best,
            state=self.method.state,
            optimizers={name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        )
        save(self.folder / CHECKPOINT, checkpoint)
        self.seconds_saving += time.monotonic() - began
