"""PMCH: fused codes; what is missing is recovered as a weighted sum of learnt within-modality prototypes.

Zhu, Wu, Wu, Dai, Li: Endogenous Recovery via Within-modality Prototypes for Incomplete Multimodal Hashing, IJCAI 2025.
No public code could be had; symbols and numbers of equations are the paper's.

V^m are a modality's encoder features, P^m (C, K) its learnable prototypes, one per class, W_a the Weight-Net of
modality a, H_f the hash function (linear, tanh), L the labels. What is missing is recovered in the encoders' space from
the modality a that is there (eq. 4-5, 12-13); then the features of all modalities are added and hashed (eq. 1, 11, 14):

    omega = W_a(V^a)    V~^m = sum over c of omega_c p_c^m    H = H_f(sum over m of V^m, or V~^m where m is missing)

    eq. 2      P^h      = H_f(sum over m of P^m)
    eq. 3      L_proto  = mean of cos(H_i, P_c^h) over the pairs with L_ic = 0, minus the mean over those with L_ic = 1
    eq. 6      L_recons = sum over m of ||V~^m - V^m||^2
    eq. 7, 8   L_sim    = (cos(H_i, H_j) - S_ij)^2,  S_ij = 2 / (1 + exp(-L_i L_j^T)) - 1
    eq. 9      L_sign   = ||H - sign(H)||^2
    eq. 10     L        = L_sim + alpha L_recons + beta L_proto + gamma L_sign

Eq. 3 and 6 are taken over paired items, eq. 7 and 9 over all, with recovered features in the gaps.

More than two modalities: an item is paired where it has two or more. W_a gives one set of coefficients, for the
prototypes of all other modalities, since a row of each stands for the same class; a missing modality is the mean of
what each modality that is there recovers. L_recons takes each ordered pair of observed modalities by itself: the sum
over targets of the mean over sources.

Ours:
- Means in place of sums in eq. 6, 7 and 9 (over items, or pairs of items, and over features), so that alpha, beta and
  gamma depend neither on the batch nor on K. The paper does not print its values; those of the recipes are chosen on
  held-out training items.
- Section 3.3 gives the Weight-Net two hidden layers, 4.1 two fully connected layers of size 2048: the default is two
  hidden layers of that size. No softmax is mentioned; `softmax` adds one.
- Not in the paper: the encoders' activation; and, off by default, `weight_decay` and `modality_dropout`, a share of the
  paired items that each step hashes from one of their modalities only (L_recons still sees all of them), so that paired
  items teach the completed codes too.
- The ablations of Tables 3 to 5 are described in `pmch.completion`; "mean" is ours: the feature of the mean item.

>>> from ichash_export.train.training import train
>>> trained = train(table, "pmch", 16, settings={"epochs": 1, "hidden": [32], "weight_net": [32]})
>>> trained.model.method.prototypes.shape  # P^m: modalities, classes, width of a feature
torch.Size([2, 4, 512])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ichash_export.layers import by_modality, hide, mean_of_present, mlp, observed_only
from ichash_export.losses import cosine, masked_mean, quantisation, similarity_loss
from ichash_export.methods.base import Citation, Family, Method, MethodConfig, ModelSpec, Terms, TrainData, setting
from ichash_export.methods.pmch.completion import (
    Aggregation,
    AttentionScores,
    GraphAutoencoder,
    MLPGenerator,
    NearestPrototypes,
    PrototypeAggregation,
    WeightNet,
)
from milvus_ichash.errors import InputError

Pair = tuple[int, int]
"""Source and target modality."""


class PMCHConfig(MethodConfig):
    """Settings of PMCH."""

    epochs: int = setting(50, "paper", ge=1)
    batch_size: int = setting(512, "paper", ge=2)
    alpha: float = setting(1.0, ge=0)
    """Weight of L_recons."""
    beta: float = setting(0.1, ge=0)
    """Weight of L_proto."""
    gamma: float = setting(0.1, ge=0)
    """Weight of L_sign."""
    learning_rate: float = setting(1e-3, "paper", gt=0)
    """Learning rate of the networks."""
    prototype_learning_rate: float = setting(0.05, "paper", gt=0)
    """Learning rate of the prototypes."""
    weight_decay: float = setting(0.0, ge=0)
    """L2 penalty on the networks' weights; the paper mentions none."""
    modality_dropout: float = setting(0.0, ge=0, le=1)
    """Share of the paired items that a step hashes from one of their modalities only; the paper mentions none."""
    activation: Literal["relu", "tanh"] = setting("relu")
    """Activation in the encoders' hidden layers."""
    hidden: tuple[int, ...] = setting((2048, 1024), "paper")
    """Hidden width of the encoders, by modality; further modalities have the last one."""
    width: int = setting(512, "paper", ge=1)
    """Size K of a modality's feature."""
    weight_net: tuple[int, ...] = setting((2048, 2048), "paper")
    """Hidden widths of the Weight-Net, and of what the ablations put in its place."""
    softmax: bool = setting(False)
    """Make the Weight-Net's coefficients a convex combination."""
    completion: Literal["prototypes", "gae", "mlp", "mean", "none"] = setting("prototypes", "paper")
    """Table 3: what recovers a missing modality: prototypes; a graph autoencoder; a generator; its mean; nothing, it is
    left out."""
    anchors: Literal["prototypes", "random"] = setting("prototypes", "paper")
    """Table 4: what is aggregated: learnt prototypes, or random paired training items."""
    random_anchors: int = setting(300, "paper", ge=1)
    """Number of random anchors."""
    aggregation: Aggregation = setting("weight_net", "paper")
    """Table 5: what makes the coefficients: the Weight-Net, or similarity to the prototypes of the modality that is
    there."""
    nearest: int = setting(5, ge=1)
    """Prototypes that the aggregation "knn" averages."""

    @model_validator(mode="after")
    def _one_ablation(self) -> PMCHConfig:
        if not self.hidden or not self.weight_net:
            raise ValueError("hidden and weight_net need at least one width each")
        if self.completion != "prototypes" and (self.anchors, self.aggregation) != ("prototypes", "weight_net"):
            raise ValueError(
                f"anchors and aggregation say how prototypes complete; completion = '{self.completion}' has none"
            )
        return self


