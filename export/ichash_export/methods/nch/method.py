"""NCH: fused codes; missing modalities are generated, guided by labelled neighbours among complete anchors.

Tan, Zhu, Li, Zhang, Zhang: Partial Multi-Modal Hashing via Neighbor-Aware Completion Learning, IEEE Transactions on
Multimedia, 2023. The equations are not public: the terms below are stated from facts about the authors' public code, in
our words, under our numbers.

Every block is Linear, BatchNorm, tanh. x_m are the features of modality m, words min-max scaled (or 0/1, as they are),
all else standardised, since tanh has to reach them; l are labels; S = 2 / (1 + exp(-l_i . l_j)) - 1.

Stage 1, on the complete items, one neighbour module N_ab for each ordered pair of modalities (`neighbours.py`):

    L1 = sum over (a, b) of MSE(N_ab(x_a, l), x_b)

Stage 2, on all items; every batch has the shares of the presence patterns (complete, image only, ...) that the training
set has. Generators G_ab make features of b out of those of a; h = head(sum over m of encoder_m(x_m)), where a missing
x_b is generated:

    L2 = MSE(cos(h_i, h_j), S_ij)        L3 = MSE(h, sign h)
    L4 = sum over (a, b) of MSE(G_ab(x_a), N_ab(x_a, l)), over all items that have a, whether or not they have b
    L  = L2 + quantisation * L3 + generation * L4

In training, what passes a network together decides BatchNorm's statistics (`passes.py`). True features pass an encoder
in one batch, and generated ones in another, which are made for all items that have a source, complete ones too. Each
presence pattern passes the head in a batch of its own. Inference takes the running statistics of all of them.

In stage 2 the neighbour modules learn no more, but stay in training mode: N is made anew in each batch, with dropout
and with the statistics of the batch's items that have a, and no gradient goes through it.

The neighbour modules are not exported: S needs the labels of the item, which a query or a new item does not have. What
they know reaches the codes through the generators, which are exported.

More than two modalities: there are generators and neighbour modules for each ordered pair, and a missing modality is
the mean of what is generated from each modality that is there. Anchors and stage 1 take the items that have all
modalities.

Ours: `squash`, `schedule`, `weight_decay`; "mean" and "none" of `completion` (there, what an encoder gets is one
batch); `words` as a setting. Presence patterns with few items in a batch pass the head together: with more than two
modalities there are many patterns. The public code trains 50 + 140 epochs on MIRFlickr; `epochs` counts both stages.

>>> from ichash_export.train.training import train
>>> small = {"epochs": 2, "neighbour_epochs": 1, "anchors": 10, "hidden": [32], "attention_hidden": 32}
>>> trained = train(table, "nch", 16, settings=small)
>>> trained.model.method.completion()
'A missing modality is generated from each one that is there, as features, and the mean of these is encoded.'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import permutations
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ichash_export.layers import by_modality, mean_of_present, normed_mlp, observed_only
from ichash_export.losses import quantisation, similarity_loss, squashed_similarity
from ichash_export.methods.base import (
    Citation,
    Family,
    Method,
    MethodConfig,
    ModelSpec,
    Scaling,
    Terms,
    TrainData,
    scheduled_rate,
    setting,
)
from ichash_export.methods.batches import batches, proportional_batches
from ichash_export.methods.nch.neighbours import neighbour_module
from ichash_export.methods.nch.passes import by_pattern, encoded_apart
from ichash_export.methods.words import words_among
from milvus_ichash.errors import InputError

Pair = tuple[str, str]
"""Source and target modality."""


class NCHConfig(MethodConfig):
    """Settings of NCH."""

    epochs: int = setting(60, ge=1)
    """How often all training items are gone through, in both stages together."""
    batch_size: int = setting(512, "public code", ge=2)
    neighbour_epochs: int = setting(20, ge=0)
    """Epochs of stage 1."""
    learning_rate: float = setting(1e-3, "public code", gt=0)
    """Learning rate of both stages."""
    words: tuple[str, ...] = setting(("text", "words"), "public code")
    """Modalities of words or counts: scaled to [0, 1], which leaves 0/1 as it is. The data need not have those of the
    default; all other modalities are standardised."""
    squash: bool = setting(False)
    """Put tanh on the scaled features, so that a generator's tanh gets to all of them; the public code does not."""
    schedule: Literal["constant", "cosine"] = setting("constant", "public code")
    """Schedule of the learning rate in stage 2; "cosine" takes it down to zero. The public code keeps it constant."""
    weight_decay: float = setting(0.0, ge=0)
    """L2 penalty on the weights of stage 2; the public code has none."""
    quantisation: float = setting(0.1, "public code", ge=0)
    """Weight of L3."""
    generation: float = setting(0.1, "public code", ge=0)
    """Weight of L4."""
    completion: Literal["generators", "mean", "none"] = setting("generators", "paper")
    """What stands in for a missing modality: what is generated; its mean features; nothing in the sum."""
    neighbour: Literal["transformer", "gat", "knn", "none"] = setting("transformer", "public code")
    """What guides the generators: attention to anchors, that of a graph attention network, the nearest anchors, or
    nothing."""
    anchors: int = setting(300, "public code", ge=1)
    """Complete training items that the neighbour modules look at; all of them where there are fewer."""
    nearest: int = setting(5, ge=1)
    """Anchors that the variant "knn" averages."""
    hidden: tuple[int, ...] = setting((2048, 1024), "public code")
    """Hidden width of the encoders, by modality; further modalities have the last one."""
    width: int = setting(512, "public code", ge=1)
    """Size of a modality's encoding."""
    generator_hidden: int = setting(2048, "public code", ge=1)
    """Hidden width of the generators."""
    attention_width: int = setting(1024, "public code", ge=1)
    """Size of queries, keys and values in the neighbour modules."""
    attention_hidden: int = setting(2048, "public code", ge=1)
    """Hidden width of the feed-forward network in the neighbour modules."""
    dropout: float = setting(0.5, "public code", ge=0, lt=1)
    """Share of the hidden units that is dropped in the feed-forward networks of the neighbour modules, and of their
    outputs."""

    @model_validator(mode="after")
    def _both_stages(self) -> NCHConfig:
        if not self.hidden:
            raise ValueError("hidden needs at least one width")
        if self.neighbour_epochs >= self.epochs:
            raise ValueError(
                f"neighbour_epochs ({self.neighbour_epochs}) must be less than epochs ({self.epochs}), which counts "
                f"both: take more epochs, or --set neighbour_epochs=N with N from 0 to {self.epochs - 1}"
            )
        return self


