"""EGICH: one code per modality; words of external knowledge that fit an item's classes complete what is missing.

Chen et al.: External Guidance Incomplete Cross-modal Hashing, IEEE Transactions on Image Processing, 2026. Only the
abstract is public: the terms below are stated from facts about the authors' public code, in our words, under our
numbers.

u, v are modalities; f^u = E^u(x^u) features (two blocks of Linear, BatchNorm, ReLU, dropout), h^u(f) = tanh(W^u f) a
relaxed code, at length 1 in the losses; l labels, C classes; e_cj the embedding of word j of class c; B the codes that
all modalities share.

    eq. 1  k_c = A sum over j of softmax(g_c)_j e_cj        knowledge of class c; gates g and embeddings e are learnt
    eq. 2  f* = sum_c l_c k_c / sum_c l_c                   CEG: what stands in for a missing f^u
    eq. 3  L_align = KL(softmax_j(cos(h_i^u, h^v(f*_j)) / theta) || softmax_j(cos(h_i^u, h_j^u) / theta))      CLEG
    eq. 4  L_intra = CE(P_ij, s(cos(h_i^u, h_j^u) / tau))   SCH; P = 2 l_i . l_j / (|l_i| + |l_j|)
    eq. 5  L_inter = CE(P_ij, s(cos(h_i^u, h_j^v) / tau))   SCH; h^v(f*_j) where item j lacks v
    eq. 6  L_quant = ||h^u - B||^2
    eq. 7  L^u = gamma L_align + alpha L_intra + beta L_inter + quantisation L_quant

A is linear, s(x) = 1 / (1 + e^-x), and all terms are means over items (pairs, bits) that have u.

In each epoch the networks learn in turn (the text's before the image's: the last modality first), each with the
knowledge, from batches of complete items and then from batches that lack something; then B = sign(H^u + H^v), with
completed codes where one is missing.

Words. Of all nouns the file has, each goes to the class where a softmax over the classes of cosines is highest, and
each class keeps the five (`words`) with most confidence. `selection` says what a class is compared as: "centres", the
mean features of its items by the encoders before they are trained (the public code; those features know nothing yet, so
that the choice is nearly arbitrary), or "names", the embedding of the class's name. By centres, a class without a
training item is compared by its name. The embeddings chosen are weights from then on: neither resuming nor exporting
needs the file again.

At inference there are no labels: label heads, trained beside the hash heads with a cross-entropy (`label_loss`), give
each class a probability, the mean over the modalities that are there, and these take the place of l in eq. 2.

More than two modalities: eq. 3 and 5 are taken against each other modality and divided by M - 1.

Ablations. The abstract names three modules. We take "without CEG" as no completion from knowledge and, since CLEG's
anchors are such completions, no CLEG; "without CLEG" as gamma = 0; "without SCH" as alpha = beta = 0. Besides them: "no
completion" (what is missing has no code and takes part in no term; CLEG stays), "mean completion" (the mean feature of
the modality stands in), the other selection, and "without knowledge" (the classes' vectors are learnt from random ones:
what the words are worth).

Ours: the adapter A, where embeddings and features differ in size (the public code's are both 512); selection by names;
the label heads; `quantisation` apart from gamma, which is the public code's weight for it too; and, off by default,
`together` (all networks learn in one step, so that eq. 5 reaches both sides), `mixed` (batches of all items alike),
`sharpness` (an exponent of the predicted probabilities), `input_dropout`, `weight_decay`.

>>> from ichash_export.train.training import train
>>> trained = train(table, "egich", 16, settings={"epochs": 1, "hidden": 32, "width": 16, "selection": "none"})
>>> trained.model.method.completion()
"A missing modality's feature is the mean of the vectors of its classes, weighted by their predicted probabilities."
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ichash_export.knowledge.knowledge import Knowledge
from ichash_export.layers import in_chunks, mean_of_present
from ichash_export.losses import signs
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
from ichash_export.methods.batches import grouped_batches
from ichash_export.methods.egich import knowledge as external
from ichash_export.methods.egich.losses import TERMS, CodedBatch, modality_terms
from ichash_export.methods.egich.network import Network
from milvus_ichash.errors import InputError


class EGICHConfig(MethodConfig):
    """Settings of EGICH."""

    epochs: int = setting(150, "public code", ge=1)
    """How often all training items are gone through."""
    batch_size: int = setting(64, "public code", ge=2)
    """Training items in a step."""
    knowledge: str = setting("knowledge.npz")
    """File with words and class names, embedded (`milvus-ichash knowledge build`)."""
    selection: Literal["names", "centres", "none"] = setting("names")
    """What chooses a class's words: its name, the mean of its items' features, or nothing (no words: vectors learnt
    from random ones)."""
    words: int = setting(5, "public code", ge=1)
    """How many words a class has."""
    completion: Literal["knowledge", "mean", "none"] = setting("knowledge", "paper")
    """What stands in for a missing modality: eq. 2; its mean feature; nothing."""
    gamma: float = setting(1.0, "public code", ge=0)
    """Weight of L_align."""
    alpha: float = setting(15.0, "public code", ge=0)
    """Weight of L_intra."""
    beta: float = setting(5.0, "public code", ge=0)
    """Weight of L_inter."""
    quantisation: float = setting(1.0, "public code", ge=0)
    """Weight of L_quant."""
    label_loss: float = setting(1.0, ge=0)
    """Weight of the label heads' cross-entropy."""
    theta: float = setting(0.5, "public code", gt=0)
    """Temperature of L_align."""
    tau: float = setting(0.29, "public code", gt=0)
    """Temperature of L_intra and L_inter."""
    sharpness: float = setting(1.0, gt=0)
    """Exponent of the predicted probabilities in eq. 2; above 1, a code is less of a mixture of many classes."""
    together: bool = setting(False)
    """All networks learn in one step, in place of one after the other."""
    mixed: bool = setting(False)
    """Batches of complete and incomplete items alike."""
    hidden: int = setting(1024, "public code", ge=1)
    """Width of the encoders' hidden layer."""
    width: int = setting(512, "public code", ge=1)
    """Size of f."""
    dropout: float = setting(0.3, "public code", ge=0, lt=1)
    """Share of the units that is dropped after each block of the encoders."""
    input_dropout: float = setting(0.0, ge=0, lt=1)
    """Share of the input features that is dropped in training."""
    weight_decay: float = setting(0.0, ge=0)
    """L2 penalty on the networks' weights."""
    learning_rate: tuple[float, float] = setting((1e-3, 3.1623e-5), "public code")
    """Learning rate in the first epoch and after the last one; linear in between."""


