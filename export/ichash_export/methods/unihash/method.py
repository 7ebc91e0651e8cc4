"""UniHash: one code space for every kind of query; codes of any part of an item agree with those of the whole.

Our own method. An item has one code, made from whichever modalities it has; the code of its picture, of its words and
of both lie in the same space, so that picture finds words, words find pictures, and both find either. docs/unihash.md
has the reasons and the figures.

x_m are features, P the modalities an item has, l its labels, C classes, K bits, s a subset of P that is not empty.

    eq. 1  z_m = E_m(x_m)                                               encoders into one latent space, m in P
    eq. 2  f(s) = sum_m g_m z_m,  g = softmax of w_m . tanh(z_m)        gates over the modalities in s
    eq. 3  h(s) = tanh(beta (A f(s) + b))                               bit = h > 0
    eq. 4  x_m <- x_m of an item with the labels l, in training         donors: half of the gaps, anew in each epoch
    eq. 5  L_proto = -sum_c l_c/|l| log softmax_c(alpha cos(h, p_c))    class prototypes p_c in code space
    eq. 6  L_pair  = CE([l_i . l_j > 0], sigmoid(a cos(h_i, h_j) + b))  a, b learnt; over whole items and subsets
    eq. 7  L_rank  = -mean over j that share a label with i of log softmax_j(cos(h_i, h_j) / tau)
                     over the codes j, other than i, that are made from the same modalities
    eq. 8  L_cons  = 1 - cos(h(s), stop h(P))                           s drawn anew in every step
    eq. 9  L_con   = CE over the batch of cos(h_i(s), h_j(P)) / theta   which item a subset belongs to
    eq. 10 L_quant = ||h - sign h||^2 / K

    L = proto L_proto + pair L_pair + rank L_rank + consistency L_cons + contrast L_con + quantisation L_quant

L_proto, L_pair and L_rank are taken over items whose labels are known; items without labels are learnt from through eq.
8 to 10. L_con keeps items of the same labels apart: mAP does not ask for that, and a little of it is lost, but who
looks for one of them does. The slope beta grows from 1 to 1 + `sharpening` in training, so that little is left for the
sign to cut off.

Completion. Eq. 4 is all there is: the gates need nothing in the place of what is missing, but with few complete items
training would hardly see what goes together. Ablations put something there, for m not in s: "memory" z*_m = sum_j a_j
v_mj with a = softmax_j(k_j . Q f(s) / sqrt W), and eq. 11 L_mem = ||z*_m - stop z_m||^2 / W over what subsets hide,
weight `memory`; "mean completion" one learnt z*_m for all items, with the same L_mem.

Nested codes (`nested`): L_proto, L_pair, L_rank, L_cons and L_con are means over prefixes of the code
(`losses.lengths`), so that one model trained at 128 bits also gives codes of 16, 32, 64 and 96: the first bits of each.

>>> from ichash_export.train.training import train
>>> trained = train(table, "unihash", 32, settings={"epochs": 1, "hidden": 32, "width": 32})
>>> trained.model.method.nested
(16, 32)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ichash_export.layers import observed_only
from ichash_export.losses import masked_mean, quantisation
from ichash_export.methods.base import (
    Family,
    Method,
    MethodConfig,
    ModelSpec,
    Terms,
    TrainData,
    cosine_rate,
    set_rate,
    setting,
)
from ichash_export.methods.batches import labelled_batches
from ichash_export.methods.unihash.donors import with_donors
from ichash_export.methods.unihash.losses import consistency, contrast, lengths, pair_loss, prototype_loss, rank_loss
from ichash_export.methods.unihash.networks import Gates, MeanLatents, Memory, encoder


class UniHashConfig(MethodConfig):
    """Settings of UniHash."""

    batch_size: int = setting(256, ge=2)
    proto: float = setting(0.5, ge=0)
    """Weight of L_proto."""
    pair: float = setting(1.0, ge=0)
    """Weight of L_pair."""
    rank: float = setting(0.5, ge=0)
    """Weight of L_rank."""
    rank_temperature: float = setting(0.3, ge=0.05)
    """tau of eq. 7."""
    consistency: float = setting(0.5, ge=0)
    """Weight of L_cons."""
    contrast: float = setting(0.3, ge=0)
    """Weight of L_con; 0 where only the labels count."""
    quantisation: float = setting(0.1, ge=0)
    """Weight of L_quant."""
    memory: float = setting(0.1, ge=0)
    """Weight of L_mem."""
    scale: float = setting(3.0, gt=0)
    """alpha of eq. 5, of the cosines to the prototypes."""
    temperature: float = setting(0.3, gt=0)
    """theta of eq. 9."""
    sharpening: float = setting(4.0, ge=0)
    """How much the slope of the tanh grows in training."""
    learning_rate: float = setting(2e-3, gt=0)
    """At the start; it falls to zero along a cosine."""
    weight_decay: float = setting(1e-3, ge=0)
    """L2 penalty on the weights of linear layers."""
    input_dropout: float = setting(0.2, ge=0, lt=1)
    """Share of the features that a step leaves out."""
    dropout: float = setting(0.3, ge=0, lt=1)
    """Share of the hidden units that a step leaves out."""
    hidden: int = setting(512, ge=1)
    """Hidden width of the encoders."""
    width: int = setting(512, ge=1)
    """Size of the latent space."""
    fusion: Literal["gates", "mean"] = setting("gates")
    """How latents become one: weighed by gates, or their mean."""
    completion: Literal["donors", "memory", "mean", "none"] = setting("donors")
    """What stands in for a missing modality: in training, that of an item with the same labels; what a memory recalls;
    one learnt latent for all items; or nothing."""
    donors: float = setting(0.5, gt=0, le=1)
    """Share of the gaps that an epoch fills, where completion = 'donors'."""
    slots: int = setting(128, ge=1)
    """Slots of the memory, where completion = 'memory'."""
    subsets: bool = setting(True)
    """Train the codes of subsets of an item's modalities too."""
    nested: bool = setting(True)
    """Make the first 16, 32, 64, ... bits good codes themselves."""


