"""The real data sets, as items to train a method on and others to search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from support.train_data import finished, run
from torch import Tensor

from ichash_export.layers import FeatureScaling
from ichash_export.methods.base import Method, MethodConfig, ModelSpec, TrainData
from milvus_ichash.codes import pack
from milvus_ichash.evaluation.metrics import mean_average_precision

M = TypeVar("M", bound=Method)


@dataclass(frozen=True)
class RealData:
    """Training items, scaled, many of which lack a modality; and other items, held out and complete.

    Attributes:
        train: the training items.
        held: scaled features of the items held out, by modality.
        labels: their labels, uint8 (n, C).
        label_names: the names of the classes.
    """

    train: TrainData
    held: dict[str, Tensor]
    labels: np.ndarray
    label_names: tuple[str, ...]

    def trained(self, method: type[M], config: MethodConfig, *, data: TrainData | None = None, seed: int = 0) -> M:
        """Return the method of 32 bits after all its epochs on the training items, or on `data` in their place."""
        torch.manual_seed(seed)
        dims = {m: x.shape[1] for m, x in self.held.items()}
        data = self.train if data is None else data
        made = method(
            ModelSpec(dims, len(self.label_names), 32, self.label_names, method.input_sizes(config, None)), config
        )
        run(made, data, range(config.epochs))
        return finished(made, data)

    @torch.no_grad()
    def codes(self, method: Method, *modalities: str, output: str = "code", bits: int | None = None) -> np.ndarray:
        """Return packed codes of the items held out, made from these modalities alone; the first bits, if given."""
        there = torch.tensor([[m in modalities for m in self.held]]).expand(len(self.labels), -1)
        x = {m: x * there[:, i : i + 1] for i, (m, x) in enumerate(self.held.items())}
        return pack(method.encode(x, there)[output].numpy()[:, :bits])

    def mean_ap(self, queries: np.ndarray, database: np.ndarray) -> float:
        """Return the mAP of searching one set of codes of the items held out by another."""
        return mean_average_precision(queries, database, self.labels, self.labels)

    def single_modality_scores(self, method: Method) -> dict[str, float]:
        """Return, for a method of fused codes, the mAP of each modality alone searching complete items."""
        complete = self.codes(method, *self.held)
        return {m: self.mean_ap(self.codes(method, m), complete) for m in self.held}

    @property
    def chance(self) -> float:
        """The mAP of random order: the share of pairs that share a label."""
        return float(np.mean(self.labels.astype(int) @ self.labels.T > 0))


@cache
def _fashion(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "fashion" / "fashion.npz") as file:
        rows = file["train"][:2000]
        whole = {"image": file["I_db"][rows], "text": file["T_db"][rows], "labels": file["L_db"][rows]}
        return {**whole, "names": file["labels"]}


@cache
def fashion(folder: Path, train: int = 1200, held: int = 800, missing: float = 0.5) -> RealData:
    """Return product photographs and names: 1280 and 1000 features, 43 classes.

    Args:
        folder: where the data sets are.
        train: number of training items.
        held: number of items held out, at most 2000 together.
        missing: share of the training items that lack a modality, half of them each.
    """
    file = _fashion(folder)
    present = torch.ones(train, 2, dtype=torch.bool)
    order = torch.randperm(train, generator=torch.Generator().manual_seed(0))[: int(train * missing)]
    present[order[::2], 0], present[order[1::2], 1] = False, False
    features = {m: torch.from_numpy(file[m][: train + held].astype(np.float32)) for m in ("image", "text")}
    return _split(features, file["labels"][: train + held], tuple(map(str, file["names"])), present)


@cache
def mfeat(folder: Path) -> RealData:
    """Return handwritten digits in three views: 1,500 to train on, with any pattern of gaps, and 500 held out."""
    file = pytest.importorskip("scipy.io").loadmat(folder / "mfeat" / "mfeat.mat")
    views = {"fourier": "I", "karhunen": "T", "pixels": "P"}
    both = {m: np.concatenate([file[f"{p}_tr"], file[f"{p}_te"]]).astype(np.float32) for m, p in views.items()}
    labels = np.concatenate([np.eye(10, dtype=np.uint8)[file[f"L_{s}"].ravel().astype(int) - 1] for s in ("tr", "te")])
    random, n = torch.Generator().manual_seed(0), len(file["I_tr"])
    present = torch.rand(n, 3, generator=random) < 0.5
    present[torch.arange(n), torch.randint(3, (n,), generator=random)] = True
    return _split({m: torch.from_numpy(x) for m, x in both.items()}, labels, tuple("0123456789"), present)


def _split(features: dict[str, Tensor], labels: np.ndarray, names: tuple[str, ...], present: Tensor) -> RealData:
    """Return the first items, one for each row of `present`, as training items, and the rest as held out."""
    n, train, held = len(present), {}, {}
    for i, (m, x) in enumerate(features.items()):
        scaling = FeatureScaling(x.shape[1])
        scaling.fit_standard(x[:n][present[:, i]])
        train[m] = scaling(x[:n], present[:, i])
        held[m] = scaling(x[n:], torch.ones(len(x) - n, dtype=torch.bool))
    data = TrainData(train, present, torch.from_numpy(labels[:n].astype(np.float32)))
    return RealData(data, held, labels[n:].astype(np.uint8), names)
