"""NCH: fused codes; missing modalities are generated, guided by labelled neighbours among complete anchors.

Tan, Zhu, Li, Zhang, Zhang: Partial Multi-Modal Hashing via Neighbor-Aware Completion Learning, IEEE Transactions on Multimedia, 2023.
The equations are not public: the terms below are stated from facts about the authors' public code, in our words, under our numbers.

Every block is Linear, BatchNorm, tanh. x_m are the features of modality m, standardised because tanh has to reach them; l are labels;
S = 2 / (1 + exp(-l_i . l_j)) - 1.

Stage 1, on the complete items, one neighbour module N_ab for each ordered pair of modalities (`nch.neighbours`):

    L1 = sum over (a, b) of MSE(N_ab(x_a, l), x_b)

Stage 2, with the neighbour modules fixed, on all items; every batch has the shares of the presence patterns (complete, image only, ...)
that the training set has. Generators G_ab make features of b out of those of a; h = head(sum over m of encoder_m(x_m)), where a missing
x_b is generated:

    L2 = MSE(cos(h_i, h_j), S_ij)        L3 = MSE(h, sign h)
    L4 = sum over (a, b) of MSE(G_ab(x_a), N_ab(x_a, l)), over all items that have a, whether or not they have b
    L  = L2 + quantisation * L3 + generation * L4

The neighbour modules are not exported: S needs the labels of the item, which a query or a new item does not have. What they know
reaches the codes through the generators, which are exported.

More than two modalities: there are generators and neighbour modules for each ordered pair, and a missing modality is the mean of what
is generated from each modality that is there. Anchors and stage 1 take the items that have all modalities.

Ours: N is computed once for each item, not in every epoch (it is fixed, and without dropout, by then); `squash`, `schedule`,
`weight_decay`; "mean" and "none" of `completion`. The public code trains 50 + 140 epochs on MIRFlickr; `epochs` counts both stages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ichash_export.layers import normed_mlp, observed_only
from ichash_export.losses import cosine, quantisation, squashed_similarity
from ichash_export.methods.base import Family, Method, MethodConfig, ModelSpec, TrainData, batches
from ichash_export.methods.nch.batches import proportional_batches
from ichash_export.methods.nch.neighbours import neighbour_module
from milvus_ichash.errors import InputError

Pair = tuple[str, str]
"""Source and target modality."""


class NCHConfig(MethodConfig):
    """Settings of NCH."""

    epochs: int = Field(60, ge=1)
    """Of both stages together."""
    neighbour_epochs: int = Field(20, ge=0)
    """Of stage 1."""
    learning_rate: float = Field(1e-3, gt=0)
    squash: bool = False
    """Put tanh on the standardised features. A word that is in one item of a hundred is 10 there, and no generator's tanh gets to it."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Of the learning rate in stage 2; "cosine" takes it down to zero. The public code keeps it constant."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty on the weights of stage 2; the public code has none."""
    quantisation: float = Field(0.1, ge=0)
    """Weight of L3."""
    generation: float = Field(0.1, ge=0)
    """Weight of L4."""
    completion: Literal["generators", "mean", "none"] = "generators"
    """What stands in for a missing modality: what is generated; its mean features (zeros, as they are standardised); nothing in the sum."""
    neighbour: Literal["transformer", "gat", "knn", "none"] = "transformer"
    """What guides the generators: attention to anchors, that of a graph attention network, the nearest anchors, or nothing."""
    anchors: int = Field(300, ge=1)
    """Complete training items that the neighbour modules look at."""
    nearest: int = Field(5, ge=1)
    """Anchors that the variant "knn" averages."""
    hidden: tuple[int, ...] = (2048, 1024)
    """Hidden width of the encoders, by modality; the last one is that of all further modalities too."""
    width: int = Field(512, ge=1)
    """Size of a modality's encoding."""
    generator_hidden: int = Field(2048, ge=1)
    attention_width: int = Field(1024, ge=1)
    attention_hidden: int = Field(2048, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)
    """In the neighbour modules."""

    @model_validator(mode="after")
    def _both_stages(self) -> NCHConfig:
        if not self.hidden:
            raise ValueError("hidden needs at least one width")
        if self.neighbour_epochs >= self.epochs:
            raise ValueError(
                f"neighbour_epochs ({self.neighbour_epochs}) must be less than epochs ({self.epochs}), which counts both"
            )
        return self


