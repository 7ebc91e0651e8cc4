"""CICH against re-derivations of its equations in numpy, Algorithm 1, its variants, and on real data."""

from __future__ import annotations

from functools import partial
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import train_data
from support.by_numpy import array, by_numpy, cross_entropy, shares_label, sigmoid, signs
from support.real_data import fashion
from support.small_methods import small
from support.train_data import DIMS, VIEWS, finished, run

from ichash_export.methods.base import TrainData
from ichash_export.methods.cich import losses as eq
from ichash_export.methods.cich.memory import LabelSets, Memory, hamming_neighbours, remember
from ichash_export.methods.cich.method import CICH, CICHConfig
from ichash_export.methods.cich.networks import POOLS, MultiScale
from ichash_export.methods.cich.recovery import kl_standard_normal, reconstruction
from ichash_export.onnx.parity import compare_with_torch
from ichash_export.onnx.to_onnx import ExportGraph, to_onnx
from ichash_export.train.model import Model
from milvus_ichash.errors import InputError

VARIANTS = [
    {},
    {"propagation": False, "label_loss": 0.2, "linear": [], "dropout": 0.2, "rounds": 2},
    {"variant": "PSSC+CCA"},
    {"variant": "PSSC"},
    {"variant": "Pair"},
    {"completion": "q"},
    {"completion": "mean"},
    {"completion": "none"},
]


items = partial(train_data.items, classes=4, single=True)


model = partial(small, CICH, classes=4)


def trained(data: TrainData, dims: dict[str, int] = DIMS, **chosen: Any) -> CICH:
    """A model after an epoch: nothing is at its initial value; with what inference needs, and codes B of its own."""
    cich = model(dims, **chosen)
    run(cich, data, [0])
    cich.finish(data)
    cich.state["B"] = cich.shared_codes(LabelSets.of(data.labels), remember(cich.networks, data))
    return cich


# ---- the same arithmetic, in numpy


def encoded(cich: CICH, m: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """mu and log-variance, through the layers one by one."""
    x = by_numpy(cich.networks.encoders[m].layers, x)
    return x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]


def code(cich: CICH, m: str, mu: np.ndarray) -> np.ndarray:
    return np.tanh(by_numpy(cich.networks.hash_heads[m], mu))


def likelihood(h: np.ndarray, psi: np.ndarray, s: np.ndarray) -> float:
    """Eq. 3, L_P, pair by pair."""
    total = 0.0
    for i in range(len(h)):
        for j in range(len(psi)):
            lam = sum(x * y for x, y in zip(h[i], psi[j], strict=True)) / 2
            total -= s[i, j] * lam - np.log(1 + np.exp(lam))
    return total / (len(h) * len(psi))


def anchored(h_a: np.ndarray, h_b: np.ndarray, a: np.ndarray, tau: float) -> float:
    """Eq. 5, anchor by anchor."""
    means = []
    for i in range(len(h_a)):
        scores = [np.exp(sigmoid(h_a[i] @ h_b[j] / 2) / tau) for j in range(len(h_b))]
        terms = [-np.log(scores[r] / sum(scores)) for r in range(len(h_b)) if a[i, r]]
        if terms:
            means.append(np.mean(terms))
    return float(np.mean(means)) if means else 0.0


def spread(s: np.ndarray) -> np.ndarray:
    """Eq. 6: i and j are linked by some i - r - t - j."""
    u, v = s.shape
    return np.array(
        [
            [float(any(s[i, r] and s[t, r] and s[t, j] for r in range(v) for t in range(u))) for j in range(v)]
            for i in range(u)
        ]
    )


def nearest(bits: np.ndarray, bank: np.ndarray, k: int, itself: int) -> list[int]:
    """Rows of the bank by (Hamming distance, row), without the one that is the item itself."""
    order = sorted(
        (sum(x != y for x, y in zip(bits, other, strict=True)), j) for j, other in enumerate(bank) if j != itself
    )
    return [j for _, j in order[:k]]


