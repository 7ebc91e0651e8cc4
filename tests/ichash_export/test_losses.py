"""Similarities and shared loss terms against their equations, in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ichash_export.losses import cosine, quantisation, shared_label, squashed_similarity

RNG = np.random.default_rng(0)
A, B = (RNG.integers(0, 2, (n, 5)).astype(np.float32) for n in (4, 3))


def test_shared_label() -> None:
    expected = [[1.0 if any(x and y for x, y in zip(a, b, strict=True)) else 0.0 for b in B] for a in A]
    assert shared_label(torch.from_numpy(A), torch.from_numpy(B)).tolist() == expected


def test_squashed_similarity() -> None:
    expected = [[2 / (1 + math.exp(-sum(x * y for x, y in zip(a, b, strict=True)))) - 1 for b in B] for a in A]
    np.testing.assert_allclose(squashed_similarity(torch.from_numpy(A), torch.from_numpy(B)), expected, atol=1e-6)


def test_cosine() -> None:
    x, y = RNG.standard_normal((4, 3)).astype(np.float32), RNG.standard_normal((2, 3)).astype(np.float32)
    expected = [[float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)) for b in y] for a in x]
    np.testing.assert_allclose(cosine(torch.from_numpy(x), torch.from_numpy(y)), expected, atol=1e-6)


def test_quantisation_pulls_to_the_bit_rules_signs() -> None:
    h = torch.tensor([[0.5, -0.25], [0.0, 1.0]], requires_grad=True)
    loss = quantisation(h)
    # A value of 0 is a 0 bit, so it is pulled to -1.
    assert loss.item() == pytest.approx(np.mean([0.5**2, 0.75**2, 1.0, 0.0]))
    loss.backward()
    assert h.grad[1, 0] > 0