class UniHash(Method):
    """UniHash for one or more modalities; see the module's docstring."""

    family: ClassVar[Family] = "fused"
    needs_labels: ClassVar[bool] = False
    one_space: ClassVar[bool] = True
    Config = UniHashConfig
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "no completion": {"completion": "none"},
        "mean completion": {"completion": "mean"},
        "memory": {"completion": "memory"},
        "without gates": {"fusion": "mean"},
        "without subsets": {"subsets": False},
        "without consistency": {"consistency": 0.0},
        "with contrast": {"contrast": 0.3},  # as it is by default; the recipes have none
        "without contrast": {"contrast": 0.0},
        "without prototypes": {"proto": 0.0},
        "without pairs": {"pair": 0.0},
        "without ranking": {"rank": 0.0},
        "without quantisation": {"quantisation": 0.0},
        "without sharpening": {"sharpening": 0.0},
        "not nested": {"nested": False},
    }
    config: UniHashConfig

    def __init__(self, spec: ModelSpec, config: UniHashConfig) -> None:
        super().__init__(spec, config)
        c, m = config, len(spec.modalities)
        self.encoders = nn.ModuleDict(
            {name: encoder(dim, c.hidden, c.width, c.input_dropout, c.dropout) for name, dim in spec.dims.items()}
        )
        self.gates = Gates(m, c.width) if c.fusion == "gates" else None
        self.recall: Memory | MeanLatents | None = None
        if m > 1 and c.completion in ("memory", "mean"):
            self.recall = Memory(m, c.width, c.slots) if c.completion == "memory" else MeanLatents(m, c.width)
        self.lengths = lengths(spec.bits, nested=c.nested)
        self.head = nn.Linear(c.width, spec.bits)
        self.prototypes = nn.Parameter(torch.randn(spec.classes, spec.bits))
        self.pair_scale = nn.Parameter(torch.tensor(8.0))
        self.pair_bias = nn.Parameter(torch.tensor(-2.0))

    @property
    def nested(self) -> tuple[int, ...]:
        """Return the lengths that codes may be cut to, `bits` the last of them; empty where they may not be cut."""
        return self.lengths if len(self.lengths) > 1 else ()

    def completion(self) -> str:
        """Return one sentence for the manifest."""
        return {
            "donors": "None in the graph: what is there is all that counts; in training, gaps were filled from items "
            "with the same labels.",
            "memory": "A missing modality's latent is recalled from a learnt memory by the latents of the modalities "
            "that are there.",
            "mean": "One learnt latent stands in wherever a modality is missing.",
            "none": "A missing modality has no weight among the gates.",
        }[self.config.completion if len(self.spec.modalities) > 1 else "none"]

    def optimizers(self) -> dict[str, Optimizer]:
        """Return Adam, with weight decay on the linear layers."""
        linear = {id(layer.weight) for layer in self.modules() if isinstance(layer, nn.Linear)}
        decayed = [p for p in self.parameters() if id(p) in linear]
        others = [p for p in self.parameters() if id(p) not in linear]
        groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": self.config.weight_decay},
            {"params": others},
        ]
        return {"adam": Adam(groups, lr=self.config.learning_rate, fused=True)}

    def steps(
        self, data: TrainData, epoch: int, optimizers: dict[str, Optimizer], generator: torch.Generator
    ) -> Iterator[Terms]:
        """Do one pass over all items, whose learning rate and slope beta change from step to step."""
        c, optimizer = self.config, optimizers["adam"]
        if c.completion == "donors":
            data = with_donors(data, c.donors)
        parts = labelled_batches(data.known, c.batch_size, generator)
        for step, index in enumerate(parts):
            now = epoch + step / len(parts)
            set_rate(optimizer, cosine_rate(c.learning_rate, now, c.epochs))
            yield self.step(self.losses(data.rows(index), slope=1 + c.sharpening * (now / c.epochs)), optimizer)

    def losses(self, items: TrainData, slope: float = 1.0) -> Terms:
        """Return the terms for a batch, with this slope beta; a term is 0 where no item has what it is about."""
        latents = self._latents(items.features, items.present)
        several, shown = self._subsets(items.present)
        whole, _ = self._fused(latents, items.present)
        parts, recalled = self._fused(latents[several], shown)
        h = torch.tanh(slope * self.head(torch.cat([whole, parts])))
        first, second = h[: len(whole)], h[len(whole) :]
        labels = torch.cat([items.labels, items.labels[several]])
        taught = torch.cat([items.known, items.known[several]])
        terms = {
            "L_quant": quantisation(h),
            "L_mem": self._recollection(recalled, latents[several], items.present[several] & ~shown),
        }
        kinds = torch.cat([items.present, shown])[taught].unique(dim=0, return_inverse=True)[1]
        nested = [self._of_length(k, h, first[several], second, labels, taught, kinds) for k in self.lengths]
        return terms | {name: torch.stack([each[name] for each in nested]).mean() for name in nested[0]}

    def _of_length(
        self, k: int, h: Tensor, wholes: Tensor, parts: Tensor, labels: Tensor, taught: Tensor, kinds: Tensor
    ) -> dict[str, Tensor]:
        """Eq. 5 to 9 for the first k bits.

        Args:
            k: the length.
            h: all codes, of whole items and of subsets (B, bits).
            wholes: h(P) of the items that have a subset (S, bits).
            parts: h(s) of the same items (S, bits).
            labels: of all codes (B, C).
            taught: bool (B,), True where the labels are known.
            kinds: of the taught codes, int64: those that are made from the same modalities have the same number.
        """
        c, u, own = self.config, h[taught, :k], labels[taught]
        whole, part = wholes[:, :k], parts[:, :k]
        return {
            "L_proto": prototype_loss(u, self.prototypes[:, :k], own, c.scale),
            "L_pair": pair_loss(u, own, self.pair_scale, self.pair_bias),
            "L_rank": rank_loss(u, own, kinds, c.rank_temperature),
            "L_cons": consistency(part, whole),
            "L_con": contrast(part, whole, c.temperature),
        }

    def weights(self) -> Mapping[str, float]:
        """Return the weights of L."""
        c = self.config
        return {
            "L_proto": c.proto,
            "L_pair": c.pair,
            "L_rank": c.rank,
            "L_cons": c.consistency,
            "L_con": c.contrast,
            "L_quant": c.quantisation,
            "L_mem": c.memory,
        }

    def _subsets(self, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return the indices of items with several modalities, and a random part of each, bool: not empty, not all."""
        several = (
            (present.sum(dim=1) > 1).nonzero().flatten()
            if self.config.subsets
            else present.new_zeros(0, dtype=torch.long)
        )
        there = present[several]
        order = torch.rand(there.shape, device=present.device).masked_fill(~there, 2.0).argsort(dim=1).argsort(dim=1)
        size = 1 + (torch.rand(len(there), 1, device=present.device) * (there.sum(dim=1, keepdim=True) - 1)).long()
        return several, order < size

    def _latents(self, features: dict[str, Tensor], present: Tensor) -> Tensor:
        """z_m (B, M, W); zeros where a modality is missing."""
        width = self.config.width
        latents = [
            observed_only(self.encoders[m], x, present[:, i], width, least=1)
            for i, (m, x) in enumerate(features.items())
        ]
        return torch.stack(latents, dim=1)

    def _fused(self, latents: Tensor, there: Tensor) -> tuple[Tensor, Tensor | None]:
        """f (B, W) of eq. 2, and z* (B, M, W) where modalities are completed."""
        known = self._gated(latents, there)
        if self.recall is None:
            return known, None
        recalled = self.recall(known)
        whole = torch.where(there.unsqueeze(2), latents, recalled)
        return self._gated(whole, torch.ones_like(there)), recalled

    def _gated(self, latents: Tensor, there: Tensor) -> Tensor:
        if self.gates is not None:
            weighed: Tensor = self.gates(latents, there)
            return weighed
        weights = there.to(latents.dtype)
        return torch.einsum("bm,bmw->bw", weights / weights.sum(dim=1, keepdim=True), latents)

    def _recollection(self, recalled: Tensor | None, latents: Tensor, hidden: Tensor) -> Tensor:
        """L_mem (eq. 11), a mean over latents (B, M, W) where `hidden` is True."""
        if recalled is None:
            return latents.new_zeros(())
        errors = (recalled - latents.detach()).square().mean(dim=2)
        return masked_mean(errors, hidden)

    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `code`, float32 (B, bits) in (-1, 1)."""
        fused, _ = self._fused(self._latents(features, present), present)
        return {"code": torch.tanh(self.head(fused))}