def neighbour_guess(cich: CICH, data: TrainData, a: str, b: str, item: int, memory: Memory) -> np.ndarray:
    """q' of one training item with noise-free z."""
    names = list(data.features)
    there = np.flatnonzero(data.present[:, names.index(b)].numpy())
    mu, _ = encoded(cich, a, array(data.features[a])[item : item + 1])
    bank = array(memory[b].features)
    itself = list(there).index(item) if item in there else -1
    found = nearest(code(cich, a, mu)[0] > 0, array(memory[b].h) > 0, cich.config.neighbours, itself)
    q = cich.networks.between(a, b)
    return by_numpy(q.q_z, mu)[0] + by_numpy(q.q_neighbours, np.concatenate([bank[j] for j in found])[None])[0]


def without_noise(cich: CICH) -> CICH:
    """With sigma of next to nothing: z = mu."""
    for encoder in cich.networks.encoders.values():
        last, width = encoder.layers[-1], cich.config.width
        with torch.no_grad():
            last.weight[width:] = 0
            last.bias[width:] = -60
    return cich


# ---- equations


def test_eq_3_likelihood() -> None:
    h, psi, s = torch.randn(4, 6), torch.randn(5, 6), (torch.rand(4, 5) < 0.4).float()
    assert eq.pairwise_likelihood(h, psi, s).item() == pytest.approx(
        likelihood(array(h), array(psi), array(s)), rel=1e-5
    )


def test_eq_3_is_over_all_n_prototypes() -> None:
    """Equal label vectors are counted, not left out."""
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1], [1, 0, 1], [0, 0, 1]])
    sets, w_p, h = LabelSets.of(labels), torch.randn(3, 6), torch.randn(4, 6)
    assert sets.counts.sum() == 5 and len(sets.labels) == 3
    torch.testing.assert_close(sets.labels[sets.which], labels)
    s = shares_label(array(labels[:4]), array(sets.labels))
    found = eq.pairwise_likelihood(h, sets.labels @ w_p, torch.tensor(s, dtype=torch.float32), sets.counts)
    psi = np.array([sum(w for w, has in zip(array(w_p), row, strict=True) if has) for row in array(labels)])
    assert found.item() == pytest.approx(
        likelihood(array(h), psi, shares_label(array(labels[:4]), array(labels))), rel=1e-5
    )


def test_eq_3_quantisation() -> None:
    h, b = torch.randn(4, 6), eq.signs(torch.randn(4, 6))
    expected = np.mean(
        [[(x - y) ** 2 for x, y in zip(i, j, strict=True)] for i, j in zip(array(h), array(b), strict=True)]
    )
    assert eq.quantisation_to(h, b).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("tau", [0.25, 5.0])
def test_eq_5_and_7_contrast(tau: float) -> None:
    torch.manual_seed(0)
    h_u, h_v, a = torch.randn(4, 6), torch.randn(5, 6), (torch.rand(4, 5) < 0.4).float()
    a[2] = 0  # an anchor without a positive
    forth, back = anchored(array(h_u), array(h_v), array(a), tau), anchored(array(h_v), array(h_u), array(a).T, tau)
    assert eq.contrast(h_u, h_v, a, tau).item() == pytest.approx(forth, rel=1e-5)
    assert eq.semantic_contrast(h_u, h_v, a, tau).item() == pytest.approx(forth + back, rel=1e-5)
    assert eq.contrast(h_u, h_v, torch.zeros(4, 5), tau) == 0


def test_eq_6_adjacency() -> None:
    torch.manual_seed(3)
    labels = (torch.rand(9, 6) < 0.25).float()
    s = shares_label(array(labels[:4]), array(labels[4:]))
    u, v = torch.tensor([False, True, False, True]), torch.tensor([True, False, False, True, False])
    far = spread(s)
    assert (far > s).any() and not (far < s).any()
    expected = [[far[i, j] if u[i] or v[j] else s[i, j] for j in range(5)] for i in range(4)]
    observed = torch.tensor(s, dtype=torch.float32)
    np.testing.assert_array_equal(eq.adjacency(observed, u, v), expected)
    torch.testing.assert_close(eq.adjacency(observed, u, v, propagate=False), observed)