class NCH(Method):
    """NCH for two or more modalities; see the module's docstring.

    `state` holds the anchors: `anchor_labels` (A, C) and `anchors_<modality>` (A, D_m) for each modality.

    Raises:
        InputError: fewer than two modalities.
    """

    family: ClassVar[Family] = "fused"
    paper: ClassVar[str] = (
        "Tan et al., Partial Multi-Modal Hashing via Neighbor-Aware Completion Learning, IEEE TMM 2023"
    )
    Config = NCHConfig
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "no neighbour loss": {"neighbour": "none"},
        "KNN": {"neighbour": "knn"},
        "GAT": {"neighbour": "gat"},
        "no completion": {"completion": "none"},
        "mean completion": {"completion": "mean"},
    }
    config: NCHConfig

    def __init__(self, spec: ModelSpec, config: NCHConfig) -> None:
        super().__init__(spec, config)
        names, dims = spec.modalities, spec.dims
        if len(names) < 2:
            raise InputError(
                f"nch completes one modality from another, so it needs at least two; there is only '{names[0]}'."
            )
        hidden = [*config.hidden, *[config.hidden[-1]] * len(names)]
        self.encoders = nn.ModuleDict({m: normed_mlp((dims[m], hidden[i], config.width)) for i, m in enumerate(names)})
        self.head = normed_mlp((config.width, spec.bits))
        self.pairs: list[Pair] = list(permutations(names, 2)) if config.completion == "generators" else []
        self.generators = nn.ModuleDict(
            {_key(a, b): normed_mlp((dims[a], config.generator_hidden, dims[b])) for a, b in self.pairs}
        )
        self.neighbours = nn.ModuleDict()
        if config.neighbour != "none":
            sizes = {
                "width": config.attention_width,
                "hidden": config.attention_hidden,
                "dropout": config.dropout,
                "nearest": config.nearest,
            }
            self.neighbours.update(
                {_key(a, b): neighbour_module(config.neighbour, dims[a], dims[b], **sizes) for a, b in self.pairs}
            )
        self._guides: tuple[Tensor, dict[Pair, Tensor]] | None = None

    @property
    def warmup(self) -> int:
        """Epochs of stage 1; a variant with nothing to fit then lets them pass, so that all train their codes equally long."""
        return self.config.neighbour_epochs

    def completion(self) -> str:
        """One sentence for the manifest."""
        return {
            "generators": "A missing modality is generated from each one that is there, as features, and the mean of these is encoded.",
            "mean": "The mean features of a modality stand in where it is missing.",
            "none": "A missing modality adds nothing to the sum of encodings.",
        }[self.config.completion]

    def begin(self, data: TrainData) -> None:
        """Draw the anchors.

        Raises:
            InputError: fewer complete items than anchors.
        """
        if not self.neighbours:
            return
        data, paired = self._seen(data), data.complete()
        # BatchNorm cannot train on one item.
        if len(paired) < max(self.config.anchors, 2):
            fewer = f", or set anchors to at most {len(paired)}" if len(paired) > 1 else ""
            raise InputError(
                f"nch needs {max(self.config.anchors, 2)} training items that have all of {', '.join(self.spec.modalities)}, to draw its "
                f"anchors from; there are {len(paired)} of {len(data)}: give it more complete items{fewer}."
            )
        drawn = data.rows(paired[torch.randperm(len(paired))[: self.config.anchors].to(data.device)])
        self.state = {"anchor_labels": drawn.labels, **{f"anchors_{m}": x for m, x in drawn.features.items()}}

    def optimizers(self) -> dict[str, Optimizer]:
        """Adam for the networks of stage 2, and for the neighbour modules where they learn."""
        c = self.config
        networks = [*self.encoders.parameters(), *self.generators.parameters(), *self.head.parameters()]
        found: dict[str, Optimizer] = {
            "codes": Adam(networks, lr=c.learning_rate, weight_decay=c.weight_decay, fused=True)
        }
        if self._learns_neighbours:
            found["neighbours"] = Adam(self.neighbours.parameters(), lr=c.learning_rate, fused=True)
        return found

    def _seen(self, data: TrainData) -> TrainData:
        """The items as the networks see them."""
        return replace(data, features=self._squashed(data.features))

    def _squashed(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {m: x.tanh() for m, x in features.items()} if self.config.squash else features

    @property
    def _learns_neighbours(self) -> bool:
        return any(True for _ in self.neighbours.parameters())

    def train_epoch(
        self, data: TrainData, epoch: int, optimizers: dict[str, Optimizer], generator: torch.Generator
    ) -> dict[str, float]:
        """One epoch of stage 1 or, from `warmup` on, of stage 2."""
        self.train()
        data = self._seen(data)
        if epoch >= self.warmup:
            for group in optimizers["codes"].param_groups:
                group["lr"] = self._rate(epoch - self.warmup)
            return self._train_codes(data, optimizers["codes"], generator)
        return self._train_neighbours(data, optimizers["neighbours"], generator) if self._learns_neighbours else {}

    def _rate(self, epoch: int) -> float:
        """Learning rate in this epoch of stage 2."""
        c = self.config
        part = epoch / (c.epochs - c.neighbour_epochs) if c.schedule == "cosine" else 0
        return c.learning_rate * (1 + math.cos(math.pi * part)) / 2

    def _train_neighbours(self, data: TrainData, optimizer: Optimizer, generator: torch.Generator) -> dict[str, float]:
        """Stage 1: L1."""
        self._guides = None
        paired, steps = data.rows(data.complete()), []
        for index in batches(len(paired), self.config.batch_size, generator, data.device):
            items = paired.rows(index)
            loss = sum(F.mse_loss(self._neighbour(pair, items), items.features[pair[1]]) for pair in self.pairs)
            _step(loss, optimizer)
            steps.append({"L1 neighbours": loss.detach()})
        return _means(steps)

    def _train_codes(self, data: TrainData, optimizer: Optimizer, generator: torch.Generator) -> dict[str, float]:
        """Stage 2: L2, L3, L4."""
        guides, steps = self.guides(data), []
        for index in proportional_batches(data.present, self.config.batch_size, generator):
            terms = self.losses(data.rows(index), {pair: x[index] for pair, x in guides.items()})
            _step(self.objective(terms), optimizer)
            steps.append({name: term.detach() for name, term in terms.items()})
        return _means(steps)

    def losses(self, items: TrainData, guides: dict[Pair, Tensor]) -> dict[str, Tensor]:
        """The terms of stage 2 for a batch, each a mean; `guides` are N_ab (B, D_b) of its items."""
        made = self._generated(items.features, items.present)
        h = self._codes(items.features, items.present, made)
        similarity = squashed_similarity(items.labels, items.labels)
        return {
            "L2 similarity": F.mse_loss(cosine(h, h), similarity),
            "L3 quantisation": quantisation(h),
            "L4 generation": self._generation(made, guides, items.present),
        }

    def objective(self, terms: dict[str, Tensor]) -> Tensor:
        """L."""
        c = self.config
        return (
            terms["L2 similarity"] + c.quantisation * terms["L3 quantisation"] + c.generation * terms["L4 generation"]
        )

    def _neighbour(self, pair: Pair, items: TrainData) -> Tensor:
        """N_ab, (B, D_b), of items that have a."""
        source, target = pair
        s = squashed_similarity(items.labels, self.state["anchor_labels"])
        anchors, anchor_targets = self.state[f"anchors_{source}"], self.state[f"anchors_{target}"]
        return self.neighbours[_key(*pair)](items.features[source], s, anchors, anchor_targets)

    @torch.no_grad()
    def guides(self, data: TrainData) -> dict[Pair, Tensor]:
        """N_ab (n, D_b) of all items, by the fixed neighbour modules: the targets of L4. Rows that lack a hold nothing of use.

        They are kept for the next epoch on the same data, and made anew after a resume.
        """
        self.neighbours.eval()
        if self._guides is None or self._guides[0] is not data.present:
            chunks = torch.arange(len(data), device=data.device).split(self.config.batch_size)
            pairs = self.pairs if self.neighbours else []
            self._guides = (
                data.present,
                {pair: torch.cat([self._neighbour(pair, data.rows(rows)) for rows in chunks]) for pair in pairs},
            )
        return self._guides[1]

    def _generation(self, made: dict[Pair, Tensor], guides: dict[Pair, Tensor], present: Tensor) -> Tensor:
        """L4."""
        loss = torch.zeros((), device=present.device)
        for (source, target), guide in guides.items():
            there = present[:, self.spec.modalities.index(source)]
            errors = (made[source, target] - guide).square().mean(dim=1)
            loss = loss + (errors * there).sum() / there.sum().clamp_min(1)
        return loss

    def _generated(self, features: dict[str, Tensor], present: Tensor) -> dict[Pair, Tensor]:
        """G_ab (B, D_b); zeros in the rows that lack a."""
        index = self.spec.modalities.index
        dims = self.spec.dims
        return {
            (a, b): observed_only(self.generators[_key(a, b)], features[a], present[:, index(a)], dims[b])
            for a, b in self.pairs
        }

    def _codes(self, features: dict[str, Tensor], present: Tensor, made: dict[Pair, Tensor]) -> Tensor:
        """Relaxed codes (B, bits), with what is missing taken from `made`."""
        encoded = []
        for i, (m, x) in enumerate(features.items()):
            there = present[:, i]
            if self.config.completion == "none":
                encoded.append(observed_only(self.encoders[m], x, there, self.config.width))
                continue
            if self.pairs:
                sources = (present.sum(dim=1, keepdim=True) - there.unsqueeze(1).long()).clamp_min(1)
                recovered = sum(y for (_, target), y in made.items() if target == m) / sources
                x = torch.where(there.unsqueeze(1), x, recovered)
            encoded.append(self.encoders[m](x))
        return self.head(sum(encoded))

    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """`code`, float32 (B, bits) in (-1, 1)."""
        features = self._squashed(features)
        return {"code": self._codes(features, present, self._generated(features, present))}


def _key(source: str, target: str) -> str:
    return f"{source}_to_{target}"


def _step(loss: Tensor, optimizer: Optimizer) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _means(steps: list[dict[str, Tensor]]) -> dict[str, float]:
    return {name: torch.stack([step[name] for step in steps]).mean().item() for name in steps[0]}
