"""What every method is: its settings, its networks, its loss terms and the encoding that gets exported.

A new method is one file in this folder, `mine.py` (or a folder `mine/` whose `method.py` is that file), and one recipe,
`recipes/mine/<data set>.toml`. A package of its own announces the module as an entry point `milvus_ichash.methods`. The
file has

    a docstring      its first line describes the method in listings; then the symbols and the equations of the paper,
                     and what is ours; a runnable example
    a Config         derived from `MethodConfig`: each setting with its default, where that is from (`setting`), and a
                     string below it that describes it
    one class        derived from `Method`, with
                         `family`, `ablations`, and `citation` where it is published; a method that completes has
                         a setting `completion`, and the ablations "no completion" and "mean completion"
                         `__init__`       the networks, made from `self.spec` (sizes) and `self.config` (settings)
                         `losses`         the loss terms of a batch, each a mean, by name
                         `weights`        the weights of the terms that do not count once
                         `optimizers`     what learns, and how fast
                         `encode`         features to codes, for any mix of missing modalities
                     and, only where it needs them: `scaling`, `warmup`, `completion`, `begin`, `learning_rates`,
                     `finish`

The loop is here: a pass over all items in random order, a step down the weighted sum of the terms for each batch, and
the mean of each term for the record. A method whose epoch is made otherwise (stages, rounds, networks in turn)
overrides `steps`.

A method sees features that are scaled already, with zeros where a modality is missing; raw features, gaps that hold
NaN, and the packing of bits are left to the trainer and the exporter.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.optim import Optimizer

from ichash_export.methods.batches import batches
from ichash_export.methods.citation import Citation as Citation
from milvus_ichash.errors import InputError
from milvus_ichash.strict_model import StrictModel

Family = Literal["fused", "cross-modal"]
Scaling = Literal["standard", "minmax"]
Source = Literal["paper", "public code", "ours"]
MOST = {"epochs": 100_000, "batch_size": 65_536, "learning_rate": 10, "size": 65_536, "number": 1_000_000}
"""The largest values of settings: of three by their names, of other whole numbers ("size") and floats ("number")."""
Terms = dict[str, Tensor]
"""Loss terms of a batch by name, each a float32 scalar."""


def setting(default: Any, source: Source = "ours", **limits: Any) -> Any:
    """Declare a setting of a method.

    Args:
        default: its default.
        source: where the default is from: the paper, the authors' public code, or us. "ours" too where the setting is
            an addition of ours, which the default leaves off.
        limits: as `pydantic.Field` takes them (`ge`, `gt`, `lt`, ...).
    """
    return Field(default, json_schema_extra={"source": source}, **limits)


class MethodConfig(StrictModel):
    """Settings of a method. Unknown names are refused, so that a typing error in a recipe is seen.

    Numbers without any sense are refused too, before a training begins that could only fail, or never end.
    """

    epochs: int = setting(50, ge=1)
    """How often all training items are gone through, stages included."""
    batch_size: int = setting(512, ge=2)
    """Training items in a step."""

    @model_validator(mode="after")
    def _sensible(self) -> MethodConfig:
        for name in type(self).model_fields:
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int | float) and not isinstance(number, bool):
                    _check_sense(name, number, listed=isinstance(value, tuple))
        return self


def _check_sense(name: str, number: float, *, listed: bool) -> None:
    """Raise ValueError where a setting, or one of the numbers that are its value, is beyond all sense."""
    rate = name.endswith("learning_rate")
    most = MOST["learning_rate"] if rate else MOST.get(name, MOST["number" if isinstance(number, float) else "size"])
    if abs(number) > most:
        raise ValueError(f"{name}: {number:g} is beyond all sense; {most:,} is the most")
    # A pair of rates, and sizes of layers: what stands alone has limits of its own.
    if listed and number <= 0:
        raise ValueError(f"{name}: {number:g} cannot be; all of these are above 0")


@dataclass(frozen=True)
class ModelSpec:
    """Sizes that the data and the user decide."""

    dims: dict[str, int]
    """Feature size of each modality, in order."""
    classes: int
    bits: int
    label_names: tuple[str, ...] = ()
    """Names of the classes, in the order of the labels; empty where the data has none."""
    inputs: Mapping[str, int] = field(default_factory=dict)
    """Sizes that files named by the method's settings decide, as `Method.input_sizes` found them."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return the names of the modalities, in order."""
        return tuple(self.dims)