def test_eq_9_divergence_and_likelihood() -> None:
    mu, logvar, target = torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 4)
    elements = [(m, np.exp(v)) for m, v in zip(array(mu).ravel(), array(logvar).ravel(), strict=True)]
    kl = np.mean([(m**2 + var - 1 - np.log(var)) / 2 for m, var in elements])
    assert kl_standard_normal(mu, logvar).item() == pytest.approx(kl, rel=1e-5)
    x = np.linspace(-12, 12, 200_001)
    m, var = elements[0]
    p, r = np.exp(-((x - m) ** 2) / 2 / var) / np.sqrt(2 * np.pi * var), np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    by_integral = np.trapezoid(np.where(p > 1e-300, p * np.log(np.maximum(p, 1e-300) / r), 0), x)
    assert kl_standard_normal(mu[:1, :1], logvar[:1, :1]).item() == pytest.approx(by_integral, rel=1e-4)
    constant = np.log(2 * np.pi) / 2
    gaussian = np.mean(
        [
            -np.log(np.exp(-((t - g) ** 2) / 2) / np.sqrt(2 * np.pi))
            for t, g in zip(array(target).ravel(), array(mu).ravel(), strict=True)
        ]
    )
    assert reconstruction(target, mu).item() == pytest.approx(gaussian - constant, rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(7, 20), st.sampled_from([8, 24]))
