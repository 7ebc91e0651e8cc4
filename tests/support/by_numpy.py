"""Networks and similarities in numpy and float64, by layers and pairs: what equations are checked against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import erf

import numpy as np
from torch import Tensor, nn


def array(x: Tensor) -> np.ndarray:
    """Return the tensor as float64."""
    return x.detach().double().numpy()


def by_numpy(network: nn.Module | Iterable[nn.Module], x: np.ndarray, *, training: bool = False) -> np.ndarray:
    """Return what layers make of x, (D,) or (n, D), without dropout; BatchNorm is in evaluation mode, or training."""
    if isinstance(network, nn.Linear):
        return x @ array(network.weight).T + (0 if network.bias is None else array(network.bias))
    if isinstance(network, nn.BatchNorm1d):
        mean = x.mean(0) if training else array(network.running_mean)
        var = x.var(0) if training else array(network.running_var)
        return (x - mean) / np.sqrt(var + network.eps) * array(network.weight) + array(network.bias)
    if isinstance(network, nn.ReLU):
        return np.maximum(x, 0)
    if isinstance(network, nn.Tanh):
        return np.tanh(x)
    if isinstance(network, nn.GELU):
        return x * (1 + np.vectorize(erf)(x / 2**0.5)) / 2
    if isinstance(network, (nn.Dropout, nn.Identity)):
        return x
    for layer in network:  # type: ignore[union-attr]
        x = by_numpy(layer, x, training=training)
    return x


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


def softmax(scores: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return shares that sum to one."""
    e = np.exp(np.asarray(scores) - np.max(scores))
    return e / e.sum()


def cos(a: np.ndarray, b: np.ndarray) -> float:
    """Return the cosine of two vectors."""
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def signs(h: np.ndarray) -> np.ndarray:
    """Return +1 where h is positive, else -1."""
    return np.where(h > 0, 1.0, -1.0)


def quantisation(h: np.ndarray) -> float:
    """Return the mean squared distance from the signs."""
    return float(np.mean((h - signs(h)) ** 2))


def shares_label(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return 1 where two items have a label in common, else 0, pair by pair."""
    return np.array([[1.0 if any(x and y for x, y in zip(i, j, strict=True)) else 0.0 for j in b] for i in a])


def squashed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return 2 / (1 + e^-(number of common labels)) - 1, pair by pair."""
    return np.array([[2 * sigmoid(sum(x * y for x, y in zip(i, j, strict=True))) - 1 for j in b] for i in a])


def similarity_loss(h: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of (cos(h_i, h_j) - S_ij)^2 over all pairs, with squashed similarities S."""
    s = squashed(labels, labels)
    return float(np.mean([(cos(h[i], h[j]) - s[i, j]) ** 2 for i in range(len(h)) for j in range(len(h))]))


def cross_entropy(truth: np.ndarray, guess: np.ndarray) -> float:
    """Return the mean cross-entropy of probabilities, element by element."""
    pairs = zip(np.ravel(truth), np.ravel(guess), strict=True)
    return -float(np.mean([y * np.log(p) + (1 - y) * np.log(1 - p) for y, p in pairs]))