@dataclass(frozen=True)
class TrainData:
    """The training items, scaled and on the device."""

    features: dict[str, Tensor]
    """float32 (n, D_m) for each modality; zeros where it is missing."""
    present: Tensor
    """bool (n, M)."""
    labels: Tensor
    """float32 (n, C), multi-hot."""
    labelled: Tensor | None = None
    """bool (n,); False where an item's labels are unknown (its row of `labels` is zero). None: all are known."""

    def __len__(self) -> int:
        return len(self.present)

    @property
    def device(self) -> torch.device:
        """Return the device that holds the tensors."""
        return self.present.device

    @property
    def known(self) -> Tensor:
        """Return which items have known labels, bool (n,)."""
        return torch.ones_like(self.present[:, 0]) if self.labelled is None else self.labelled

    def complete(self) -> Tensor:
        """Return the indices, int64, of the items that have all modalities."""
        return self.present.all(dim=1).nonzero().flatten()

    def rows(self, index: Tensor) -> TrainData:
        """Return the items of these indices, in their order."""
        known = None if self.labelled is None else self.labelled[index]
        return TrainData(
            {m: x[index] for m, x in self.features.items()}, self.present[index], self.labels[index], known
        )

    def sample_complete(self, count: int) -> TrainData:
        """Draw `count` different items that have all modalities, or all where there are fewer.

        They are drawn by torch's global generator.
        """
        complete = self.complete()
        return self.rows(complete[torch.randperm(len(complete))[:count].to(self.device)])