class EGICH(Method):
    """EGICH for two or more modalities; see the module's docstring.

    `state` holds B, float32 (n, K) of -1 and +1, and `chosen`, int64 (C, words): which words of the file each class
    got.
    """

    family: ClassVar[Family] = "cross-modal"
    citation = Citation(
        title="External Guidance Incomplete Cross-modal Hashing",
        authors="Chen et al.",
        venue="IEEE Transactions on Image Processing",
        year=2026,
        code="https://github.com/chenjiali27/EGICH",
    )
    needs_several_modalities = True
    Config = EGICHConfig
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without CEG": {"completion": "none", "gamma": 0},
        "without CLEG": {"gamma": 0},
        "without SCH": {"alpha": 0, "beta": 0},
        "no completion": {"completion": "none"},
        "mean completion": {"completion": "mean"},
        "words by class centres": {"selection": "centres"},
        "without knowledge": {"selection": "none"},
    }
    config: EGICHConfig
    means: Tensor

    def __init__(self, spec: ModelSpec, config: EGICHConfig) -> None:
        super().__init__(spec, config)
        c, names = config, spec.modalities
        rates = {"dropout": c.dropout, "input_dropout": c.input_dropout}
        self.networks = nn.ModuleDict(
            {m: Network((dim, c.hidden, c.width), spec.bits, spec.classes, **rates) for m, dim in spec.dims.items()}
        )
        if _guided(c):
            self.knowledge = external.ClassKnowledge(
                spec.classes, c.words, spec.inputs.get("knowledge", c.width), c.width
            )
        self.register_buffer("means", torch.zeros(len(names), c.width))

    @classmethod
    def input_sizes(cls, config: EGICHConfig, recorded: Mapping[str, int] | None) -> dict[str, int]:
        """Return the size of the embeddings, {"knowledge": d}; nothing where there are no words."""
        if not _guided(config) or config.selection == "none":
            return {}
        if recorded is not None and not Path(config.knowledge).exists():
            return dict(recorded)
        size = external.read(config.knowledge, config.words).size
        if recorded is not None and recorded.get("knowledge") != size:
            raise InputError(
                f"the run was made with embeddings of size {recorded.get('knowledge')}, '{config.knowledge}' has size "
                f"{size}: give it the file that it was made with, or none (the run keeps what it needs of it)."
            )
        return {"knowledge": size}

    def completion(self) -> str:
        """Return one sentence for the manifest."""
        vectors, words = "vectors of its classes", "words of external knowledge for its classes"
        what = vectors if self.config.selection == "none" else words
        return {
            "knowledge": f"A missing modality's feature is the mean of the {what}, weighted by their predicted "
            "probabilities.",
            "mean": "The mean feature of a modality stands in where it is missing.",
            "none": "A missing modality has no code: its bits are all zero.",
        }[self.config.completion]

    def begin(self, data: TrainData) -> None:
        """Choose the classes' words, and draw B.

        Raises:
            InputError: fewer than two items that have a modality, or knowledge that cannot be used.
        """
        for i, m in enumerate(self.spec.modalities):
            if data.present[:, i].sum() < 2:
                raise InputError(
                    f"egich needs at least two training items that have '{m}': BatchNorm cannot train on one."
                )
        self.state = {"B": signs(torch.randn(len(data), self.spec.bits)).to(data.device)}
        if self.config.selection != "none" and _guided(self.config):
            self.state["chosen"] = self.knowledge.take(*self._known_and_guides(data))

    def _known_and_guides(self, data: TrainData) -> tuple[Knowledge, Tensor]:
        """Return the knowledge file, and what its words are compared with: one row for each class."""
        known, names = external.read(self.config.knowledge, self.config.words), self.spec.label_names
        if self.config.selection == "names":
            return known, external.class_guides(known, names, self.spec.classes).to(data.device)
        features = torch.stack(list(self._features(data).values())).sum(dim=0) / data.present.sum(dim=1, keepdim=True)
        return known, external.centre_guides(features, data.labels, known, names)

    @torch.no_grad()
    def _features(self, data: TrainData) -> dict[str, Tensor]:
        """f of all items (n, width) in evaluation mode, zeros where they lack the modality."""
        training = self.training
        self.eval()
        found = {m: in_chunks(self._network(m).encoder, data.features[m]) for m in self.spec.modalities}
        self.train(training)
        return {m: f * data.present[:, i : i + 1] for i, (m, f) in enumerate(found.items())}

    def optimizers(self) -> dict[str, Optimizer]:
        """Return Adam for each modality's networks, and for the knowledge."""
        c = self.config
        found: dict[str, Optimizer] = {
            m: Adam(network.parameters(), lr=c.learning_rate[0], weight_decay=c.weight_decay, fused=True)
            for m, network in self.networks.items()
        }
        if _guided(c):
            found["knowledge"] = Adam(self.knowledge.parameters(), lr=c.learning_rate[0], fused=True)
        return found

    def learning_rates(self, epoch: int) -> Mapping[str, float]:
        """Return the rate of this epoch, which is the same for all optimisers."""
        rate = linear_rate(self.config.learning_rate, epoch, self.config.epochs)
        return dict.fromkeys((*self.spec.modalities, "knowledge"), rate)

    def steps(
        self, data: TrainData, epoch: int, optimizers: dict[str, Optimizer], generator: torch.Generator
    ) -> Iterator[Terms]:
        """Train the networks in turn (or together), then make B."""
        c, names = self.config, self.spec.modalities
        self.finish(data)
        # An item that no batch takes (the last one, alone) keeps its code.
        codes = torch.stack([self.state["B"]] * len(names))
        for learning in [names] if c.together else [(m,) for m in reversed(names)]:
            needed, chosen = [names.index(m) for m in learning], (*learning, "knowledge")
            for index in grouped_batches(data.present, needed, c.batch_size, generator, mixed=c.mixed):
                terms, h = self.coded_losses(data.rows(index), self.state["B"][index], learning)
                yield self.step(terms, *[optimizers[name] for name in chosen if name in optimizers])
                for m, code in h.items():
                    codes[names.index(m), index] = code.detach()
        self.state["B"] = signs(codes.sum(dim=0))

    def coded_losses(self, items: TrainData, b: Tensor, learning: tuple[str, ...]) -> tuple[Terms, dict[str, Tensor]]:
        """Return the terms of eq. 7, summed over the modalities that learn, and the codes of all items.

        Args:
            items: the batch.
            b: B of its items (B, K).
            learning: whose networks learn; the others' are constants.

        Returns:
            The terms without their weights, and relaxed codes (B, K) by modality: completed where an item lacks it,
            zeros where nothing completes.
        """
        c = self.config
        completed = self.knowledge(items.labels) if _guided(c) else None
        f = {}
        for i, (m, x) in enumerate(items.features.items()):
            with nullcontext() if m in learning else torch.no_grad():
                f[m] = self._network(m).features(x, items.present[:, i])
        codes = {m: self._code(m, x, completed, items.present) for m, x in f.items()}
        anchors = {} if completed is None or not c.gamma else {m: self._network(m).code(completed) for m in f}
        rows = {m: items.present[:, i].nonzero().flatten() for i, m in enumerate(f)}
        batch = CodedBatch(items.labels, rows, codes, anchors, completed=c.completion != "none")
        terms = dict.fromkeys(TERMS, items.labels.new_zeros(()))
        for m in learning:
            if len(rows[m]) > 1:
                logits = self._network(m).label_head(f[m][rows[m]])
                found = modality_terms(m, batch, b, logits, c.theta, c.tau)
                terms = {name: terms[name] + found[name] for name in TERMS}
        return terms, codes

    def _code(self, m: str, f: Tensor, completed: Tensor | None, present: Tensor) -> Tensor:
        """h^m (B, K)."""
        i, how = self.spec.modalities.index(m), self.config.completion
        there = present[:, i : i + 1]
        if how == "none":
            return torch.where(there, self._network(m).code(f), torch.zeros((), device=f.device))
        stand_in = self.means[i] if how == "mean" or completed is None else completed
        return self._network(m).code(torch.where(there, f, stand_in))

    def weights(self) -> Mapping[str, float]:
        """Return the weights of eq. 7, and that of the label heads."""
        c = self.config
        return {
            "L_align": c.gamma,
            "L_intra": c.alpha,
            "L_inter": c.beta,
            "L_quant": c.quantisation,
            "L_label": c.label_loss,
        }

    def finish(self, data: TrainData) -> None:
        """Fix the mean f of each modality, where it stands in for a missing one."""
        if self.config.completion == "mean":
            for i, f in enumerate(self._features(data).values()):
                self.means[i] = f.sum(dim=0) / data.present[:, i].sum()

    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return relaxed codes `<modality>_code`, float32 (B, bits) in (-1, 1), not brought to length 1."""
        f = {m: self._network(m).encoder(x) for m, x in features.items()}
        completed = self.knowledge(self._probabilities(f, present)) if self.config.completion == "knowledge" else None
        return {f"{m}_code": self._code(m, f[m], completed, present) for m in f}

    def _probabilities(self, f: dict[str, Tensor], present: Tensor) -> Tensor:
        """Those of the classes (B, C): the mean over the modalities that are there, to the power `sharpness`."""
        guesses = torch.stack([self._network(m).label_head(x).sigmoid() for m, x in f.items()])
        return mean_of_present(guesses, present) ** self.config.sharpness

    def _network(self, m: str) -> Network:
        return cast(Network, self.networks[m])


def _guided(config: EGICHConfig) -> bool:
    """Return True where the classes' vectors are used: they complete, or are CLEG's anchors."""
    return config.completion == "knowledge" or config.gamma > 0