def test_neighbours_are_the_nearest_in_hamming_space(seed: int, k: int, n: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    # Zeros are 0 bits, few bits make many ties.
    query, bank = (rng.integers(-1, 2, (m, bits)).astype(np.float32) for m in (5, n))
    itself = rng.integers(-1, n, 5)
    found = hamming_neighbours(torch.tensor(query), torch.tensor(bank), k, torch.tensor(itself))
    for i in range(5):
        assert found[i].tolist() == nearest(query[i] > 0, bank > 0, k, itself[i])


def test_shared_codes_are_the_signs_of_the_sum() -> None:
    h, psi = torch.tensor([[0.5, -0.9, 0.2]]), torch.tensor([[-0.4, 0.1, -0.2]])
    torch.testing.assert_close(eq.shared_codes([h, psi]), torch.tensor([[1.0, -1.0, -1.0]]))  # a sum of 0 is a 0 bit


# ---- Algorithm 1


@pytest.mark.parametrize("chosen", [{}, {"propagation": False}, {"linear": [], "label_loss": 0.2}], ids=str)
def test_the_terms_of_a_batch(chosen: dict[str, Any]) -> None:
    data = items()
    cich = without_noise(trained(data, **chosen))
    memory, sets, index = remember(cich.networks, data), LabelSets.of(data.labels), torch.randperm(40)[:16]
    terms = cich.network_losses(data, index, sets, memory)
    c, labels, present, b = cich.config, array(data.labels), data.present.numpy(), array(cich.state["B"])
    psi = labels @ array(cich.W_p)
    expected = {"L_Q": 0.0, "L_P": 0.0, "L_CCA": 0.0, "L_label": 0.0}
    h: dict[str, np.ndarray] = {}
    for m, name in enumerate(DIMS):
        there = [i for i in index.tolist() if present[i, m]]
        mu, logvar = encoded(cich, name, array(data.features[name])[there])
        h[name] = np.zeros((40, 8))
        h[name][there] = code(cich, name, mu)
        expected["L_Q"] += ((h[name][there] - b[there]) ** 2).mean()
        expected["L_P"] += likelihood(h[name][there], psi, shares_label(labels[there], labels))
        expected["L_CCA"] += c.beta * ((mu**2 + np.exp(logvar) - 1 - logvar) / 2).mean()
        if c.label_loss:
            expected["L_label"] += cross_entropy(labels[there], sigmoid(by_numpy(cich.networks.label_heads[name], mu)))
    for a, other in permutations(DIMS, 2):
        errors = []
        for i in index.tolist():
            if not present[i, list(DIMS).index(a)]:
                continue
            guess = neighbour_guess(cich, data, a, other, i, memory)
            if present[i, list(DIMS).index(other)]:
                mu, target = (encoded(cich, m, array(data.features[m])[i : i + 1])[0] for m in (a, other))
                q = by_numpy(cich.networks.between(a, other).q, mu)
                errors.append([((q - target) ** 2 / 2).mean(), ((guess - target) ** 2 / 2).mean()])
            else:
                h[other][i] = code(cich, other, guess[None])[0]
        expected["L_CCA"] += np.sum(np.mean(errors, axis=0))
    rows = index.tolist()
    s = shares_label(labels[rows], labels[rows])
    a = s if not c.propagation else np.where(~present[rows][:, :1] | ~present[rows][:, 1:].T, spread(s), s)
    expected["L_SaCH"] = anchored(h["image"][rows], h["text"][rows], a, c.tau) + anchored(
        h["text"][rows], h["image"][rows], a.T, c.tau
    )
    if not c.label_loss:
        del expected["L_label"]
    assert {name: term.item() for name, term in terms.items()} == {
        name: pytest.approx(value, rel=1e-4) for name, value in expected.items()
    }


def test_pair_is_the_likelihood_within_a_batch() -> None:
    data = items()
    cich = trained(data, variant="Pair")
    index = torch.arange(16)
    terms = cich.network_losses(data, index, LabelSets.of(data.labels), remember(cich.networks, data))
    rows = [[i for i in range(16) if data.present[i, m]] for m in range(2)]
    h = [code(cich, name, encoded(cich, name, array(data.features[name])[rows[m]])[0]) for m, name in enumerate(DIMS)]
    labels = array(data.labels)
    expected = likelihood(h[0], h[1], shares_label(labels[rows[0]], labels[rows[1]]))
    assert set(terms) == {"L_Q", "L_pair"} and terms["L_pair"].item() == pytest.approx(expected, rel=1e-4)
    assert not hasattr(cich, "W_p")


@pytest.mark.parametrize("variant", ["full", "PSSC", "Pair"])
def test_step_6_adds_recovered_codes(variant: str) -> None:
    data = items()
    cich = trained(data, variant=variant)
    memory = remember(cich.networks, data)
    total = np.zeros((40, 8)) if variant == "Pair" else array(data.labels) @ array(cich.W_p)
    for i in range(40):
        for m, (a, other) in enumerate(permutations(DIMS, 2)):
            if data.present[i, m]:
                total[i] += code(cich, a, encoded(cich, a, array(data.features[a])[i : i + 1])[0])[0]
                if not data.present[i, 1 - m] and variant == "full":
                    total[i] += code(cich, other, neighbour_guess(cich, data, a, other, i, memory)[None])[0]
    b = cich.shared_codes(LabelSets.of(data.labels), memory)
    sure = np.abs(total) > 1e-4
    np.testing.assert_array_equal(array(b)[sure], signs(total)[sure])


def test_b_starts_random_and_follows_the_codes() -> None:
    data = items()
    cich = model()
    cich.begin(data)
    start = cich.state["B"]
    assert (
        start.shape == (40, 8)
        and set(start.unique().tolist()) == {-1.0, 1.0}
        and 0.3 < (start > 0).float().mean() < 0.7
    )
    optimizers = cich.optimizers()
    run(cich, data, [0], optimizers)
    torch.testing.assert_close(cich.state["B"], start)
    expected = cich.shared_codes(LabelSets.of(data.labels), remember(cich.networks, data))
    run(cich, data, [1], optimizers)
    torch.testing.assert_close(cich.state["B"], expected)
    assert (expected != start).any()


def test_prototypes_learn_the_label_similarity() -> None:
    data = items()
    cich = model(label_warmup=40, quantisation=0)
    before = cich.W_p.detach().clone()
    run(cich, data, [0])
    s = torch.tensor(shares_label(array(data.labels), array(data.labels)), dtype=torch.float32)
    loss = [eq.pairwise_likelihood(data.labels @ w, data.labels @ w, s).item() for w in (before, cich.W_p.detach())]
    assert loss[1] < 0.5 * loss[0]


def test_the_networks_step_leaves_the_prototypes_alone() -> None:
    data = items()
    cich = trained(data)
    cich.zero_grad()
    terms = cich.network_losses(data, torch.arange(16), LabelSets.of(data.labels), remember(cich.networks, data))
    cich.objective(terms).backward()
    assert cich.W_p.grad is None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in cich.networks.parameters())


