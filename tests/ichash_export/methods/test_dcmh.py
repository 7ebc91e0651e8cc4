"""DCMH against a re-derivation of its objective in numpy, its alternation, and on real data."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from support.by_numpy import array, shares_label
from support.real_data import fashion
from support.small_methods import small
from support.train_data import DIMS, VIEWS, items, run, same_weights
from torch import nn

from ichash_export.methods.base import TrainData
from ichash_export.methods.dcmh import DCMH, DCMHConfig

model = partial(small, DCMH)


def whole_objective(outputs: list[np.ndarray], b: np.ndarray, labels: np.ndarray, gamma: float, eta: float) -> float:
    """The paper's J, sum by sum; of M modalities, each pair's likelihood counts once and is divided by M - 1."""
    n, pairs, s = len(b), 0.0, shares_label(labels, labels)
    for u in range(len(outputs)):
        for v in range(u + 1, len(outputs)):
            for i in range(n):
                for j in range(n):
                    theta = outputs[u][i] @ outputs[v][j] / 2
                    pairs -= s[i, j] * theta - np.log(1 + np.exp(theta))
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
    run(dcmh, data, [0])
    f, g, b = (array(dcmh.state[name]) for name in ("outputs_image", "outputs_text", "B"))
    assert np.array_equal(b, dcmh.shared_codes().numpy())
    assert set(np.unique(b)) == {-1.0, 1.0}
    cost = (b - f) ** 2 + (b - g) ** 2
    assert (cost - (-b - f) ** 2 - (-b - g) ** 2).max() < 1e-6


def test_outputs_are_those_of_the_last_batches() -> None:
    """Without dropout, a network that stands still leaves F and G as it gives them."""
    data = items()
    dcmh = model(learning_rate=1e-12)
    run(dcmh, data, [0])
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
    run(ours, data, [0, 1])
    run(theirs, changed, [0, 1])
    same_weights(theirs.state_dict(), ours.state_dict())


@pytest.mark.slow
def test_it_learns_real_data(shared_data: Path) -> None:
    """Half of 1,200 products are paired: photographs and names find each other far better than by chance."""
    data = fashion(shared_data)
    config = DCMHConfig(epochs=12, batch_size=64, hidden=(256,), dropout=0.5, quantisation=0.1, balance=1.0)
    dcmh = data.trained(DCMH, config)
    image, text = (data.codes(dcmh, *DIMS, output=f"{m}_code") for m in DIMS)
    found = data.mean_ap(image, text), data.mean_ap(text, image)
    # Measured: 0.44 and 0.49; by chance 0.26.
    assert min(found) > data.chance + 0.08, (found, data.chance)
