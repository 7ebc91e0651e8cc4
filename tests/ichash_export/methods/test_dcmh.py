"""DCMH against a re-derivation of its objective in numpy, its alternation, and on real data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ichash_export.layers import FeatureScaling
from ichash_export.methods.base import ModelSpec, TrainData
from ichash_export.methods.dcmh import DCMH, DCMHConfig
from ichash_export.onnx.parity import compare_with_torch
from ichash_export.onnx.to_onnx import ExportGraph, to_onnx
from ichash_export.train.model import Model
from milvus_ichash.codes import pack
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.metrics import mean_average_precision
from milvus_ichash.incomplete import partition_mask

DIMS = {"image": 6, "text": 4}
VIEWS = {"image": 6, "text": 4, "sound": 5}
SMALL = {"epochs": 4, "batch_size": 8, "hidden": (7, 9), "quantisation": 0.3, "balance": 0.6, "learning_rate": 1e-2}


def items(n: int = 30, dims: dict[str, int] = DIMS, missing: float = 0.5, classes: int = 4) -> TrainData:
    """Items without structure; a share of them has one modality only."""
    random = torch.Generator().manual_seed(0)
    present = torch.ones(n, len(dims), dtype=torch.bool)
    few = torch.randperm(n, generator=random)[: int(n * missing)]
    present[few] = torch.eye(len(dims), dtype=torch.bool)[torch.arange(len(few)) % len(dims)]
    features = {m: torch.randn(n, d, generator=random) * present[:, i : i + 1] for i, (m, d) in enumerate(dims.items())}
    labels = (torch.rand(n, classes, generator=random) < 0.3).float()
    labels[labels.sum(1) == 0, 0] = 1
    return TrainData(features, present, labels)


def model(dims: dict[str, int] = DIMS, classes: int = 4, bits: int = 8, **chosen: Any) -> DCMH:
    torch.manual_seed(1)
    return DCMH(ModelSpec(dims, classes, bits), DCMHConfig(**{**SMALL, **chosen}))


def run(dcmh: DCMH, data: TrainData, epochs: int) -> list[dict[str, float]]:
    dcmh.begin(data)
    optimizers, losses = dcmh.optimizers(), []
    for epoch in range(epochs):
        torch.manual_seed(epoch)
        losses.append(dcmh.train_epoch(data, epoch, optimizers, torch.Generator().manual_seed(epoch)))
    return losses


def array(x: Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def whole_objective(outputs: list[np.ndarray], b: np.ndarray, labels: np.ndarray, gamma: float, eta: float) -> float:
    """The paper's J, sum by sum; for more than two modalities each pair's likelihood counts once and is divided by M - 1."""
    n, pairs = len(b), 0.0
    for u in range(len(outputs)):
        for v in range(u + 1, len(outputs)):
            for i in range(n):
                for j in range(n):
                    theta = outputs[u][i] @ outputs[v][j] / 2
                    s = float((labels[i] * labels[j]).any())
                    pairs -= s * theta - np.log(1 + np.exp(theta))
    total = pairs / (len(outputs) - 1)
    for f in outputs:
        total += gamma * ((b - f) ** 2).sum() + eta * (f.sum(axis=0) ** 2).sum()
    return float(total)


@pytest.mark.parametrize("dims", [DIMS, VIEWS])
def test_a_batch_has_the_paper_s_gradient_with_respect_to_its_outputs(dims: dict[str, int]) -> None:
    """dJ / dF_i by differences of the whole J, divided by m n, with gamma and eta mapped as the docstring says."""
    gamma, eta, m, bits = 0.7, 0.05, 5, 8
    data = items(14, dims, missing=0)
    n = len(data)
    dcmh = model(dims, bits=bits, quantisation=gamma * bits / n, balance=eta * n * bits / m)
    dcmh.begin(data)
    dcmh.state = {name: x + 0.3 * torch.randn(x.shape) if name != "B" else x for name, x in dcmh.state.items()}
    index = torch.tensor([3, 0, 11, 7, 12])
    names = list(dims)
    for modality, name in enumerate(names):
        outputs = [array(dcmh.state[f"outputs_{other}"]) for other in names]
        h = dcmh.state[f"outputs_{name}"][index].clone().requires_grad_()
        dcmh.objective(dcmh.modality_losses(data, name, index, h)).backward()
        b, labels, step = array(dcmh.state["B"]), array(data.labels), 1e-5
        for row, item in enumerate(index.tolist()):
            for k in (0, 5):
                values = []
                for sign in (1, -1):
                    moved = [f.copy() for f in outputs]
                    moved[modality][item, k] += sign * step
                    values.append(whole_objective(moved, b, labels, gamma, eta))
                expected = (values[0] - values[1]) / (2 * step) / (m * n)
                assert h.grad[row, k].item() == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_the_loss_of_all_items_is_the_paper_s_objective() -> None:
    """With all items in one batch, J / n^2 is the loss but for the terms of the other modality."""
    gamma, eta, bits = 0.7, 0.05, 8
    data = items(12, missing=0)
    n = len(data)
    dcmh = model(bits=bits, quantisation=gamma * bits / n, balance=eta * n * bits / n)
    dcmh.begin(data)
    f, g, b = (array(dcmh.state[name]) for name in ("outputs_image", "outputs_text", "B"))
    others = gamma * ((b - g) ** 2).sum() + eta * (g.sum(axis=0) ** 2).sum()
    expected = (whole_objective([f, g], b, array(data.labels), gamma, eta) - others) / n**2
    loss = dcmh.objective(dcmh.modality_losses(data, "image", torch.arange(n), dcmh.state["outputs_image"]))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_b_is_the_best_code_for_the_outputs() -> None:
    """B minimises J for given F and G: no single bit flipped the other way lowers it."""
    data = items(9, missing=0)
    dcmh = model()
    run(dcmh, data, 1)
    f, g, b = (array(dcmh.state[name]) for name in ("outputs_image", "outputs_text", "B"))
    assert np.array_equal(b, dcmh.shared_codes().numpy())
    assert set(np.unique(b)) == {-1.0, 1.0}
    cost = (b - f) ** 2 + (b - g) ** 2
    assert (cost <= (-b - f) ** 2 + (-b - g) ** 2).all()


def test_outputs_are_those_of_the_last_batches() -> None:
    """Without dropout, a network that stands still leaves F and G as it gives them."""
    data = items()
    dcmh = model(learning_rate=1e-12)
    run(dcmh, data, 1)
    paired = data.rows(data.present.all(dim=1).nonzero().flatten())
    for m, x in paired.features.items():
        assert torch.allclose(dcmh.state[f"outputs_{m}"], dcmh.networks[m](x), atol=1e-5)


def test_the_networks_are_fully_connected_with_one_hidden_layer_each() -> None:
    sizes = {
        m: [(layer.in_features, layer.out_features) for layer in net if isinstance(layer, nn.Linear)]
        for m, net in model(VIEWS).networks.items()
    }
    assert sizes == {"image": [(6, 7), (7, 8)], "text": [(4, 9), (9, 8)], "sound": [(5, 9), (9, 8)]}


def test_it_learns_from_paired_items_only() -> None:
    """Whatever the incomplete items hold, the weights are the same."""
    data = items()
    changed = TrainData(
        {m: torch.where(data.present.all(1, keepdim=True), x, x + 5) for m, x in data.features.items()},
        data.present,
        data.labels,
    )
    ours, theirs = model(), model()
    losses = run(ours, data, 2)
    assert run(theirs, changed, 2) == losses
    for (name, x), y in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


def test_a_missing_modality_has_no_code() -> None:
    data = items()
    dcmh = model().eval()
    codes = dcmh.encode(data.features, data.present)
    for i, m in enumerate(DIMS):
        bits = np.unpackbits(pack(codes[f"{m}_code"].detach().numpy()), axis=1)
        assert not bits[~data.present[:, i].numpy()].any()
        assert bits[data.present[:, i].numpy()].any()


def test_the_export_gives_the_same_codes() -> None:
    data = items()
    dcmh = model()
    run(dcmh, data, 1)
    exported = Model(dcmh).eval()
    compare_with_torch(exported, to_onnx(ExportGraph(exported)), dims=DIMS)


def test_without_a_paired_item_it_says_so() -> None:
    with pytest.raises(
        InputError, match="dcmh trains on items that have all of image, text; none of the 30 training items has"
    ):
        model().begin(items(missing=1.0))


def test_one_modality_is_not_enough() -> None:
    with pytest.raises(InputError, match=r"dcmh .* needs at least two; there is only 'image'"):
        model({"image": 6})


def test_it_learns_real_data(shared_data: Path) -> None:
    """Product photographs and names: 800 items with half of them paired, seconds of training, far from random ranking."""
    with np.load(shared_data / "fashion" / "fashion.npz") as data:
        rows = data["train"][:1100]
        raw = {"image": data["I_db"][rows].astype(np.float32), "text": data["T_db"][rows].astype(np.float32)}
        labels = data["L_db"][rows].astype(np.uint8)
    present = np.ones((1100, 2), bool)
    present[:800] = partition_mask(present[:800], "easy", 0)
    scaled = {}
    for i, (m, x) in enumerate(raw.items()):
        scaling = FeatureScaling(x.shape[1])
        scaling.fit_standard(torch.from_numpy(x[:800][present[:800, i]]))
        scaled[m] = scaling(torch.from_numpy(x), torch.from_numpy(present[:, i])).detach()
    everything = TrainData(scaled, torch.from_numpy(present), torch.from_numpy(labels).float())
    dcmh = model(
        {m: x.shape[1] for m, x in raw.items()},
        labels.shape[1],
        32,
        **{
            "epochs": 12,
            "batch_size": 64,
            "hidden": (256,),
            "learning_rate": 1e-3,
            "dropout": 0.5,
            "quantisation": 0.1,
            "balance": 1.0,
        },
    )
    run(dcmh, everything.rows(torch.arange(800)), 12)
    query = everything.rows(torch.arange(800, 1100))
    with torch.no_grad():
        codes = {name: pack(x.numpy()) for name, x in dcmh.eval().encode(query.features, query.present).items()}
    shuffled = np.random.default_rng(0).permutation(300)
    for a, b in (("image_code", "text_code"), ("text_code", "image_code")):
        found = mean_average_precision(codes[a], codes[b], labels[800:], labels[800:])
        random = mean_average_precision(codes[a], codes[b][shuffled], labels[800:], labels[800:])
        assert found > random + 0.08, (a, found, random)
