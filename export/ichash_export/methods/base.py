"""What every method is: networks, one training epoch, and the encoding that gets exported.

A method is one file in this folder: a module docstring whose first line describes it, a `Config`, and a class that derives
from `Method`. It sees features that are scaled already, with zeros where a modality is missing; raw features, gaps that hold
NaN, and the packing of bits are the trainer's and the exporter's business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim import Optimizer

Family = Literal["fused", "cross-modal"]
Scaling = Literal["standard", "minmax"]


class MethodConfig(BaseModel):
    """Settings of a method. Unknown names are refused, so that a typing error in a recipe is seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(50, ge=1)
    """How often all training items are gone through, stages included."""
    batch_size: int = Field(512, ge=2)
    """Training items in a step."""


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
        """Their names, in order."""
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
        """Where the tensors are."""
        return self.present.device

    def complete(self) -> Tensor:
        """Indices of the items that have all modalities."""
        return self.present.all(dim=1).nonzero().flatten()

    def rows(self, index: Tensor) -> TrainData:
        """The items of these indices."""
        known = None if self.labelled is None else self.labelled[index]
        return TrainData(
            {m: x[index] for m, x in self.features.items()}, self.present[index], self.labels[index], known
        )


class Method(nn.Module, ABC):
    """Base of all methods.

    Attributes:
        family: "fused" (one code per item, output `code`) or "cross-modal" (one per modality, outputs
            `<modality>_code`).
        paper: where the method is published, in one line; a plain string, read without importing the file.
        needs_labels: False where items whose labels are unknown can be trained on (`TrainData.labelled` says which);
            else they are left out.
        one_space: True where fused codes of different modalities are made to be compared with each other, so that
            `compare` also measures "image->text" and the like, against codes made from one modality alone.
        Config: the settings' class.
        ablations: the method's variants, name (the paper's, where it has one) -> the settings that make it.
        scaling: how each modality is scaled: standardised, or min-max to [0, 1].
        state: tensors of the training that are not part of the model (the codes B of an alternating optimisation, say);
            saved in checkpoints, never exported.
    """

    family: ClassVar[Family]
    paper: ClassVar[str] = ""
    needs_labels: ClassVar[bool] = True
    one_space: ClassVar[bool] = False
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})

    def __init__(self, spec: ModelSpec, config: MethodConfig) -> None:
        super().__init__()
        self.spec = spec
        self.config = config
        self.state: dict[str, Tensor] = {}

    def scaling(self, modality: str) -> Scaling:
        """How the features of this modality are scaled; learnt on the training items, part of the exported graph."""
        return "standard"

    @property
    def warmup(self) -> int:
        """Epochs at the start that do not train the codes yet (a first stage): they are not validated."""
        return 0

    @property
    def codes(self) -> dict[str, str | None]:
        """The hash codes that `encode` returns: name -> modality, None for a fused code."""
        if self.family == "fused":
            return {"code": None}
        return {f"{m}_code": m for m in self.spec.modalities}

    @property
    def nested(self) -> tuple[int, ...]:
        """Lengths, `bits` the last of them, that the codes are trained to be cut to; empty where they are not to be cut."""
        return ()

    @classmethod
    def input_sizes(cls, config: Any, recorded: Mapping[str, int] | None) -> dict[str, int]:
        """Sizes that files named by the settings decide: they reach `spec.inputs`, and checkpoints record them.

        Args:
            config: the settings, of the method's Config.
            recorded: those of the run that goes on, which must need the files no more; None for a fresh one.

        Raises:
            InputError: a file that cannot be used, or does not fit what was recorded.
        """
        return {}

    def completion(self) -> str:
        """One sentence for the manifest: how what is missing is completed in the exported graph."""
        return ""

    def begin(self, data: TrainData) -> None:
        """Called once, before the first epoch of a fresh run: draw anchors, check the data, fill `state`.

        Raises:
            InputError: where the data cannot train this method (too few paired items, say).
        """
        return

    @abstractmethod
    def optimizers(self) -> dict[str, Optimizer]:
        """The optimisers, by name, in the same order every time."""

    @abstractmethod
    def train_epoch(
        self, data: TrainData, epoch: int, optimizers: dict[str, Optimizer], generator: torch.Generator
    ) -> dict[str, float]:
        """Train one epoch (0-based) and return the mean of each loss term by name.

        All randomness comes from `generator` (on the CPU) or from torch's global one; both are seeded anew from the
        run's seed and the epoch before every call, which is what makes a resumed run equal to an uninterrupted one.
        Learning-rate schedules are functions of `epoch`.
        """

    def finish(self, data: TrainData) -> None:
        """Called after the last epoch, and before every validation: fix what inference needs (stored contexts, say).

        In evaluation mode and without gradients; the next epoch must not depend on whether it was called.
        """
        return

    @abstractmethod
    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Relaxed codes, float32 (B, bits) by name, for any mix of missing modalities.

        Args:
            features: scaled float32 (B, D_m) for every modality, zeros where it is missing.
            present: bool (B, M).

        Called in evaluation mode, deterministic, traced by the exporter: no data-dependent control flow, and a row's
            codes
        depend on that row only.
        """


def batches(
    n: int, size: int, generator: torch.Generator, device: torch.device, *, drop_single: bool = True
) -> list[Tensor]:
    """A random order of n items cut into batches of indices.

    A last batch of one is left out by default (BatchNorm cannot train on it); with a new order every epoch it is
    another item each time.
    """
    order = torch.randperm(n, generator=generator).to(device)
    return [part for part in order.split(size) if len(part) > 1 or not drop_single or n == 1]