def test_what_q_shall_recover_is_a_constant_to_it() -> None:
    """With q and q' that give nothing, and no divergence, the encoders have no part in eq. 10."""
    data = items()
    cich = trained(data, beta=0)
    for p in cich.networks.approximators.parameters():
        p.detach().zero_()
    cich.zero_grad()
    terms = cich.network_losses(data, torch.arange(16), LabelSets.of(data.labels), remember(cich.networks, data))
    terms["L_CCA"].backward()
    assert terms["L_CCA"] > 0
    assert not any(p.grad is not None and p.grad.any() for p in cich.networks.encoders.parameters())


def test_rates_fall_to_the_end() -> None:
    data = items()
    cich = model(learning_rate=[0.01, 0.002], label_learning_rate=[0.1, 0.02])
    cich.begin(data)
    optimizers, rates = cich.optimizers(), []
    for epoch in range(4):
        run(cich, data, [epoch], optimizers)
        rates.append((optimizers["networks"].param_groups[0]["lr"], optimizers["labels"].param_groups[0]["lr"]))
    assert rates == [pytest.approx(pair) for pair in [(0.01, 0.1), (0.008, 0.08), (0.006, 0.06), (0.004, 0.04)]]


# ---- encoding


@pytest.mark.parametrize("chosen", VARIANTS, ids=str)
def test_each_variant_has_its_terms(chosen: dict[str, Any]) -> None:
    cich = model(**chosen)
    (losses,) = run(cich, items(), [0])
    assert np.isfinite(list(losses.values())).all()
    assert ("L_SaCH" in losses) == (cich.config.variant == "full")
    completes = cich.config.variant in ("full", "PSSC+CCA") and cich.config.completion in ("context", "q")
    assert ("L_CCA" in losses) == completes


def test_observed_codes_do_not_depend_on_the_other_modality() -> None:
    data = items()
    cich = trained(data).eval()
    image = {"image": data.features["image"], "text": torch.zeros(40, 4)}
    alone = cich.encode(image, torch.tensor([[True, False]]).expand(40, 2))["image_code"]
    both = cich.encode({**image, "text": torch.randn(40, 4)}, torch.ones(40, 2, dtype=torch.bool))["image_code"]
    torch.testing.assert_close(alone, both)
    np.testing.assert_allclose(
        alone.detach(), code(cich, "image", encoded(cich, "image", array(image["image"]))[0]), atol=1e-5
    )


