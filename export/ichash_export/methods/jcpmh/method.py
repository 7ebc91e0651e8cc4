"""JCPMH: fused codes; missing modalities are generated, guided by classifiers and a graph autoencoder.

Autoencoder and Classifier Based Joint-Guided Completion for Partial Multi-Modal Hashing, anonymous, under review, 2024.
No public code could be had; symbols and numbers of equations are the paper's.

X are an item's image features, Y its text, in [0, 1], L its labels; X*, Y* the same with a missing one made by a
generator f_g from the other one. Three stages, each fixed when the next begins:

1. A classifier f_C for each modality, on all items that have it (`classifier_epochs`):

    eq. 1      L_c = cross-entropy of L and f_C(X), plus the same for the text

2. The autoencoder f_A, on the complete items (`autoencoder_epochs`; `guides.py`):

    eq. 3, 4   H^(l+1) = ReLU(A~ H^l W^l),  A~ = (1 - exp(-L L^T)) / (1 + exp(-L L^T))
    eq. 2, 5-7 X^, Y^ = f_A([X, Y], A~);  L_r = ||X^ - X||^2 + cross-entropy of Y and Y^

3. Generators and hashing network, on all items:

    eq. 8      h   = f_u(h_x + h_y), h_x and h_y being parts of the hashing network for X* and Y*
    eq. 10     L_s = (cos(h_i, h_j) - A~_ij)^2
    eq. 11     L_b = ||h - sign(h)||^2
    eq. 12     L_2 = ||f_A([X*, Y*]) - [X*, Y*]||^2
    eq. 13     L_3 = cross-entropy of L and f_C of what was generated
    eq. 14     L   = L_s + alpha L_b + lambda_1 L_2 + lambda_2 L_3

Only generators and hashing network are exported: what classifiers and autoencoder know, they need labels or neighbours
for, and it has reached the generators. Those learn from items with gaps: the paper hides a tenth of complete data for
that reason in Table 1, and does not say what they learn from in the part of Table 2 whose training is complete; here
`modality_dropout` does it.

More than two modalities: there is a generator for each ordered pair, and a missing modality is the mean of what is
generated from each one that is there. The autoencoder takes all modalities together, on the items that have all.

Where we differ from the paper:
- Eq. 13 has no minus sign there, which would maximise the cross-entropy. Eq. 10 has h^T h, which is not (N, N), and
  which no entry in [0, 1) can match at the length of h: cosines, and the squashed A~ of eq. 4.
- A~ is divided by its row sums in eq. 3: as it stands there, it adds up hundreds of neighbours in each of two layers.
  It is that of the batch in both stages: the one of all items is N x N, and every step would need the features of all.
  Where `batch_size` is not below the number of items, it is the whole one.
- Algorithm 1 trains the autoencoder for T1 epochs, the classifiers for T2, and then, by a slip, the rest for T1 instead
  of T3. `epochs` counts all three, so T3 = epochs - classifier_epochs - autoencoder_epochs. The first two stages do not
  depend on each other.
- All terms are means: over items, or pairs of them, and over features, bits or classes. In L_3 what is observed is left
  out: it is constant there.
- Not given there, so ours: Adam, learning rate, batch, epochs, the second width of the autoencoder, activations (ReLU),
  no hidden layer before h_x and h_y (`hidden`), and that modalities which are not words are standardised (squared
  error, linear outputs).
- Generators of words begin near the words' mean: at 0.5 for each, the first epochs would see items of a thousand words.
- Off by default: `schedule`; `weight_decay`; `modality_dropout`, by which generators and codes learn from complete
  items too; `standardise_words`, without which a few ones among a thousand zeros hardly count beside standardised
  features.

>>> from ichash_export.train.training import train
>>> small = {"epochs": 3, "classifier_epochs": 1, "autoencoder_epochs": 1, "autoencoder_hidden": 32, "width": 32}
>>> trained = train(table, "jcpmh", 16, settings=small)
>>> trained.model.method.completion()
'A missing modality is generated from each one that is there, as features, and the mean of these is hashed.'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ichash_export.layers import FeatureScaling, hide, mlp
from ichash_export.losses import quantisation, similarity_loss
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
from ichash_export.methods.batches import batches
from ichash_export.methods.jcpmh.networks import Generators, GraphAutoencoder, adjacency, classification_loss
from ichash_export.methods.words import words_among
from milvus_ichash.errors import InputError


class JCPMHConfig(MethodConfig):
    """Settings of JCPMH."""

    epochs: int = setting(150, ge=1)
    """How often the training items are gone through, in all three stages together."""
    classifier_epochs: int = setting(50, ge=0)
    """Epochs of stage 1."""
    autoencoder_epochs: int = setting(50, ge=0)
    """Epochs of stage 2."""
    learning_rate: float = setting(1e-3, gt=0)
    """Learning rate of all stages."""
    schedule: Literal["constant", "cosine"] = setting("constant")
    """Schedule of the learning rate in stage 3; "cosine" takes it down to zero."""
    weight_decay: float = setting(0.0, ge=0)
    """L2 penalty on the weights of stage 3; the paper mentions none."""
    modality_dropout: float = setting(0.0, ge=0, le=1)
    """Share of the items with several modalities from which a step of stage 3 hides all but one; the paper mentions
    none."""
    alpha: float = setting(0.1, "paper", ge=0)
    """Weight of L_b."""
    lambda_1: float = setting(0.1, "paper", ge=0)
    """Weight of L_2."""
    lambda_2: float = setting(0.25, "paper", ge=0)
    """Weight of L_3."""
    autoencoder: bool = setting(True, "paper")
    """Guide the generators by the autoencoder; JCPMH-A does not."""
    classifiers: bool = setting(True, "paper")
    """Guide the generators by the classifiers; JCPMH-B does not."""
    completion: Literal["generators", "mean", "none"] = setting("generators", "paper")
    """What stands in for a missing modality: what is generated; its mean features; nothing in the sum of eq. 8."""
    words: tuple[str, ...] = setting(("text", "words"))
    """Modalities of words or counts: scaled to [0, 1], generated through a sigmoid. The data need not have those of the
    default."""
    standardise_words: bool = setting(False)
    """Let classifiers, generators and hashing network see words standardised, generated ones too; outputs stay in [0,
    1]."""
    hidden: tuple[int, ...] = setting(())
    """Hidden widths of the hashing network's parts, in front of h_x and h_y; without any, these pass a ReLU
    themselves."""
    width: int = setting(1024, "paper", ge=1)
    """Size of h_x and h_y."""
    generator_hidden: int = setting(2048, "paper", ge=1)
    """Hidden width of the generators."""
    classifier_hidden: tuple[int, ...] = setting((2048, 512), "paper")
    """Hidden widths of the classifiers."""
    autoencoder_hidden: int = setting(4096, "paper", ge=1)
    """Width of the first graph convolution."""
    autoencoder_width: int = setting(1024, ge=1)
    """Width of the second graph convolution."""

    @model_validator(mode="after")
    def _all_stages(self) -> JCPMHConfig:
        if (before := self.classifier_epochs + self.autoencoder_epochs) >= self.epochs:
            raise ValueError(
                f"classifier_epochs + autoencoder_epochs ({before}) must be less than epochs ({self.epochs}), which "
                "counts all"
            )
        return self


class JCPMH(Method):
    """JCPMH for two or more modalities; see the module's docstring.

    Raises:
        InputError: a single modality, or `words` that the data does not have.
    """

    family: ClassVar[Family] = "fused"
    citation = Citation(
        title="Autoencoder and Classifier Based Joint-Guided Completion for Partial Multi-Modal Hashing",
        authors="anonymous",
        venue="under review",
        year=2024,
    )
    needs_several_modalities = True
    Config = JCPMHConfig
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "JCPMH-A": {"autoencoder": False},
        "JCPMH-B": {"classifiers": False},
        "no completion": {"completion": "none"},
        "mean completion": {"completion": "mean"},
    }
    config: JCPMHConfig

    def __init__(self, spec: ModelSpec, config: JCPMHConfig) -> None:
        super().__init__(spec, config)
        names, dims, c = spec.modalities, spec.dims, config
        self.words = words_among(names, c.words, "jcpmh")
        self.hashing = nn.ModuleDict({m: mlp((dim, *c.hidden, c.width), last=not c.hidden) for m, dim in dims.items()})
        self.fusion = nn.Linear(c.width, spec.bits)
        self.word_scaling = nn.ModuleDict({m: FeatureScaling(dims[m]) for m in names if m in self.words})
        made, self.classifiers = c.completion == "generators", nn.ModuleDict()
        self.generators = Generators(dims, self.words, c.generator_hidden) if made else None
        self.autoencoder = (
            GraphAutoencoder(dims, self.words, c.autoencoder_hidden, c.autoencoder_width)
            if made and c.autoencoder
            else None
        )
        if made and c.classifiers:
            self.classifiers.update({m: mlp((dim, *c.classifier_hidden, spec.classes)) for m, dim in dims.items()})

    def scaling(self, modality: str) -> Scaling:
        """Return min-max for words, so that cross-entropy can take them."""
        return "minmax" if modality in self.words else "standard"

    @property
    def warmup(self) -> int:
        """Return the epochs of stages 1 and 2.

        A variant with nothing to fit in them lets them pass, so that all variants train their codes equally long.
        """
        return self.config.classifier_epochs + self.config.autoencoder_epochs

    def completion(self) -> str:
        """Return one sentence for the manifest."""
        return {
            "generators": "A missing modality is generated from each one that is there, as features, and the mean of "
            "these is hashed.",
            "mean": "The mean features of a modality stand in where it is missing.",
            "none": "A missing modality adds nothing to the sum of what the modalities make.",
        }[self.config.completion]

    def begin(self, data: TrainData) -> None:
        """Learn the words' means and deviations, and check that there is something to learn from in every stage.

        Raises:
            InputError: fewer than two complete items; a modality that no item lacks.
        """
        names, n = self.spec.modalities, len(data)
        for i, name in enumerate(names):
            if name in self.words:
                scaling = self._word_scaling(name)
                scaling.fit_standard(data.features[name][data.present[:, i]])
                if self.generators is not None:
                    self.generators.start_at(name, scaling.shift)
        if self.autoencoder is not None and (complete := len(data.complete())) < 2:
            raise InputError(
                f"jcpmh needs at least 2 training items that have all of {', '.join(names)}, to fit its autoencoder "
                f"on; there are {complete} of {n}: give it more complete items, or do without (--set "
                "autoencoder=false)."
            )
        never = [name for i, name in enumerate(names) if data.present[:, i].all()]
        if self.generators is not None and never and not self.config.modality_dropout:
            raise InputError(
                f"jcpmh learns to generate a modality on the training items that lack it; none of the {n} lacks "
                f"'{never[0]}': hide some (--pdr 0.1, or --set modality_dropout=0.5), or take another "
                "completion (--set completion=mean, or none)."
            )

    def optimizers(self) -> dict[str, Optimizer]:
        """Return Adam for each stage that learns something."""
        rate, decay = self.config.learning_rate, self.config.weight_decay
        codes = [
            *self.hashing.parameters(),
            *self.fusion.parameters(),
            *(self.generators.parameters() if self.generators else ()),
        ]
        found: dict[str, Optimizer] = {"codes": Adam(codes, lr=rate, weight_decay=decay, fused=True)}
        if self.classifiers:
            found["classifiers"] = Adam(self.classifiers.parameters(), lr=rate, fused=True)
        if self.autoencoder is not None:
            found["autoencoder"] = Adam(self.autoencoder.parameters(), lr=rate, fused=True)
        return found

    def learning_rates(self, epoch: int) -> Mapping[str, float]:
        """Return the rate of stage 3."""
        c, before = self.config, self.warmup
        return {"codes": scheduled_rate(c.schedule, c.learning_rate, max(epoch - before, 0), c.epochs - before)}

    def steps(
        self, data: TrainData, epoch: int, optimizers: dict[str, Optimizer], generator: torch.Generator
    ) -> Iterator[Terms]:
        """Do an epoch of stage 1, 2 or, from `warmup` on, 3; a stage in which nothing learns has no step."""
        for guide in (self.classifiers, self.autoencoder):
            if guide is not None:
                guide.requires_grad_(epoch < self.warmup)
        stage, losses = "codes", self.losses
        if epoch < self.config.classifier_epochs:
            stage, losses = "classifiers", self.classifier_losses
        elif epoch < self.warmup:
            stage, losses, data = "autoencoder", self.autoencoder_losses, data.rows(data.complete())
        if stage in optimizers:
            for index in batches(len(data), self.config.batch_size, generator, data.device):
                yield self.step(losses(data.rows(index)), optimizers[stage])

    def classifier_losses(self, items: TrainData) -> Terms:
        """Return the term of stage 1: eq. 1, of all classifiers."""
        return {"L_c": self._classified(items.features, items.present, items.labels)}

    def autoencoder_losses(self, items: TrainData) -> Terms:
        """Return the term of stage 2: eq. 7, of complete items."""
        autoencoder = cast(GraphAutoencoder, self.autoencoder)
        return {"L_r": autoencoder.loss(items.features, adjacency(items.labels))}

    def losses(self, items: TrainData) -> Terms:
        """Return the terms of stage 3, those of eq. 14, for a batch."""
        shown = hide(items.present, self.config.modality_dropout)
        whole = self._completed(items.features, shown)
        h = self._hashed(whole, shown)
        terms = {"L_s": similarity_loss(h, items.labels), "L_b": quantisation(h)}  # eq. 10 and 11
        if self.autoencoder is not None:
            terms["L_2"] = self._structure(self.autoencoder, whole, items.labels)
        if self.classifiers:
            terms["L_3"] = self._classified(whole, ~shown, items.labels)
        return terms

    def weights(self) -> Mapping[str, float]:
        """Return the weights of eq. 14."""
        return {"L_b": self.config.alpha, "L_2": self.config.lambda_1, "L_3": self.config.lambda_2}

    def _structure(self, autoencoder: GraphAutoencoder, whole: dict[str, Tensor], labels: Tensor) -> Tensor:
        """L_2 (eq. 12)."""
        found = autoencoder(whole, adjacency(labels))
        return F.mse_loss(torch.cat([found[m] for m in whole], dim=1), torch.cat(list(whole.values()), dim=1))

    def _classified(self, features: dict[str, Tensor], chosen: Tensor, labels: Tensor) -> Tensor:
        """Eq. 1 and 13: each modality's classifier on the items chosen for it, bool (B, M); a sum over modalities."""
        loss = labels.new_zeros(())
        for i, (m, classifier) in enumerate(self.classifiers.items()):
            rows = chosen[:, i].nonzero().flatten()
            if len(rows):
                loss = loss + classification_loss(classifier(self._seen(m, features[m][rows])), labels[rows])
        return loss

    def _seen(self, modality: str, x: Tensor) -> Tensor:
        """Features as the networks take them."""
        if modality not in self.words or not self.config.standardise_words:
            return x
        scaling = self._word_scaling(modality)
        return (x - scaling.shift) * scaling.scale

    def _word_scaling(self, modality: str) -> FeatureScaling:
        return cast(FeatureScaling, self.word_scaling[modality])

    def _completed(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """X*, Y*: (B, D_m) for every modality."""
        seen = {m: self._seen(m, x) for m, x in features.items()}
        whole = {}
        for i, (m, x) in enumerate(features.items()):
            if self.generators is not None and self.training:
                rows = (~present[:, i]).nonzero().flatten()
                made = self.generators(m, {a: y[rows] for a, y in seen.items()}, present[rows])
                whole[m] = x.index_copy(0, rows, made)
            else:
                made = self._mean(m) if self.generators is None else self.generators(m, seen, present)
                whole[m] = torch.where(present[:, i : i + 1], x, made)
        return whole

    def _mean(self, modality: str) -> Tensor:
        """Mean features (D_m,)."""
        if modality in self.words:
            return self._word_scaling(modality).shift
        return self.fusion.weight.new_zeros(self.spec.dims[modality])

    def _hashed(self, whole: dict[str, Tensor], present: Tensor) -> Tensor:
        """Eq. 8: h (B, bits)."""
        parts = torch.stack([network(self._seen(m, whole[m])) for m, network in self.hashing.items()])
        if self.config.completion == "none":
            parts = parts * present.T.unsqueeze(2)
        h: Tensor = self.fusion(parts.sum(dim=0))
        return h

    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `code`, float32 (B, bits); a linear layer's output, not bounded."""
        return {"code": self._hashed(self._completed(features, present), present)}