class Method(nn.Module, ABC):
    """Base of all methods.

    Attributes:
        family: "fused" (one code per item, output `code`) or "cross-modal" (one per modality, outputs
            `<modality>_code`).
        citation: where the method is published; None where it is not. A literal call, which is read without importing
            the file.
        needs_labels: False where items whose labels are unknown can be trained on (`TrainData.labelled` says which);
            else these are left out.
        needs_several_modalities: True where a single modality is refused.
        one_space: True where fused codes of different modalities are made to be compared with each other, so that
            `compare` also measures "image->text" and the like, against codes made from one modality alone.
        Config: the class of the settings.
        ablations: the variants of the method, name (the paper's, where it has one) -> the settings that make it.
        state: tensors of the training that are not part of the model (the codes B of an alternating optimisation,
            say); saved in checkpoints, never exported.
        remarks: what `begin` found that a user should know, one sentence each; the training tells them.

    Raises:
        InputError: a single modality, where the method needs several.
    """

    family: ClassVar[Family]
    citation: ClassVar[Citation | None] = None
    needs_labels: ClassVar[bool] = True
    needs_several_modalities: ClassVar[bool] = False
    one_space: ClassVar[bool] = False
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})

    def __init__(self, spec: ModelSpec, config: MethodConfig) -> None:
        super().__init__()
        if self.needs_several_modalities and len(spec.modalities) < 2:
            fused, cross = "completes one modality from another", "makes codes of several modalities comparable"
            raise InputError(
                f"{type(self).__name__.lower()} {fused if self.family == 'fused' else cross}, so it needs at least "
                f"two; there is only '{spec.modalities[0]}'."
            )
        self.spec = spec
        self.config = config
        self.state: dict[str, Tensor] = {}
        self.remarks: list[str] = []

    def scaling(self, modality: str) -> Scaling:
        """Return how the features of this modality are scaled: to mean 0 and deviation 1, or min-max to [0, 1].

        The scaling is learnt on the training items and is part of the exported graph.
        """
        return "standard"

    @property
    def warmup(self) -> int:
        """Return how many epochs at the start do not train the codes yet (a first stage): these are not validated."""
        return 0

    @property
    def codes(self) -> dict[str, str | None]:
        """Return the hash codes that `encode` makes: name -> modality, None for a fused code."""
        if self.family == "fused":
            return {"code": None}
        return {f"{m}_code": m for m in self.spec.modalities}

    @property
    def nested(self) -> tuple[int, ...]:
        """Return the lengths that codes are trained to be cut to, `bits` the last of them; empty if there are none."""
        return ()

    @classmethod
    def input_sizes(cls, config: Any, recorded: Mapping[str, int] | None) -> dict[str, int]:
        """Return the sizes that files named by the settings decide, for `spec.inputs` and for checkpoints.

        Args:
            config: the settings, of the method's Config.
            recorded: those of the run that goes on, which must need the files no more; None for a fresh one.

        Raises:
            InputError: a file that cannot be used, or does not fit what was recorded.
        """
        return {}

    def completion(self) -> str:
        """Return one sentence for the manifest: how what is missing is completed in the exported graph."""
        return ""

    def begin(self, data: TrainData) -> None:
        """Prepare the first epoch of a fresh run: draw anchors, check the data, fill `state`.

        Raises:
            InputError: where the data cannot train this method (too few paired items, say).
        """

    @abstractmethod
    def optimizers(self) -> dict[str, Optimizer]:
        """Return the optimisers by name, in the same order every time."""

    def learning_rates(self, epoch: int) -> Mapping[str, float]:
        """Return the rates of this epoch (0-based) by name of the optimiser; those that are not named keep theirs."""
        return {}

    def train_epoch(
        self, data: TrainData, epoch: int, optimizers: dict[str, Optimizer], generator: torch.Generator
    ) -> dict[str, float]:
        """Train one epoch (0-based) and return the mean of each loss term over the steps, by name.

        All randomness comes from `generator` (on the CPU) or from torch's global one; both are seeded anew from the
        run's seed and the epoch before every call, which is what makes a resumed run equal to an uninterrupted one.
        """
        self.train()
        rates = self.learning_rates(epoch)
        for name, optimizer in optimizers.items():
            if name in rates:
                set_rate(optimizer, rates[name])
        steps = list(self.steps(data, epoch, optimizers, generator))
        return {name: torch.stack([step[name] for step in steps]).mean().item() for name in steps[0]} if steps else {}

    def steps(
        self, data: TrainData, epoch: int, optimizers: dict[str, Optimizer], generator: torch.Generator
    ) -> Iterator[Terms]:
        """Train one epoch, and yield the terms of each step: one pass over all items, all optimisers in each step."""
        for index in batches(len(data), self.config.batch_size, generator, data.device):
            yield self.step(self.losses(data.rows(index)), *optimizers.values())

    def step(self, terms: Terms, *optimizers: Optimizer) -> Terms:
        """Take one step down the weighted sum of the terms, if anything learns from it; return them as constants."""
        loss = self.objective(terms)
        if loss.requires_grad:
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
        return {name: term.detach() for name, term in terms.items()}

    def losses(self, items: TrainData) -> Terms:
        """Return the loss terms of a batch without their weights; each is a mean, whatever the size of the batch."""
        raise NotImplementedError(f"{type(self).__name__} states neither `losses` nor `steps`")

    def weights(self) -> Mapping[str, float]:
        """Return the weights of the loss terms by name; a term that is not named has weight 1."""
        return {}

    def objective(self, terms: Terms) -> Tensor:
        """Return the weighted sum of the terms; those of weight 0 are left out."""
        weights = {name: self.weights().get(name, 1.0) for name in terms}
        return torch.stack([weights[name] * term for name, term in terms.items() if weights[name]]).sum()

    def finish(self, data: TrainData) -> None:
        """Fix what inference needs (stored contexts, say), after the last epoch and before every validation.

        In evaluation mode and without gradients; the next epoch must not depend on whether it was called.
        """

    @abstractmethod
    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return relaxed codes, float32 (B, bits) by name, for any mix of missing modalities; a bit is `code > 0`.

        Args:
            features: scaled float32 (B, D_m) for every modality, zeros where it is missing.
            present: bool (B, M).

        Called in evaluation mode, deterministic, traced by the exporter: no data-dependent control flow, and the codes
        of a row depend on that row only.
        """


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Let an optimiser go on with this learning rate, all its parameters alike."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def cosine_rate(first: float, epoch: float, epochs: int) -> float:
    """Return the learning rate in an epoch (0-based) where it falls from `first` to zero along half a cosine."""
    return first * (1 + math.cos(math.pi * (epoch / epochs))) / 2


def scheduled_rate(schedule: Literal["constant", "cosine"], first: float, epoch: int, epochs: int) -> float:
    """Return the learning rate in an epoch (0-based) of a schedule that stays at `first`, or falls along a cosine."""
    return cosine_rate(first, epoch, epochs) if schedule == "cosine" else first


def linear_rate(ends: tuple[float, float], epoch: int, epochs: int) -> float:
    """Return the learning rate in an epoch (0-based) of a straight line.

    `ends` are the rates of the first epoch and of the one after the last.
    """
    first, last = ends
    return first + (last - first) * epoch / epochs
