"""Feature scaling and the blocks of networks."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ichash_export.layers import FeatureScaling, mlp, normed_mlp, observed_only


def test_mlp_has_an_activation_between_layers_only() -> None:
    kinds = [type(layer) for layer in mlp([3, 5, 2], nn.Tanh)]
    assert kinds == [nn.Linear, nn.Tanh, nn.Linear]
    assert [type(layer) for layer in mlp([3, 2], nn.Tanh, last=True)] == [nn.Linear, nn.Tanh]


def test_normed_mlp_norms_every_layer() -> None:
    block = [nn.Linear, nn.BatchNorm1d, nn.Tanh]
    assert [type(layer) for layer in normed_mlp([3, 5, 2])] == block * 2
    assert [type(layer) for layer in normed_mlp([3, 2], nn.ReLU, dropout=0.3)] == [
        nn.Linear,
        nn.BatchNorm1d,
        nn.ReLU,
        nn.Dropout,
    ]


def test_observed_only_keeps_missing_rows_out_of_the_statistics() -> None:
    network = normed_mlp([2, 3])
    x, there = torch.randn(6, 2), torch.tensor([True, False, True, True, False, True])
    y = observed_only(network, x, there, 3)
    network_again = normed_mlp([2, 3])
    network_again.load_state_dict(
        {k: v for k, v in network.state_dict().items() if "running" not in k and "batches" not in k}, strict=False
    )
    torch.testing.assert_close(y[there], network_again(x[there]))
    assert not y[~there].any()
    torch.testing.assert_close(network[1].running_mean, network_again[1].running_mean)
    one = torch.tensor([True, False, False, False, False, False])
    assert not observed_only(network, x, one, 3).any()
    linear = nn.Linear(2, 3)
    assert observed_only(linear, x, one, 3, least=1)[0].any()
    assert observed_only(network.eval(), x, one, 3)[0].any()


def test_standard_scaling_is_numpys() -> None:
    x = np.random.default_rng(0).normal(5, 3, (50, 4)).astype(np.float32)
    x[:, 2] = 7.5
    scaling = FeatureScaling(4)
    scaling.fit_standard(torch.from_numpy(x))
    y = scaling(torch.from_numpy(x), torch.ones(50, dtype=torch.bool)).numpy()
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(0)) / np.where(wide.std(0) > 1e-6, wide.std(0), 1)
    np.testing.assert_allclose(y, expected, atol=2e-6)
    assert np.abs(y[:, 2]).max() < 1e-6


def test_minmax_scaling_fills_zero_to_one() -> None:
    x = torch.tensor([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]])
    scaling = FeatureScaling(2)
    scaling.fit_minmax(x)
    expected = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
    torch.testing.assert_close(scaling(x, torch.ones(3, dtype=torch.bool)), expected)


def test_missing_rows_leave_no_trace() -> None:
    scaling = FeatureScaling(2)
    scaling.fit_standard(torch.tensor([[1.0, 2.0], [3.0, 5.0]]))
    x = torch.tensor([[1.0, 2.0], [float("nan"), float("inf")], [1e38, -1e38]], requires_grad=True)
    y = scaling(x, torch.tensor([True, False, False]))
    assert torch.equal(y[1:], torch.zeros(2, 2))
    assert torch.isfinite(y).all()
    y.sum().backward()
    assert torch.isfinite(x.grad).all()
