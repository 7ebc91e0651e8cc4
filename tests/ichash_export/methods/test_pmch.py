"""PMCH against re-derivations of the paper's equations in numpy, item by item; its ablations, and real data."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from support import small_methods, train_data
from support.by_numpy import array, by_numpy, cos, quantisation, similarity_loss, softmax
from support.small_methods import small
from support.train_data import DIMS, VIEWS, run, same_codes

from ichash_export.methods.base import TrainData
from ichash_export.methods.pmch.completion import AttentionScores, GraphAutoencoder, NearestPrototypes
from ichash_export.methods.pmch.method import PMCH, prototype_loss
from milvus_ichash.errors import InputError

VARIANTS: list[dict[str, Any]] = [
    {},
    {"softmax": True},
    {"activation": "tanh", "modality_dropout": 0.5, "weight_decay": 1e-3},
    {"anchors": "random"},
    {"aggregation": "knn"},
    {"aggregation": "gat"},
    {"aggregation": "transformer"},
    {"completion": "gae"},
    {"completion": "mlp"},
    {"completion": "mean"},
    {"completion": "none"},
]


items = partial(train_data.items, single=True)


def views(n: int = 40) -> TrainData:
    """Items with any pattern of three modalities, two of three among them."""
    data = items(n, VIEWS, missing=0.6)
    for i in range(0, n, 4):
        data.present[i] = torch.tensor([i % 8 == 0, True, i % 8 != 0])
    features = {m: x * data.present[:, i : i + 1] for i, (m, x) in enumerate(data.features.items())}
    return TrainData(features, data.present, data.labels)


model = partial(small, PMCH)
trained = partial(small_methods.trained, model, [0])


# ---- the same arithmetic, in numpy


class Derivation:
    """Every quantity of the paper, for one batch, from the weights of a model with Weight-Nets."""

    def __init__(self, pmch: PMCH, data: TrainData) -> None:
        self.pmch, self.present, self.labels = pmch, data.present.numpy(), array(data.labels)
        self.n, self.m = self.present.shape
        names = list(data.features)
        self.v = [
            [by_numpy(pmch.encoders[name], array(data.features[name][i])) for name in names] for i in range(self.n)
        ]
        self.p = array(pmch.prototypes)

    def recovered(self, i: int, source: int, target: int) -> np.ndarray:
        """Eq. 4-5, 12-13."""
        omega = by_numpy(self.pmch.recovery.coefficients[source].network, self.v[i][source])
        if self.pmch.config.softmax:
            omega = softmax(omega)
        return sum(omega[c] * self.p[target, c] for c in range(self.p.shape[1]))

    def hashed(self, features: list[np.ndarray]) -> np.ndarray:
        """H_f of eq. 1."""
        return np.tanh(by_numpy(self.pmch.head, sum(features)))

    def code(self, i: int) -> np.ndarray:
        """Eq. 1, 11, 14: what is missing is the mean of what the others recover."""
        there = [s for s in range(self.m) if self.present[i, s]]
        return self.hashed(
            [
                self.v[i][m] if self.present[i, m] else np.mean([self.recovered(i, s, m) for s in there], axis=0)
                for m in range(self.m)
            ]
        )

    def terms(self) -> dict[str, float]:
        h = np.array([self.code(i) for i in range(self.n)])
        return {
            "L_sim": similarity_loss(h, self.labels),  # eq. 7-8
            "L_sign": quantisation(h),  # eq. 9
            "L_recons": self._reconstruction(),
            "L_proto": self._prototypes(h),
        }

    def _reconstruction(self) -> float:
        """Eq. 6."""
        loss = 0.0
        for target in range(self.m):
            for source in set(range(self.m)) - {target}:
                both = [i for i in range(self.n) if self.present[i, source] and self.present[i, target]]
                errors = [((self.recovered(i, source, target) - self.v[i][target]) ** 2).mean() for i in both]
                loss += float(np.mean(errors)) / (self.m - 1) if errors else 0.0
        return loss

    def _prototypes(self, h: list[np.ndarray]) -> float:
        """Eq. 2-3."""
        near, far = [], []
        for c in range(self.p.shape[1]):
            p_h = self.hashed(list(self.p[:, c]))
            for i in range(self.n):
                if self.present[i].sum() >= 2:
                    (near if self.labels[i, c] else far).append(cos(h[i], p_h))
        return (float(np.mean(far)) if far else 0.0) - (float(np.mean(near)) if near else 0.0)


# ---- equations


@pytest.mark.parametrize("data", [items(), views()], ids=["two", "three"])
@pytest.mark.parametrize("settings", [{}, {"softmax": True, "activation": "tanh"}], ids=str)
def test_terms_are_equations_3_6_7_and_9(data: TrainData, settings: dict[str, Any]) -> None:
    pmch = trained(data, {m: x.shape[1] for m, x in data.features.items()}, **settings)
    pmch.train()
    found = {name: term.item() for name, term in pmch.losses(data).items()}
    assert found == {
        name: pytest.approx(value, rel=1e-4, abs=1e-6) for name, value in Derivation(pmch, data).terms().items()
    }


def test_prototype_loss_by_hand() -> None:
    h = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    prototypes = torch.tensor([[3.0, 0.0], [0.0, -1.0], [1.0, 1.0]])
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    # Cosines: 1, 0, 0.7071 and 0, -1, 0.7071.
    expected = (0 + 0 + 0.70711) / 3 - (1 + 0.70711 - 1) / 3
    assert prototype_loss(h, prototypes, labels).item() == pytest.approx(expected, abs=1e-5)
    assert prototype_loss(h, prototypes, torch.ones(2, 3)).item() == pytest.approx(
        -(1 + 0.70711 - 1 + 0.70711) / 6, abs=1e-5
    )
    assert prototype_loss(h[:0], prototypes, labels[:0]).item() == 0


@pytest.mark.parametrize("data", [items(), views()], ids=["two", "three"])
def test_codes_are_equations_11_to_14(data: TrainData) -> None:
    pmch = trained(data, {m: x.shape[1] for m, x in data.features.items()})
    derived = Derivation(pmch, data)
    u = array(pmch.encode(data.features, data.present)["code"])
    np.testing.assert_allclose(u, [derived.code(i) for i in range(len(data))], atol=1e-5)


def test_reconstruction_reaches_encoders_weight_nets_and_prototypes() -> None:
    data = items()
    pmch = model()
    pmch.train()
    pmch.losses(data)["L_recons"].backward()
    for name, p in pmch.named_parameters():
        assert (p.grad is not None and bool(p.grad.any())) == (not name.startswith("head")), name


def test_the_prototypes_have_a_rate_of_their_own() -> None:
    pmch = model(learning_rate=1e-4, prototype_learning_rate=0.5, weight_decay=0.1)
    networks, prototypes = pmch.optimizers()["adam"].param_groups
    assert [p is pmch.prototypes for p in prototypes["params"]] == [True]
    assert (networks["lr"], prototypes["lr"], networks["weight_decay"], prototypes["weight_decay"]) == (
        1e-4,
        0.5,
        0.1,
        0,
    )
    assert len(networks["params"]) + 1 == len(list(pmch.parameters()))


# ---- batches with gaps


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_a_batch_without_a_paired_item_trains(settings: dict[str, Any]) -> None:
    data = items()
    pmch = trained(data, **settings)
    pmch.train()
    alone = data.rows((data.present.sum(1) == 1).nonzero().flatten())
    for part in (alone, alone.rows(alone.present[:, 0].nonzero().flatten()), alone.rows(torch.arange(2))):
        terms = pmch.losses(part)
        assert all(terms[name].item() == 0 for name in ("L_recons", "L_proto") if name in terms)
        pmch.zero_grad()
        pmch.objective(terms).backward()
        assert all(torch.isfinite(p.grad).all() for p in pmch.parameters() if p.grad is not None)


def test_modality_dropout_hides_all_but_one_modality_from_paired_items() -> None:
    present = torch.tensor([[True, True, True], [True, False, True], [False, True, False]]).repeat(400, 1)
    torch.manual_seed(0)
    shown = model(VIEWS, modality_dropout=0.25)._shown(present)
    assert not (shown & ~present).any() and torch.equal(shown[2::3], present[2::3])
    for pattern in (0, 1):
        rows, there = shown[pattern::3], present[pattern]
        changed = (rows != there).any(1)
        assert 70 < changed.sum() < 130 and (rows[changed].sum(1) == 1).all()
        assert rows[changed].any(0).tolist() == there.tolist()
    assert model(VIEWS)._shown(present) is present


def test_modality_dropout_changes_codes_only() -> None:
    """L_recons still sees the pairs, and inference is untouched."""
    data = items()
    pmch, dropping = trained(data), model(modality_dropout=1.0)
    dropping.load_state_dict(pmch.state_dict())
    same_codes(*(m.eval().encode(data.features, data.present) for m in (pmch, dropping)))
    full, dropped = (m.train().losses(data) for m in (pmch, dropping))
    torch.testing.assert_close(full["L_recons"], dropped["L_recons"])
    assert (full["L_sim"] - dropped["L_sim"]).abs() > 1e-4


# ---- ablations


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_each_variant_has_its_terms(settings: dict[str, Any]) -> None:
    expected = {"L_sim", "L_sign"}
    if settings.get("completion") not in ("mean", "none"):
        expected.add("L_recons")
    if "completion" not in settings and "anchors" not in settings:
        expected.add("L_proto")
    (losses,) = run(model(**settings), items(), [0])
    assert set(losses) == expected


def test_nearest_prototypes_count_alike() -> None:
    prototypes = torch.tensor([[1.0, 0.0], [10.0, 1.0], [-1.0, 0.0], [0.0, 1.0]])
    x = torch.tensor([[2.0, -0.1], [1.0, 9.0]])
    expected = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.5, 0.0, 0.5]])
    torch.testing.assert_close(NearestPrototypes(2)(x, prototypes), expected)
    torch.testing.assert_close(NearestPrototypes(9)(x, prototypes), torch.full((2, 4), 0.25))


@pytest.mark.parametrize("kind", ["gat", "transformer"])
def test_attention_is_a_softmax_over_similarities(kind: Any) -> None:
    torch.manual_seed(0)
    module, x, prototypes = AttentionScores(7, 5, kind), torch.randn(6, 7), torch.randn(4, 7)
    for i, found in enumerate(array(module(x, prototypes))):
        scores = []
        for p in prototypes:
            q, k = by_numpy(module.project, array(x[i])), by_numpy(module.project, array(p))
            if kind == "transformer":
                scores.append(q @ k / np.sqrt(5))
            else:
                e = (by_numpy(module.of_item, q) + by_numpy(module.of_prototype, k)).item()
                scores.append(e if e > 0 else 0.2 * e)
        np.testing.assert_allclose(found, softmax(scores), atol=1e-6)


def test_graph_convolutions_look_at_label_neighbours_in_training_only() -> None:
    torch.manual_seed(0)
    gae = GraphAutoencoder(2, 7, 6)
    x = torch.randn(5, 7)
    labels = torch.tensor([[1.0, 0], [1, 0], [1, 1], [0, 1], [0, 1]])
    seen = []
    for _ in range(50):
        seen.append(gae._adjacency(labels))
        torch.testing.assert_close(seen[-1].sum(1), torch.ones(5))
        s = 1 / (1 + np.exp(-1)) * 2 - 1  # one label shared
        row = torch.tensor([1 + s, s, s, 0, 0]) / (1 + 3 * s)
        assert torch.equal(seen[-1][0], torch.eye(5)[0]) or torch.allclose(seen[-1][0], row.float())
    alone = sum(bool(torch.equal(a[0], torch.eye(5)[0])) for a in seen)
    assert 10 < alone < 40
    by_item = torch.cat([gae(0, row[None], None, None)[1] for row in x])
    torch.testing.assert_close(gae(0, x, None, None)[1], by_item)
    z = np.maximum(array(gae.convolutions[0].weight)[:, :7] @ array(x[0]) + array(gae.convolutions[0].bias), 0)
    z = np.maximum(by_numpy(gae.convolutions[1], z), 0)
    np.testing.assert_allclose(array(by_item[0]), by_numpy(gae.decoders[1], z), atol=1e-6)


def test_random_anchors_are_distinct_complete_items_encoded_for_inference() -> None:
    data = items()
    pmch = trained(data, anchors="random")
    found = [(data.features["image"] == x).all(1).nonzero().item() for x in pmch.state["anchors_image"]]
    assert len(set(found)) == 5 and data.present[found].all()
    torch.testing.assert_close(pmch.state["anchors_text"], data.features["text"][found])
    for m, name in enumerate(DIMS):
        torch.testing.assert_close(pmch.anchor_features[m], pmch.encoders[name](data.features[name][found]))
    omega = pmch.recovery.coefficients[0].network(pmch.encoders["image"](data.features["image"]))
    images = torch.tensor([[True, False]]).expand(40, 2)
    expected = torch.tanh(pmch.head(pmch.encoders["image"](data.features["image"]) + omega @ pmch.anchor_features[1]))
    torch.testing.assert_close(pmch.encode({**data.features, "text": torch.zeros(40, 4)}, images)["code"], expected)


def test_without_completion_a_missing_modality_adds_nothing_and_the_mean_is_encoded() -> None:
    data = items()
    images = torch.tensor([[True, False]]).expand(40, 2)
    features = {"image": data.features["image"], "text": torch.zeros(40, 4)}
    for completion in ("none", "mean"):
        pmch = trained(data, completion=completion)
        expected = pmch.encoders["image"](features["image"])
        if completion == "mean":
            expected = expected + pmch.encoders["text"](features["text"])
        torch.testing.assert_close(pmch.encode(features, images)["code"], torch.tanh(pmch.head(expected)))
        assert pmch.recovery is None and not hasattr(pmch, "prototypes")


# ---- data and settings that cannot be


def test_training_needs_paired_items_where_completion_is_learnt() -> None:
    data = items(missing=1.0)
    for variant in VARIANTS:
        if variant.get("completion") in ("mean", "none"):
            trained(data, **variant)
        else:
            with pytest.raises(
                InputError, match=r"pmch needs at least 1 training item .* two of image, text.*none of the 40"
            ):
                model(**variant).begin(data)


def test_two_of_three_modalities_are_a_pair() -> None:
    data = views()
    data.present[data.present.all(1)] = torch.tensor([True, True, False])
    data.features["sound"][~data.present[:, 2]] = 0
    assert trained(data, VIEWS).encode(data.features, data.present)["code"].shape == (40, 8)