@pytest.mark.parametrize("completion", ["context", "q", "mean", "none"])
def test_missing_codes_are_those_of_recovered_features(completion: str) -> None:
    data = items()
    cich = trained(data, completion=completion).eval()
    x = array(data.features["image"])
    mu, _ = encoded(cich, "image", x)
    found = cich.encode(
        {"image": data.features["image"], "text": torch.zeros(40, 4)}, torch.tensor([[True, False]]).expand(40, 2)
    )
    there = data.present[:, 1].numpy()
    texts, labels = encoded(cich, "text", array(data.features["text"])[there])[0], array(data.labels)[there]
    q = cich.networks.between("image", "text") if cich.learns_completion else None
    if completion == "none":
        expected = np.zeros((40, 8))
    elif completion == "mean":
        expected = np.tile(code(cich, "text", texts.mean(0, keepdims=True)), (40, 1))
    elif completion == "q":
        expected = code(cich, "text", by_numpy(q.q, mu))
    else:
        expected = np.zeros((40, 8))
        prototypes = np.array([texts[labels[:, c] > 0].mean(0) for c in range(4)])
        for i in range(40):
            scores = code(cich, "image", mu)[i] @ code(cich, "text", prototypes).T / 2
            weights = np.exp(scores) * labels.mean(0)
            context = sum(w * p for w, p in zip(weights / weights.sum(), prototypes, strict=True))
            guess = by_numpy(q.q_z, mu[i : i + 1]) + by_numpy(q.q_neighbours, np.tile(context, 3)[None])
            expected[i] = code(cich, "text", guess)[0]
    np.testing.assert_allclose(found["text_code"].detach(), expected, atol=2e-5)


def test_a_class_without_items_has_no_weight() -> None:
    data = items()
    data.labels[:, 2] = 0
    data.labels[data.labels.sum(1) == 0, 0] = 1
    cich = trained(data).eval()
    before = cich.encode(data.features, data.present)
    cich.stored.prototypes[:, 2] = 100.0
    for name, u in cich.encode(data.features, data.present).items():
        assert u.isfinite().all()
        torch.testing.assert_close(u, before[name])


def test_a_code_that_two_others_recover_is_that_of_their_mean() -> None:
    data = items(60, VIEWS)
    data.present[0] = torch.tensor([True, True, False])
    data.features["sound"][0] = 0
    cich = trained(data, VIEWS)
    run(cich, data, [1], cich.optimizers())
    codes = finished(cich, data).encode(data.features, data.present)
    mu = {m: cich.networks.mu(m, x[:1]) for m, x in data.features.items()}
    one, two = torch.tensor([[True, False, False]]), torch.tensor([[False, True, False]])
    parts = [cich.stored.recovered(cich.networks, "sound", mu, there) for there in (one, two)]
    torch.testing.assert_close(codes["sound_code"][:1], cich.networks.code("sound", (parts[0] + parts[1]) / 2))


def test_terms_of_three_modalities_are_over_all_pairs() -> None:
    data = items(60, VIEWS, missing=0.0)
    cich = without_noise(trained(data, VIEWS, beta=0))
    memory, sets = remember(cich.networks, data), LabelSets.of(data.labels)
    terms = cich.network_losses(data, torch.arange(60), sets, memory)
    h, s = {m: array(seen.h) for m, seen in memory.items()}, shares_label(array(data.labels), array(data.labels))
    contrasts, errors = [], []
    for a, b in permutations(VIEWS, 2):
        contrasts.append(anchored(h[a], h[b], s, cich.config.tau))
        q, target = by_numpy(cich.networks.between(a, b).q, array(memory[a].features)), array(memory[b].features)
        guess = np.array([neighbour_guess(cich, data, a, b, i, memory) for i in range(60)])
        errors.append(((q - target) ** 2 / 2).mean() + ((guess - target) ** 2 / 2).mean())
    assert terms["L_SaCH"].item() == pytest.approx(sum(contrasts) / 2, rel=1e-4)
    assert terms["L_CCA"].item() == pytest.approx(sum(errors) / 2, rel=1e-4)
    pairs = trained(data, VIEWS, variant="Pair")
    memory = remember(pairs.networks, data)
    expected = sum(likelihood(array(memory[a].h), array(memory[b].h), s) for a, b in combinations(VIEWS, 2)) / 2
    assert pairs.network_losses(data, torch.arange(60), sets, memory)["L_pair"].item() == pytest.approx(
        expected, rel=1e-4
    )


