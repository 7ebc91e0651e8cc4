"""DCMH: one code per modality from the likelihood of pairs between modalities; a missing modality has no code.

Jiang, Li: Deep Cross-Modal Hashing, CVPR 2017. Symbols are the paper's, written from its equations as we know them.

F, G (K, n) are what the image and the text network give for the n training items, B their common codes, S_ij = 1 where
items i and j share a label, else 0, F1 and G1 the sums over the items:

    min  J = - sum over i, j of (S_ij Theta_ij - log(1 + e^Theta_ij))
             + gamma (||B - F||^2 + ||B - G||^2) + eta (||F1||^2 + ||G1||^2),
         Theta_ij = F_i . G_j / 2,  B in {-1, +1}

An epoch is an iteration of its Algorithm 1: batches of images go through their network, with G, B and all other columns
of F as they were last; then batches of texts in the same way; then B = sign(gamma (F + G)), which gamma does not
change.

Only items that have all modalities are trained on: DCMH was made for complete data. It completes nothing, and the code
of a missing modality is all zero bits.

Means in place of the paper's sums, so that weights depend neither on the batch m nor on n: the likelihood over pairs,
||B - F||^2 over items and bits, ||F1||^2 over bits with F1 the mean. The paper's J divided by m n says which weights
here stand for its own:

    quantisation = gamma K / n        balance = eta n K / m

For its gamma = eta = 1 on MIRFlickr (n = 10,000, m = 128, K = 32) these are 0.0032 and 2,500. The defaults here, and
the recipes', were chosen on held-out training items, where so much balance kept the networks from learning anything.

More than two modalities: the likelihood is taken with each other modality and divided by M - 1, and B is the sign of
the sum. With two modalities all of this is the paper's.

Ours: image features come from a fixed network, so of CNN-F only fully connected layers are left; Adam with a learning
rate that falls to zero, where the paper has SGD; dropout and weight decay, which are not in the paper (0 by default).

>>> from ichash_export.train.training import train
>>> trained = train(table, "dcmh", 16, settings={"epochs": 1, "hidden": [32]})
>>> trained.model.method.completion()
'A missing modality has no code: its bits are all zero.'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ichash_export.layers import by_modality, in_chunks, mlp
from ichash_export.losses import pairwise_likelihood, shared_label, signs
from ichash_export.methods.base import (
    Citation,
    Family,
    Method,
    MethodConfig,
    ModelSpec,
    Terms,
    TrainData,
    cosine_rate,
    setting,
)
from ichash_export.methods.batches import batches
from milvus_ichash.errors import InputError


class DCMHConfig(MethodConfig):
    """Settings of DCMH."""

    batch_size: int = setting(128, "paper", ge=2)
    """Training items in a step."""
    quantisation: float = setting(0.1, ge=0)
    """Weight of the distance from B."""
    balance: float = setting(1.0, ge=0)
    """Weight of the bits' means, which should be zero."""
    hidden: tuple[int, ...] = setting((4096, 8192))
    """Hidden width of the networks, by modality; further modalities have the last one."""
    learning_rate: float = setting(1e-3, gt=0)
    """In the first epoch; it falls to zero along a cosine."""
    weight_decay: float = setting(0.0, ge=0)
    """L2 penalty on the networks' weights."""
    dropout: float = setting(0.0, ge=0, lt=1)
    """Share of the input features that is dropped in training."""


class DCMH(Method):
    """DCMH for two or more modalities; see the module's docstring.

    `state` holds B and, by modality, `outputs_<modality>` (F and G of the paper), each float32 (paired items, K).
    """

    family: ClassVar[Family] = "cross-modal"
    citation = Citation(
        title="Deep Cross-Modal Hashing",
        authors="Qing-Yuan Jiang, Wu-Jun Li",
        venue="CVPR",
        year=2017,
        doi="10.1109/CVPR.2017.348",
    )
    needs_several_modalities = True
    Config = DCMHConfig
    config: DCMHConfig

    def __init__(self, spec: ModelSpec, config: DCMHConfig) -> None:
        super().__init__(spec, config)
        hidden = by_modality(config.hidden, spec.modalities)
        sizes = {m: (dim, hidden[m], spec.bits) for m, dim in spec.dims.items()}
        self.networks = nn.ModuleDict(
            {m: nn.Sequential(nn.Dropout(config.dropout), *mlp(sizes[m])) for m in spec.modalities}
        )

    def completion(self) -> str:
        """Return one sentence for the manifest."""
        return "A missing modality has no code: its bits are all zero."

    def begin(self, data: TrainData) -> None:
        """Take F, G and B from the networks as they are.

        Raises:
            InputError: no item has all modalities.
        """
        items = self._paired(data)
        if not len(items):
            raise InputError(
                f"dcmh trains on items that have all of {', '.join(self.spec.modalities)}; none of the {len(data)} "
                "training items has: give it paired items."
            )
        with torch.no_grad():
            self.state = {_outputs(m): in_chunks(self.networks[m], x) for m, x in items.features.items()}
        self.state["B"] = self.shared_codes()

    def optimizers(self) -> dict[str, Optimizer]:
        """Return Adam for each network."""
        c = self.config
        return {
            m: Adam(network.parameters(), lr=c.learning_rate, weight_decay=c.weight_decay, fused=True)
            for m, network in self.networks.items()
        }

    def learning_rates(self, epoch: int) -> Mapping[str, float]:
        """Return the rate of this epoch, which is the same for all networks."""
        rate = cosine_rate(self.config.learning_rate, epoch, self.config.epochs)
        return dict.fromkeys(self.spec.modalities, rate)

    def steps(
        self, data: TrainData, epoch: int, optimizers: dict[str, Optimizer], generator: torch.Generator
    ) -> Iterator[Terms]:
        """Do an iteration of Algorithm 1: each network in turn, then B."""
        items = self._paired(data)
        for m, optimizer in optimizers.items():
            for index in batches(len(items), self.config.batch_size, generator, items.device, drop_single=False):
                h = self.networks[m](items.features[m][index])
                yield self.step(self.modality_losses(items, m, index, h), optimizer)
                self.state[_outputs(m)][index] = h.detach()
        self.state["B"] = self.shared_codes()

    def modality_losses(self, items: TrainData, m: str, index: Tensor, h: Tensor) -> Terms:
        """Return the terms of J that modality m takes part in, without their weights.

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

    def weights(self) -> Mapping[str, float]:
        """Return the weights of J."""
        return {"L_Q": self.config.quantisation, "L_balance": self.config.balance}

    def shared_codes(self) -> Tensor:
        """Return B = sign(F + G), float32 (n, K)."""
        return signs(torch.stack([self.state[_outputs(m)] for m in self.spec.modalities]).sum(dim=0))

    def encode(self, features: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return relaxed codes `<modality>_code`, float32 (B, bits)."""
        codes = {}
        for i, (m, x) in enumerate(features.items()):
            h = self.networks[m](x)
            codes[f"{m}_code"] = torch.where(present[:, i : i + 1], h, torch.zeros_like(h))
        return codes

    def _paired(self, data: TrainData) -> TrainData:
        return data.rows(data.complete())


def _outputs(m: str) -> str:
    return f"outputs_{m}"
