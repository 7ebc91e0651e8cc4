"""CICH: one code per modality; label prototypes coordinate them, and neighbours help to recover what is missing.

Luo, Zhang, Nie: Contrastive Incomplete Cross-modal Hashing, IEEE TKDE 36 (2024). Symbols and numbers of equations are
the paper's.

u, v are modalities; f^u = mu^u the mean that the encoder of u gives, z^u = mu^u + eps sigma^u its modality-transfer
variable, h^u = tanh(W_h^u mu^u) its relaxed code; l an item's labels, psi = W_p^T l its prototypical code, B the codes
that all modalities share, S_ij = 1 where items i and j share a label, else 0; s(x) = 1 / (1 + e^-x); q and q' are
linear:

    eq. 3     L^PSSC = sum over k in {p, u, v} of -(S_ij Lambda_ij^k - log(1 + e^(Lambda_ij^k))) + ||h_i^k - b_i||^2,
              Lambda_ij^k = h_i^k . psi_j / 2, H^p = Psi; j runs over all n training items
    eq. 5, 7  L^SaCH = -A_ir log(e^(s(h_i^u . h_r^v / 2) / tau) / sum_j e^(s(h_i^u . h_j^v / 2) / tau)),
              from u to v and from v to u
    eq. 6     A = S; where one of the two items is recovered, A = I((S S^T) S)
    eq. 10    L^CCA  = -log q(f^u | z^v) - log q'(f^u | z^v, N(f^v)) + beta KL(p(z^v | f^v), N(0, 1)),
              from v to u and from u to v; N(f^v): the features of the nearest items that have u, in Hamming space
    eq. 11    L      = L^PSSC + alpha L^SaCH + delta L^CCA

Algorithm 1, round by round: B = sign(H^u + H^v + Psi), where a recovered code stands in for a missing one (its step 6,
done when the next round starts, with the pass over all items that also gives q' its neighbours; B starts random); then
W_p by eq. 3, with the codes of the round's start; then the networks by eq. 11, with Psi fixed, recovering what a batch
lacks as they go (step 5).

More than two modalities: the terms of eq. 7 and 10 are taken over all pairs and divided by M - 1, and what is missing
is the mean of what each modality that is there recovers. With two modalities all of this is the paper's.

Means in place of the paper's sums, so that weights depend neither on the batch m nor on n: L^PSSC over pairs (i, j)
and, with a weight of its own (`quantisation`), over items and bits; L^SaCH over anchors and each anchor's positives;
L^CCA over items and features. The paper's sums divided by m n say which weights here stand for its own (P: positives of
an anchor in a batch; d = 512; K: bits):

    alpha here = alpha 2 P / n    delta here = delta d / (m n)    beta here = beta    quantisation here = K / n

On MIRFlickr (n = 18,015, m = 64, P about 60 by eq. 6) its alpha = 5 is 0.03 here, and delta = 20 to 500 is 0.009 to
0.22. The recipes' were chosen on held-out training items.

Ours:
- q and q' are Gaussians of unit variance: squared errors. Their target f^u is a constant to them, and an item is not
  its own neighbour.
- Image features come from a fixed network, where the paper trains its ResNet with the rest. After it comes one linear
  layer; `linear = []` gives images a hidden layer, as the text has.
- The export has no neighbours to search. `completion` "context" is q' with one context for all of them: class
  prototypes (mean f of a class's training items) weighted by softmax(h . h_c / 2 + log(share of class c)) over their
  codes h_c; "q" is q alone; both train alike. "mean": the mean f stands in, in L^SaCH too. "none": what is missing
  takes part in no term, and its code is all zero bits. The last two leave L^CCA out.
- Eq. 6 leaves hardly any negatives; `propagation = false` takes S everywhere. The label head has no loss in eq. 11;
  `label_loss` gives it a cross-entropy. Dropout and weight decay are not in the paper.
- Table V: "Pair" has h_j^v in the place of psi_j in eq. 3, within a batch, and B = sign(H^u + H^v); "PSSC" lacks SaCH
  and CCA, and completes nothing; "PSSC+CCA" lacks SaCH.
- The public code has its heads on ReLU(z) and draws noise at inference, has no q', squares S theta and softplus(theta)
  in eq. 3, and has a cross-entropy of sigmoid similarities for eq. 5: none of this is here. Its text pooling is
  (`pooling`), and its schedules can be set: 50 epochs of 5 rounds, 15 rounds of labels first, rates from 1e-2 (labels),
  10^-4.5 (ResNet) and 1e-3 (text) to 1e-6.

>>> from ichash_export.train.training import train
>>> trained = train(table, "cich", 16, settings={"epochs": 1, "hidden": 32, "width": 16, "label_warmup": 1})
>>> trained.model.method.completion()
"A missing modality's feature is recovered by q', with class prototypes of that modality in place of neighbours."
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ichash_export.losses import shared_label, signs
from ichash_export.methods.base import (
    Citation,
    Family,
    Method,
    MethodConfig,
    ModelSpec,
    Terms,
    TrainData,
    linear_rate,
    setting,
)
from ichash_export.methods.batches import batches
from ichash_export.methods.cich import losses as eq
from ichash_export.methods.cich.memory import LabelSets, Memory, check_items, remember
from ichash_export.methods.cich.networks import Encoder, Networks
from ichash_export.methods.cich.recovery import MeanRecovery, NeighbourRecovery, Recovered, Recovery, StoredContext
from milvus_ichash.errors import InputError


class CICHConfig(MethodConfig):
    """Settings of CICH."""

    epochs: int = setting(50, "public code", ge=1)
    batch_size: int = setting(64, "paper", ge=2)
    variant: Literal["Pair", "PSSC", "PSSC+CCA", "full"] = setting("full", "paper")
    """Table V: which terms there are."""
    completion: Literal["context", "q", "mean", "none"] = setting("context")
    """What recovers a missing modality in the export: q' with class prototypes as context; q alone; its mean;
    nothing."""
    alpha: float = setting(3.0, ge=0)
    """Weight of L^SaCH."""
    delta: float = setting(1.0, ge=0)
    """Weight of L^CCA."""
    beta: float = setting(1e-4, "paper", ge=0)
    """Weight of the divergence in L^CCA."""
    tau: float = setting(0.3, gt=0)
    """Temperature of L^SaCH."""
    quantisation: float = setting(1.0, ge=0)
    """Weight of the distance from B in L^PSSC."""
    label_loss: float = setting(0.0, ge=0)
    """Weight of a cross-entropy on the label head; 0: there is no such head."""
    propagation: bool = setting(True, "paper")
    """Take eq. 6 for recovered items; else S for all."""
    neighbours: int = setting(10, ge=1)
    """K, features of neighbours that q' takes."""
    width: int = setting(512, "paper", ge=1)
    """Size of z."""
    hidden: int = setting(4096, "paper", ge=1)
    """Width of the encoders' hidden layer."""
    linear: tuple[str, ...] = setting(("image",), "paper")
    """Modalities whose encoder is a single linear layer."""
    pooling: tuple[str, ...] = setting(())
    """Modalities with the public code's multi-scale pooling in front of the encoder."""
    dropout: float = setting(0.0, ge=0, lt=1)
    """Share of the encoders' input features that is dropped in training."""
    weight_decay: float = setting(0.0, ge=0)
    """L2 penalty on the networks' weights."""
    rounds: int = setting(1, ge=1)
    """Rounds of Algorithm 1 in an epoch, each a pass over all items."""
    label_warmup: int = setting(15, "public code", ge=0)
    """Passes of W_p over all items before the first round."""
    learning_rate: tuple[float, float] = setting((1e-3, 1e-6), "public code")
    """Learning rate of the networks, in the first epoch and after the last one; linear in between."""
    label_learning_rate: tuple[float, float] = setting((1e-2, 1e-6), "public code")
    """Learning rate of W_p, in the first epoch and after the last one; linear in between."""