class NCH(Method):
    """NCH for two or more modalities; see the module's docstring.

    `state` holds the anchors: `anchor_labels` (A, C) and `anchors_<modality>` (A, D_m) for each modality.
    """

    family: ClassVar[Family] = "fused"
    citation = Citation(
        title="Partial Multi-Modal Hashing via Neighbor-Aware Completion Learning",
        authors="Wentao Tan, Lei Zhu, Jingjing Li, Zheng Zhang, Huaxiang Zhang",
        venue="IEEE Transactions on Multimedia",
        year=2023,
        doi="10.1109/TMM.2023.3238308",
        code="https://github.com/FutureTwT/NCH",
    )
    needs_several_modalities = True
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
        names, dims, c = spec.modalities, spec.dims, config
        hidden = by_modality(c.hidden, names)
        self.encoders = nn.ModuleDict({m: normed_mlp((dims[m], hidden[m], c.width)) for m in names})
        self.head = normed_mlp((c.width, spec.bits))
        self.words = words_among(names, c.words, "nch")
        if c.completion == "mean":
            for m in names:
                self.register_buffer(_mean(m), torch.zeros(dims[m]))
        self.pairs: list[Pair] = list(permutations(names, 2)) if c.completion == "generators" else []
        self.generators = nn.ModuleDict(
            {_key(a, b): normed_mlp((dims[a], c.generator_hidden, dims[b])) for a, b in self.pairs}
        )
        self.neighbours = nn.ModuleDict()
        if c.neighbour != "none":
            for a, b in self.pairs:
                self.neighbours[_key(a, b)] = neighbour_module(
                    c.neighbour,
                    dims[a],
                    dims[b],
                    width=c.attention_width,
                    hidden=c.attention_hidden,
                    dropout=c.dropout,
                    nearest=c.nearest,
                )

    def scaling(self, modality: str) -> Scaling:
        """Return min-max for words, so that a generator's tanh gets to them."""
        return "minmax" if modality in self.words else "standard"

    @property
    def warmup(self) -> int:
        """Return the epochs of stage 1.

        A variant with nothing to fit in it lets them pass, so that all variants train their codes equally long.
        """
        return self.config.neighbour_epochs

    def completion(self) -> str:
        """Return one sentence for the manifest."""
        return {
            "generators": "A missing modality is generated from each one that is there, as features, and the mean of "
            "these is encoded.",
            "mean": "The mean features of a modality stand in where it is missing.",
            "none": "A missing modality adds nothing to the sum of encodings.",
        }[self.config.completion]

    def begin(self, data: TrainData) -> None:
        """Learn the means where they stand in; draw the anchors, or take all complete items where there are fewer.

        Raises:
            InputError: fewer than two complete items.
        """
        if self.config.completion == "mean":
            for i, (m, x) in enumerate(self._squashed(data.features).items()):
                self.get_buffer(_mean(m)).copy_(x[data.present[:, i]].mean(dim=0))
        if not self.neighbours:
            return
        paired, wanted = len(data.complete()), self.config.anchors
        if paired < 2:  # BatchNorm cannot train on one item
            raise InputError(
                f"nch needs at least 2 training items that have all of {', '.join(self.spec.modalities)}, to draw its "
                f"anchors from; there are {paired} of {len(data)}: give it more complete items, or do without anchors "
                "(--set neighbour=none)."
            )
        if paired < wanted:
            self.remarks.append(
                f"nch takes all {paired} complete training items as its anchors, for there are fewer than the setting "
                f"anchors = {wanted} asks for (--set anchors={paired} says the same)."
            )
        drawn = self._seen(data).sample_complete(wanted)
        self.state = {"anchor_labels": drawn.labels, **{f"anchors_{m}": x for m, x in drawn.features.items()}}

    def optimizers(self) -> dict[str, Optimizer]:
        """Return Adam for the networks of stage 2, and for the neighbour modules where they learn."""
        c = self.config
        networks = [*self.encoders.parameters(), *self.generators.parameters(), *self.head.parameters()]
        found: dict[str, Optimizer] = {
            "codes": Adam(networks, lr=c.learning_rate, weight_decay=c.weight_decay, fused=True)
        }
        if any(True for _ in self.neighbours.parameters()):
            found["neighbours"] = Adam(self.neighbours.parameters(), lr=c.learning_rate, fused=True)
        return found

    def learning_rates(self, epoch: int) -> Mapping[str, float]:
        """Return the rate of stage 2, in that stage."""
        c, before = self.config, self.warmup
        return {"codes": scheduled_rate(c.schedule, c.learning_rate, max(epoch - before, 0), c.epochs - before)}

    def steps(
        self, data: TrainData, epoch: int, optimizers: dict[str, Optimizer], generator: torch.Generator
    ) -> Iterator[Terms]:
        """Do an epoch of stage 1 or, from `warmup` on, of stage 2."""
        data = self._seen(data)
        if epoch >= self.warmup:
            for index in proportional_batches(data.present, self.config.batch_size, generator):
                yield self.step(self.code_losses(data.rows(index)), optimizers["codes"])
        elif "neighbours" in optimizers:
            paired = data.rows(data.complete())
            for index in batches(len(paired), self.config.batch_size, generator, data.device):
                yield self.step(self.neighbour_losses(paired.rows(index)), optimizers["neighbours"])

    def neighbour_losses(self, items: TrainData) -> Terms:
        """Return the term of stage 1, L1, of complete items."""
        errors = [F.mse_loss(self._neighbour(pair, items), items.features[pair[1]]) for pair in self.pairs]
        return {"L1 neighbours": sum(errors, items.labels.new_zeros(()))}

    def code_losses(self, items: TrainData) -> Terms:
        """Return the terms of stage 2 for a batch."""
        made = self._generated(items.features, items.present)
        h = self._codes(items.features, items.present, made)
        return {
            "L2 similarity": similarity_loss(h, items.labels),
            "L3 quantisation": quantisation(h),
            "L4 generation": self._generation(made, items),
        }

    def weights(self) -> Mapping[str, float]:
        """Return the weights of L."""
        return {"L3 quantisation": self.config.quantisation, "L4 generation": self.config.generation}

    def _seen(self, data: TrainData) -> TrainData:
        """Return the items as the networks see them."""
        return replace(data, features=self._squashed(data.features))

    def _squashed(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {m: x.tanh() for m, x in features.items()} if self.config.squash else features

    def _neighbour(self, pair: Pair, items: TrainData) -> Tensor:
        """N_ab, (B, D_b), of items that have a."""
        a, b = pair
        s = squashed_similarity(items.labels, self.state["anchor_labels"])
        anchors, anchor_targets = self.state[f"anchors_{a}"], self.state[f"anchors_{b}"]
        completed: Tensor = self.neighbours[_key(a, b)](items.features[a], s, anchors, anchor_targets)
        return completed

    def _generation(self, made: dict[Pair, Tensor], items: TrainData) -> Tensor:
        """L4, over the items that have a. Its targets N_ab are made anew, and are constants."""
        loss = items.labels.new_zeros(())
        for a, b in self.pairs if self.neighbours else []:
            rows = items.present[:, self.spec.modalities.index(a)].nonzero().flatten()
            if len(rows) > 1:  # BatchNorm cannot train on one
                with torch.no_grad():
                    target = self._neighbour((a, b), items.rows(rows))
                loss = loss + F.mse_loss(made[a, b][rows], target)
        return loss

    def _generated(self, features: dict[str, Tensor], present: Tensor) -> dict[Pair, Tensor]:
        """G_ab (B, D_b); zeros in the rows that lack a."""
        index, dims = self.spec.modalities.index, self.spec.dims
        return {
            (a, b): observed_only(self.generators[_key(a, b)], features[a], present[:, index(a)], dims[b])
            for a, b in self.pairs
        }

    def _codes(self, features: dict[str, Tensor], present: Tensor, made: dict[Pair, Tensor]) -> Tensor:
        """h, relaxed codes (B, bits), with what is missing taken from `made`."""
        encoded = [self._encoded(m, x, present, made) for m, x in features.items()]
        return by_pattern(self.head, torch.stack(encoded).sum(dim=0), present)

    def _encoded(self, modality: str, x: Tensor, present: Tensor, made: dict[Pair, Tensor]) -> Tensor:
        """Return the encoding (B, width) of a modality, or of what stands in for it."""
        names, encoder, width = self.spec.modalities, self.encoders[modality], self.config.width
        there = present[:, names.index(modality)]
        if self.config.completion == "none":
            return observed_only(encoder, x, there, width)
        if self.config.completion == "mean":
            filled: Tensor = encoder(torch.where(there.unsqueeze(1), x, self.get_buffer(_mean(modality))))
            return filled
        sources = [i for i, name in enumerate(names) if name != modality]
        recovered = mean_of_present(torch.stack([made[names[i], modality] for i in sources]), present[:, sources])
        if self.training:
            return encoded_apart(encoder, x, there, recovered, present[:, sources].any(dim=1), width)
        inferred: Tensor = encoder(torch.where(there.unsqueeze(1), x, recovered))
        return inferred

    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `code`, float32 (B, bits) in (-1, 1)."""
        features = self._squashed(features)
        return {"code": self._codes(features, present, self._generated(features, present))}


def _key(source: str, target: str) -> str:
    return f"{source}_to_{target}"


def _mean(modality: str) -> str:
    return f"mean_{modality}"