class PMCH(Method):
    """PMCH for two or more modalities; see the module's docstring.

    `state` holds the raw features of random anchors, `anchors_<modality>` (A, D_m), where Table 4 asks for them.
    """

    family: ClassVar[Family] = "fused"
    citation = Citation(
        title="Endogenous Recovery via Within-modality Prototypes for Incomplete Multimodal Hashing",
        authors="Sa Zhu, Dayan Wu, Chenming Wu, Pengwen Dai, Bo Li",
        venue="IJCAI",
        year=2025,
    )
    needs_several_modalities = True
    Config = PMCHConfig
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "no completion": {"completion": "none"},
        "mean completion": {"completion": "mean"},
        "graph autoencoder": {"completion": "gae"},
        "MLP": {"completion": "mlp"},
        "random anchors": {"anchors": "random"},
        "KNN": {"aggregation": "knn"},
        "GAT": {"aggregation": "gat"},
        "transformer": {"aggregation": "transformer"},
    }
    config: PMCHConfig
    anchor_features: Tensor

    def __init__(self, spec: ModelSpec, config: PMCHConfig) -> None:
        super().__init__(spec, config)
        names, c = spec.modalities, config
        hidden, activation = by_modality(c.hidden, names), nn.Tanh if c.activation == "tanh" else nn.ReLU
        self.encoders = nn.ModuleDict({m: mlp((dim, hidden[m], c.width), activation) for m, dim in spec.dims.items()})
        self.head = nn.Linear(c.width, spec.bits)
        self.recovery = _recovery_network(c, len(names), c.random_anchors if self.draws_anchors else spec.classes)
        if self.learns_prototypes:
            self.prototypes = nn.Parameter(torch.randn(len(names), spec.classes, c.width) * c.width**-0.5)
        if self.draws_anchors:
            self.register_buffer("anchor_features", torch.zeros(len(names), c.random_anchors, c.width))

    @property
    def draws_anchors(self) -> bool:
        """Say whether random paired items stand in for prototypes (Table 4)."""
        return self.config.anchors == "random"

    @property
    def learns_prototypes(self) -> bool:
        """Say whether there are learnable prototypes."""
        return self.config.completion == "prototypes" and not self.draws_anchors

    def completion(self) -> str:
        """Return one sentence for the manifest."""
        what = "random training items" if self.draws_anchors else "its learnt prototypes, one per class"
        return {
            "prototypes": f"A missing modality is a weighted sum of {what}, averaged over the modalities that give "
            "the weights.",
            "gae": "A missing modality is decoded by a graph autoencoder, with the item as its only neighbour.",
            "mlp": "A missing modality is generated from each one that is there, as encoder features, and averaged.",
            "mean": "The mean features of a modality stand in where it is missing.",
            "none": "A missing modality adds nothing to the sum of features.",
        }[self.config.completion]

    def begin(self, data: TrainData) -> None:
        """Check that something can be learnt about completion, and draw the random anchors of Table 4.

        Raises:
            InputError: no paired item, or fewer complete ones than random anchors.
        """
        if self.recovery is None:
            return
        names, wanted = ", ".join(self.spec.modalities), self.config.random_anchors
        if not _paired(data.present).any():
            raise InputError(
                f"pmch needs at least 1 training item that has two of {names}, to learn completion from; none of the "
                f"{len(data)} has: give it paired items, or take another completion "
                "(--set completion=mean, or none)."
            )
        if self.draws_anchors:
            drawn = data.sample_complete(wanted)
            if len(drawn) < wanted:
                raise InputError(
                    f"pmch with anchors = 'random' needs {wanted} training items that have all of {names}; there are "
                    f"{len(drawn)} of {len(data)}: give it more of them, or take those (--set "
                    f"random_anchors={len(drawn)})."
                )
            self.state = {f"anchors_{m}": x for m, x in drawn.features.items()}

    def optimizers(self) -> dict[str, Optimizer]:
        """Return Adam with one rate for the networks and one for the prototypes."""
        networks = [p for name, p in self.named_parameters() if name != "prototypes"]
        groups = [{"params": networks, "lr": self.config.learning_rate, "weight_decay": self.config.weight_decay}]
        if self.learns_prototypes:
            groups.append({"params": [self.prototypes], "lr": self.config.prototype_learning_rate})
        return {"adam": Adam(groups, fused=True)}

    def losses(self, items: TrainData) -> Terms:
        """Return the terms of eq. 10 for a batch; those of paired items are 0 where there is none."""
        v = self._encoded(items.features, items.present)
        recovered = self._recovered(v, items.present, self._prototypes(), items.labels)
        h = self._hashed(self._filled(v, recovered, self._shown(items.present)))
        terms = {"L_sim": similarity_loss(h, items.labels), "L_sign": quantisation(h)}  # eq. 7 and 9
        if self.recovery is not None:
            terms["L_recons"] = self._reconstruction(v, recovered, items.present)
        if self.learns_prototypes:
            paired, p_h = _paired(items.present), self._hashed(list(self.prototypes))  # eq. 2
            terms["L_proto"] = prototype_loss(h[paired], p_h, items.labels[paired])
        return terms

    def weights(self) -> Mapping[str, float]:
        """Return the weights of eq. 10."""
        return {"L_recons": self.config.alpha, "L_proto": self.config.beta, "L_sign": self.config.gamma}

    def _shown(self, present: Tensor) -> Tensor:
        """Return what a batch's codes are made from: `present`, with one modality left to some paired items."""
        return hide(present, self.config.modality_dropout)

    def _reconstruction(self, v: list[Tensor], recovered: dict[Pair, Tensor], present: Tensor) -> Tensor:
        """L_recons (eq. 6), over the items that have both source and target."""
        loss = torch.zeros((), device=present.device)
        for (source, target), made in recovered.items():
            errors = (made - v[target]).square().mean(dim=1)
            loss = loss + masked_mean(errors, present[:, source] & present[:, target])
        return loss / (len(v) - 1)

    @torch.no_grad()
    def finish(self, data: TrainData) -> None:
        """Keep the encoder features of random anchors for inference."""
        if self.draws_anchors:
            self.anchor_features.copy_(self._encoded_anchors())

    def _prototypes(self) -> Tensor | None:
        """P^m, float32 (M, C, K), or what stands in for them; None where completion does without."""
        if self.learns_prototypes:
            return self.prototypes
        if self.draws_anchors:
            return self._encoded_anchors() if self.training else self.anchor_features
        return None

    def _encoded_anchors(self) -> Tensor:
        return torch.stack([encoder(self.state[f"anchors_{m}"]) for m, encoder in self.encoders.items()])

    def _encoded(self, features: dict[str, Tensor], present: Tensor) -> list[Tensor]:
        """V^m (B, K); zeros where a modality is missing."""
        return [
            observed_only(self.encoders[m], x, present[:, i], self.config.width)
            for i, (m, x) in enumerate(features.items())
        ]

    def _recovered(
        self, v: list[Tensor], present: Tensor, prototypes: Tensor | None, labels: Tensor | None
    ) -> dict[Pair, Tensor]:
        """V~^m from each other modality (eq. 4-5, 12-13), (B, K); with labels, zeros in rows without it."""
        made: dict[Pair, Tensor] = {}
        if self.recovery is None:
            return made
        for source, x in enumerate(v):
            if labels is None:
                made |= {(source, m): y for m, y in self.recovery(source, x, prototypes, None).items()}
            else:
                rows = present[:, source].nonzero().flatten()
                targets = self.recovery(source, x[rows], prototypes, labels[rows])
                made |= {(source, m): torch.zeros_like(x).index_copy(0, rows, y) for m, y in targets.items()}
        return made

    def _filled(self, v: list[Tensor], recovered: dict[Pair, Tensor], present: Tensor) -> list[Tensor]:
        """V^m, and what stands in for it where m is missing."""
        return [torch.where(present[:, m : m + 1], x, self._stand_in(m, recovered, present)) for m, x in enumerate(v)]

    def _stand_in(self, m: int, recovered: dict[Pair, Tensor], present: Tensor) -> Tensor:
        """V~^m, the mean of what modalities that are there recover, (B, K), or one feature for all items, (1, K)."""
        name = self.spec.modalities[m]
        if self.config.completion == "none":
            return self.head.weight.new_zeros(1, self.config.width)
        if self.config.completion == "mean":
            mean: Tensor = self.encoders[name](self.head.weight.new_zeros(1, self.spec.dims[name]))
            return mean
        sources = [s for s in range(present.shape[1]) if s != m]
        return mean_of_present(torch.stack([recovered[s, m] for s in sources]), present[:, sources])

    def _hashed(self, features: list[Tensor]) -> Tensor:
        """H_f of the sum of all modalities' features (eq. 1, 2, 14)."""
        return torch.tanh(self.head(torch.stack(features).sum(dim=0)))

    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `code`, float32 (B, bits) in (-1, 1)."""
        v = self._encoded(features, present)
        recovered = self._recovered(v, present, self._prototypes(), None)
        return {"code": self._hashed(self._filled(v, recovered, present))}


def prototype_loss(h: Tensor, prototypes: Tensor, labels: Tensor) -> Tensor:
    """Return L_proto (eq. 3) of paired items' codes h (B, bits), hash prototypes P^h (C, bits) and labels (B, C)."""
    cosines = cosine(h, prototypes)
    return masked_mean(cosines, 1 - labels) - masked_mean(cosines, labels)


def _paired(present: Tensor) -> Tensor:
    """bool (B,): items that have two or more modalities."""
    return present.sum(dim=1) > 1


def _recovery_network(config: PMCHConfig, modalities: int, prototypes: int) -> nn.Module | None:
    """Return the recovery network for this many prototypes in each modality; None where nothing is learnt for it."""
    if config.completion == "gae":
        return GraphAutoencoder(modalities, config.width, config.weight_net[0])
    if config.completion == "mlp":
        return MLPGenerator(modalities, config.width, config.weight_net)
    if config.completion != "prototypes":
        return None
    return PrototypeAggregation(modalities, [_coefficients(config, prototypes) for _ in range(modalities)])


def _coefficients(config: PMCHConfig, prototypes: int) -> nn.Module:
    """Return what makes one modality's coefficients."""
    if config.aggregation == "weight_net":
        return WeightNet(config.width, config.weight_net, prototypes, softmax=config.softmax)
    if config.aggregation == "knn":
        return NearestPrototypes(config.nearest)
    return AttentionScores(config.width, config.weight_net[0], config.aggregation)
