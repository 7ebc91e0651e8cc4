"""DCMH: one code per modality from the likelihood of pairs between modalities; a missing modality has no code.

Jiang, Li: Deep Cross-Modal Hashing, CVPR 2017. Symbols are the paper's, written from its equations as we know them.

F, G (K, n) are what the image and the text network give for the n training items, B their common codes, S_ij = 1 where items i and j
share a label, else 0, F1 and G1 the sums over the items:

    min  J = - sum over i, j of (S_ij Theta_ij - log(1 + e^Theta_ij)) + gamma (||B - F||^2 + ||B - G||^2) + eta (||F1||^2 + ||G1||^2),
         Theta_ij = F_i . G_j / 2,  B in {-1, +1}

An epoch is an iteration of its Algorithm 1: batches of images go through their network, with G, B and all other columns of F as they
were last; then batches of texts likewise; then B = sign(gamma (F + G)), which gamma does not change.

Only items that have all modalities are trained on: DCMH was made for complete data. It completes nothing, and the code of a missing
modality is all zero bits.

Means in place of the paper's sums, so that weights depend neither on the batch m nor on n: the likelihood over pairs, ||B - F||^2 over
items and bits, ||F1||^2 over bits with F1 the mean. The paper's J divided by m n says which weights here stand for its own:

    quantisation = gamma K / n        balance = eta n K / m

For its gamma = eta = 1 on MIRFlickr (n = 10,000, m = 128, K = 32) these are 0.0032 and 2,500. The defaults here, and the recipes', were
chosen on held-out training items, where so much balance kept the networks from learning anything.

More than two modalities: the likelihood is taken with each other modality and divided by M - 1, and B is the sign of the sum. With two
modalities all of this is the paper's.

Ours: image features come from a fixed network, so of CNN-F only fully connected layers are left; Adam with a learning rate that falls to
zero, where the paper has SGD; dropout and weight decay, which are not in the paper (0 by default).
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ichash_export.layers import mlp
from ichash_export.losses import pairwise_likelihood, shared_label, signs
from ichash_export.methods.base import Family, Method, MethodConfig, ModelSpec, TrainData, batches
from milvus_ichash.errors import InputError

_ROWS = 4096
"""Items that a network sees at once."""


class DCMHConfig(MethodConfig):
    """Settings of DCMH."""

    batch_size: int = Field(128, ge=2)
    """Training items in a step."""
    quantisation: float = Field(0.1, ge=0)
    """Weight of the distance from B."""
    balance: float = Field(1.0, ge=0)
    """Weight of the bits' means, which should be zero."""
    hidden: tuple[int, ...] = (4096, 8192)
    """Hidden width of the networks, by modality; the last one is that of all further modalities too."""
    learning_rate: float = Field(1e-3, gt=0)
    """In the first epoch; it falls to zero along a cosine."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty on the networks' weights."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the input features that is dropped in training."""


class DCMH(Method):
    """DCMH for two or more modalities; see the module's docstring.

    `state` holds B and, by modality, `outputs_<modality>` (F and G of the paper), each float32 (paired items, K).

    Raises:
        InputError: fewer than two modalities.
    """

    family: ClassVar[Family] = "cross-modal"
    paper: ClassVar[str] = "Jiang, Li, Deep Cross-Modal Hashing, CVPR 2017"
    Config = DCMHConfig
    config: DCMHConfig

    def __init__(self, spec: ModelSpec, config: DCMHConfig) -> None:
        super().__init__(spec, config)
        names = spec.modalities
        if len(names) < 2:
            raise InputError(
                f"dcmh makes codes of several modalities comparable, so it needs at least two; there is only '{names[0]}'."
            )
        hidden = [*config.hidden, *[config.hidden[-1]] * len(names)]
        sizes = {m: (spec.dims[m], hidden[i], spec.bits) for i, m in enumerate(names)}
        self.networks = nn.ModuleDict({m: nn.Sequential(nn.Dropout(config.dropout), *mlp(sizes[m])) for m in names})

    def completion(self) -> str:
        """One sentence for the manifest."""
        return "A missing modality has no code: its bits are all zero."

    def begin(self, data: TrainData) -> None:
        """Take F, G and B from the networks as they are.

        Raises:
            InputError: no item has all modalities.
        """
        items = self._paired(data)
        if not len(items):
            raise InputError(
                f"dcmh trains on items that have all of {', '.join(self.spec.modalities)}; none of the {len(data)} training items has: "
                "give it paired items."
            )
        with torch.no_grad():
            self.state = {
                _outputs(m): torch.cat([self.networks[m](part) for part in x.split(_ROWS)])
                for m, x in items.features.items()
            }
        self.state["B"] = self.shared_codes()

    def optimizers(self) -> dict[str, Optimizer]:
        """Adam for each network."""
        c = self.config
        return {
            m: Adam(self.networks[m].parameters(), lr=c.learning_rate, weight_decay=c.weight_decay, fused=True)
            for m in self.networks
        }

    def train_epoch(
        self, data: TrainData, epoch: int, optimizers: dict[str, Optimizer], generator: torch.Generator
    ) -> dict[str, float]:
        """An iteration of Algorithm 1: each network in turn, then B."""
        items, c = self._paired(data), self.config
        steps: list[dict[str, Tensor]] = []
        for m, optimizer in optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = c.learning_rate * (1 + math.cos(math.pi * epoch / c.epochs)) / 2
            for index in batches(len(items), c.batch_size, generator, items.device, drop_single=False):
                h = self.networks[m](items.features[m][index])
                terms = self.losses(items, m, index, h)
                optimizer.zero_grad()
                self.objective(terms).backward()
                optimizer.step()
                self.state[_outputs(m)][index] = h.detach()
                steps.append({name: term.detach() for name, term in terms.items()})
        self.state["B"] = self.shared_codes()
        return {name: torch.stack([step[name] for step in steps]).mean().item() for name in steps[0]}

    def losses(self, items: TrainData, m: str, index: Tensor, h: Tensor) -> dict[str, Tensor]:
        """The terms of J that modality m takes part in, without their weights.

        Args:
            items: the n paired items.
            m: a modality.
            index: int64 (B,), a batch of them.
            h: what the network of m gives for the batch, (B, K).
        """
        s = shared_label(items.labels[index], items.labels)
        others = [self.state[_outputs(other)] for other in self.spec.modalities if other != m]
        everywhere = self.state[_outputs(m)].index_copy(0, index, h)
        return {
            "L_pair": torch.stack([pairwise_likelihood(h, g, s) for g in others]).mean(),
            "L_Q": F.mse_loss(h, self.state["B"][index]),
            "L_balance": everywhere.mean(dim=0).square().mean(),
        }

    def objective(self, terms: dict[str, Tensor]) -> Tensor:
        """J."""
        return terms["L_pair"] + self.config.quantisation * terms["L_Q"] + self.config.balance * terms["L_balance"]

    def shared_codes(self) -> Tensor:
        """B = sign(F + G), float32 (n, K)."""
        return signs(torch.stack([self.state[_outputs(m)] for m in self.spec.modalities]).sum(dim=0))

    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Relaxed codes `<modality>_code`, float32 (B, bits)."""
        codes = {}
        for i, (m, x) in enumerate(features.items()):
            h = self.networks[m](x)
            codes[f"{m}_code"] = torch.where(present[:, i : i + 1], h, torch.zeros_like(h))
        return codes

    def _paired(self, data: TrainData) -> TrainData:
        return data.rows(data.complete())


def _outputs(m: str) -> str:
    return f"outputs_{m}"