def test_recovery_of_three_modalities_in_training_is_the_mean_of_two() -> None:
    data = items(60, VIEWS)
    data.present[0] = torch.tensor([True, True, False])
    cich = trained(data, VIEWS)
    memory = remember(cich.networks, data)
    found = cich._recovery(memory).items("sound")
    expected = np.mean([neighbour_guess(cich, data, a, "sound", 0, memory) for a in ("image", "text")], axis=0)
    assert found.rows[0] == 0 and found.rows.tolist() == (~data.present[:, 2]).nonzero().flatten().tolist()
    np.testing.assert_allclose(found.features[0].detach(), expected, atol=1e-5)


def test_multi_scale_pooling() -> None:
    torch.manual_seed(0)
    x, d = torch.randn(2, 61), 61
    expected = [array(x)]
    for width in POOLS:
        cells = d // width
        pooled = np.array([[row[i * width : (i + 1) * width].mean() for i in range(cells)] for row in array(x)])
        at = np.clip((np.arange(d) + 0.5) * cells / d - 0.5, 0, cells - 1)
        expected.append(np.array([np.interp(at, np.arange(cells), row) for row in pooled]))
    np.testing.assert_allclose(MultiScale(d)(x), np.concatenate(expected, axis=1), atol=1e-5)


@pytest.mark.slow
def test_the_exported_graph_pools_and_recovers_by_q() -> None:
    dims = {"image": 6, "text": 60}
    exported = Model(trained(items(60, dims), dims, pooling=["text"], completion="q")).eval()
    compare_with_torch(exported, to_onnx(ExportGraph(exported)), dims=dims)


# ---- what cannot be trained


def test_one_pair_of_each_two_modalities_is_enough() -> None:
    data = items(40, missing=1.0)
    data.present[0] = True
    model().begin(data)
    three = items(60, VIEWS, missing=1.0)
    three.present[0] = torch.tensor([True, True, False])
    with pytest.raises(InputError, match="both 'image' and 'sound'"):
        model(VIEWS).begin(three)


def test_too_few_neighbours_are_named() -> None:
    data = items(10, missing=0.0)
    with pytest.raises(
        InputError,
        match=r"neighbours = 10 needs at least 11 training items that have 'image', there are 10: .*at most 9",
    ):
        model(neighbours=10).begin(data)
    model(neighbours=9).begin(data)
    model(neighbours=10, completion="none").begin(data)


# ---- real data


@pytest.mark.slow
def test_it_learns(shared_data: Path) -> None:
    """Half of 1,200 products have one modality: far better than chance and Table V's "Pair", recovered codes too."""
    data = fashion(shared_data)
    sizes = {"epochs": 8, "batch_size": 128, "hidden": 256, "width": 128, "linear": [], "neighbours": 5}
    result = {}
    for variant in ("full", "Pair"):
        cich = data.trained(CICH, CICHConfig(variant=variant, propagation=False, **sizes))
        stored = {m: data.codes(cich, *DIMS, output=f"{m}_code") for m in DIMS}
        for known in (("image", "text"), ("image",), ("text",)):
            for asked, searched in permutations(DIMS):
                query = data.codes(cich, *known, output=f"{asked}_code")
                result[variant, known, asked] = data.mean_ap(query, stored[searched])
    both = tuple(DIMS)
    # Measured: 0.52 and 0.54 by observed codes, 0.06 more than "Pair", 0.47 and 0.62 by recovered ones; by chance 0.26.
    for asked in DIMS:
        assert result["full", both, asked] > 1.7 * data.chance, result
        assert result["full", both, asked] > result["Pair", both, asked] + 0.03, result
    # A code that is recovered from the other modality is used like an observed one.
    assert min(result["full", ("text",), "image"], result["full", ("image",), "text"]) > 1.5 * data.chance, result