class CICH(Method):
    """CICH for two or more modalities; see the module's docstring.

    `state` holds B, float32 (n, K) of -1 and +1.

    Raises:
        InputError: a single modality, or a setting that names one that is not there.
    """

    family: ClassVar[Family] = "cross-modal"
    citation = Citation(
        title="Contrastive Incomplete Cross-Modal Hashing",
        authors="Haoyang Luo, Zheng Zhang, Liqiang Nie",
        venue="IEEE Transactions on Knowledge and Data Engineering",
        year=2024,
        doi="10.1109/TKDE.2024.3410388",
        code="https://github.com/DarrenZZhang/CICH",
    )
    needs_several_modalities = True
    Config = CICHConfig
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "Pair": {"variant": "Pair"},
        "PSSC": {"variant": "PSSC"},
        "PSSC+CCA": {"variant": "PSSC+CCA"},
        "no completion": {"completion": "none"},
        "mean completion": {"completion": "mean"},
    }
    config: CICHConfig

    def __init__(self, spec: ModelSpec, config: CICHConfig) -> None:
        super().__init__(spec, config)
        c, names = config, spec.modalities
        for m in c.pooling:
            if m not in names:
                raise InputError(f"cich: 'pooling' names '{m}'; the modalities are: {', '.join(names)}.")
        hidden = {m: 0 if m in c.linear else c.hidden for m in names}
        encoders = {
            m: Encoder(spec.dims[m], c.width, hidden=hidden[m], pooling=m in c.pooling, dropout=c.dropout)
            for m in names
        }
        classes, neighbours = spec.classes if c.label_loss else 0, c.neighbours if self.learns_completion else 0
        self.networks = Networks(encoders, width=c.width, bits=spec.bits, classes=classes, neighbours=neighbours)
        if self.learns_prototypes:
            self.W_p = nn.Parameter(torch.randn(spec.classes, spec.bits))
        if self.completes:
            self.stored = StoredContext(
                names, classes=spec.classes, width=c.width, neighbours=c.neighbours, how=c.completion
            )

    @property
    def learns_prototypes(self) -> bool:
        """Say whether there are prototypical codes Psi."""
        return self.config.variant != "Pair"

    @property
    def completes(self) -> bool:
        """Say whether something stands in for what is missing; Table V's "Pair" and "PSSC" have nothing that could."""
        return self.config.variant in ("PSSC+CCA", "full") and self.config.completion != "none"

    @property
    def learns_completion(self) -> bool:
        """Say whether there are q and q'."""
        return self.completes and self.config.completion != "mean"

    def completion(self) -> str:
        """Return one sentence for the manifest."""
        if not self.completes:
            return "A missing modality has no code: its bits are all zero."
        return {
            "context": "A missing modality's feature is recovered by q', with class prototypes of that modality in "
            "place of neighbours.",
            "q": "A missing modality's feature is recovered by q, from the modality that is there alone.",
            "mean": "The mean feature of a modality stands in where it is missing.",
        }[self.config.completion]

    def begin(self, data: TrainData) -> None:
        """Check that every term can be learnt, and draw B.

        Raises:
            InputError: two modalities that no item has together, or too few items that have one to be neighbours.
        """
        check_items(self.spec.modalities, data.present, self.config.neighbours if self.learns_completion else 0)
        self.state = {"B": signs(torch.randn(len(data), self.spec.bits)).to(data.device)}

    def optimizers(self) -> dict[str, Optimizer]:
        """Return Adam for the networks and Adam for W_p."""
        c = self.config
        adam = Adam(self.networks.parameters(), lr=c.learning_rate[0], weight_decay=c.weight_decay, fused=True)
        found: dict[str, Optimizer] = {"networks": adam}
        if self.learns_prototypes:
            found["labels"] = Adam([self.W_p], lr=c.label_learning_rate[0])
        return found

    def learning_rates(self, epoch: int) -> Mapping[str, float]:
        """Return the rates of the networks and of W_p."""
        c = self.config
        return {
            "networks": linear_rate(c.learning_rate, epoch, c.epochs),
            "labels": linear_rate(c.label_learning_rate, epoch, c.epochs),
        }

    def steps(
        self, data: TrainData, epoch: int, optimizers: dict[str, Optimizer], generator: torch.Generator
    ) -> Iterator[Terms]:
        """Do rounds of Algorithm 1, in the first epoch after the warm-up of W_p."""
        sets, labels = LabelSets.of(data.labels), optimizers.get("labels")
        if epoch == 0 and labels is not None:
            for _ in range(self.config.label_warmup):
                self._train_prototypes(data, sets, {}, labels, generator)
        for r in range(self.config.rounds):
            memory = remember(self.networks, data)
            if epoch or r:
                self.state["B"] = self.shared_codes(sets, memory)
            if labels is not None:
                self._train_prototypes(data, sets, memory, labels, generator)
            # Steps 4 and 5 of Algorithm 1, one pass over all items: eq. 11 for the networks.
            for index in batches(len(data), self.config.batch_size, generator, data.device):
                yield self.step(self.network_losses(data, index, sets, memory), optimizers["networks"])

    @torch.no_grad()
    def shared_codes(self, sets: LabelSets, memory: Memory) -> Tensor:
        """Return B, float32 (n, K): step 6 of Algorithm 1."""
        parts = [(sets.labels @ self.W_p)[sets.which]] if self.learns_prototypes else []
        recovery = self._recovery(memory)
        for m, seen in memory.items():
            h = torch.zeros_like(self.state["B"]).index_copy(0, seen.rows, seen.h)
            if recovery is not None:
                found = recovery.items(m)
                h = h.index_copy(0, found.rows, self.networks.code(m, found.features))
            parts.append(h)
        return eq.shared_codes(parts)

    def _recovery(self, memory: Memory) -> Recovery | None:
        if self.learns_completion:
            return NeighbourRecovery(self.networks, memory, self.config.neighbours, self.config.beta)
        return MeanRecovery(memory) if self.completes else None

    def _train_prototypes(
        self, data: TrainData, sets: LabelSets, memory: Memory, optimizer: Optimizer, generator: torch.Generator
    ) -> None:
        """Step 3 of Algorithm 1, one pass over all items: eq. 3 for W_p; without a memory, its terms with k = p."""
        for index in batches(len(data), self.config.batch_size, generator, data.device):
            psi, s = sets.labels @ self.W_p, shared_label(data.labels[index], sets.labels)
            terms = eq.prototype_losses(psi, s, self.state["B"][index], index, sets, memory)
            self.step(terms, optimizer)

    def network_losses(self, data: TrainData, index: Tensor, sets: LabelSets, memory: Memory) -> Terms:
        """Return the terms of eq. 11 on the training items of these indices, int64 (B,), without their weights."""
        items, c = data.rows(index), self.config
        views = {
            m: self.networks.view(m, items.features[m], items.present[:, i]) for i, m in enumerate(self.spec.modalities)
        }
        terms = {"L_Q": eq.quantisation_term(views, self.state["B"][index])}
        if self.learns_prototypes:
            terms["L_P"] = eq.prototype_term(views, items.labels, (sets.labels @ self.W_p).detach(), sets)
        else:
            terms["L_pair"] = eq.pair_term(views, items.labels)
        recovered: dict[str, Recovered] = {}
        if (recovery := self._recovery(memory)) is not None:
            alignment, recovered = recovery.batch(views, index)
            terms |= alignment
        if c.variant == "full":
            codes = {m: (found.rows, self.networks.code(m, found.features)) for m, found in recovered.items()}
            terms["L_SaCH"] = eq.contrast_term(views, codes, items.labels, tau=c.tau, propagate=c.propagation)
        if c.label_loss:
            terms["L_label"] = eq.label_term(self.networks.label_heads, views, items.labels)
        return terms

    def weights(self) -> Mapping[str, float]:
        """Return the weights of eq. 11."""
        c = self.config
        return {"L_Q": c.quantisation, "L_SaCH": c.alpha, "L_CCA": c.delta, "L_label": c.label_loss}

    @torch.no_grad()
    def finish(self, data: TrainData) -> None:
        """Fix what stands in for a missing modality in the export."""
        if self.completes:
            self.stored.fit(remember(self.networks, data), data.labels)

    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return relaxed codes `<modality>_code`, float32 (B, bits), from z = mu."""
        mu = {m: self.networks.mu(m, x) for m, x in features.items()}
        return {f"{m}_code": self._encoded(m, mu, present, present[:, i : i + 1]) for i, m in enumerate(mu)}

    def _encoded(self, m: str, mu: dict[str, Tensor], present: Tensor, there: Tensor) -> Tensor:
        if self.completes:
            return self.networks.code(
                m, torch.where(there, mu[m], self.stored.recovered(self.networks, m, mu, present))
            )
        h = self.networks.code(m, mu[m])
        return torch.where(there, h, torch.zeros_like(h))
