"""UniHash against re-derivations of its equations in numpy, item by item; what must not change its codes; real data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import make_table

from ichash_export.layers import FeatureScaling
from ichash_export.methods.base import ModelSpec, TrainData
from ichash_export.methods.unihash.donors import with_donors
from ichash_export.methods.unihash.losses import consistency, contrast, lengths, pair_loss, prototype_loss, rank_loss
from ichash_export.methods.unihash.method import UniHash, UniHashConfig
from ichash_export.onnx.to_onnx import export_bundle
from ichash_export.papers.recipes import load_recipe, recipe_names
from ichash_export.train.training import train
from milvus_ichash.evaluation.metrics import mean_average_precision

DIMS = {"image": 6, "text": 4}
VIEWS = {"image": 6, "text": 4, "sound": 5}
SMALL: dict[str, Any] = {"hidden": 9, "width": 7, "slots": 5, "batch_size": 16, "epochs": 4}


def items(n: int = 40, dims: dict[str, int] = DIMS, classes: int = 3, seed: int = 0) -> TrainData:
    """Items without structure that have any pattern of modalities."""
    random = torch.Generator().manual_seed(seed)
    present = torch.rand(n, len(dims), generator=random) < 0.6
    present[torch.arange(n), torch.randint(len(dims), (n,), generator=random)] = True
    features = {m: torch.randn(n, d, generator=random) * present[:, i : i + 1] for i, (m, d) in enumerate(dims.items())}
    labels = (torch.rand(n, classes, generator=random) < 0.4).float()
    labels[labels.sum(1) == 0, 0] = 1
    return TrainData(features, present, labels)


def model(dims: dict[str, int] = DIMS, classes: int = 3, bits: int = 24, **settings: Any) -> UniHash:
    torch.manual_seed(1)
    return UniHash(ModelSpec(dims, classes, bits), UniHashConfig(**{**SMALL, **settings}))


def run(unihash: UniHash, data: TrainData, epochs: int) -> dict[str, float]:
    """Train, and return the last epoch's losses."""
    unihash.begin(data)
    optimizers = unihash.optimizers()
    losses: dict[str, float] = {}
    for epoch in range(epochs):
        torch.manual_seed(epoch)
        losses = unihash.train_epoch(data, epoch, optimizers, torch.Generator().manual_seed(epoch))
    unihash.eval()
    unihash.finish(data)
    return losses


def trained(data: TrainData, dims: dict[str, int] = DIMS, **settings: Any) -> UniHash:
    """A model after one epoch, so that nothing is at its initial value."""
    unihash = model(dims, **settings)
    run(unihash, data, 1)
    return unihash


# ---- the same arithmetic, in numpy


def array(x: torch.Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def cos(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def softmax(scores: list[float]) -> np.ndarray:
    e = np.exp(np.array(scores) - max(scores))
    return e / e.sum()


def gelu(x: np.ndarray) -> np.ndarray:
    from math import erf

    return np.array([v * (1 + erf(v / 2**0.5)) / 2 for v in x])


def linear(layer: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    return array(layer.weight) @ x + (0 if layer.bias is None else array(layer.bias))


def fused(unihash: UniHash, z: dict[int, np.ndarray]) -> np.ndarray:
    """Eq. 2 over the modalities in z."""
    g = softmax([linear(unihash.gates.scores[m], np.tanh(x)).item() for m, x in z.items()])
    return sum(w * x for w, x in zip(g, z.values(), strict=True))


def latents(unihash: UniHash, data: TrainData, i: int) -> dict[int, np.ndarray]:
    """Eq. 1 for item i, without dropout."""
    z = {}
    for m, (name, x) in enumerate(data.features.items()):
        if data.present[i, m]:
            _, first, _, _, second = unihash.encoders[name]
            z[m] = linear(second, gelu(linear(first, array(x[i]))))
    return z


def recalled(unihash: UniHash, known: np.ndarray) -> list[np.ndarray]:
    """What the memory has of every modality."""
    keys, query = array(unihash.recall.keys), linear(unihash.recall.query, known)
    a = softmax([k @ query / np.sqrt(len(known)) for k in keys])
    return [sum(w * v for w, v in zip(a, values, strict=True)) for values in array(unihash.recall.latents)]


def code(unihash: UniHash, z: dict[int, np.ndarray], modalities: int, slope: float = 1.0) -> np.ndarray:
    """Eq. 3, and what the memory recalls where there is one."""
    if unihash.recall is None:
        return np.tanh(slope * linear(unihash.head, fused(unihash, z)))
    made = recalled(unihash, fused(unihash, z))
    return np.tanh(slope * linear(unihash.head, fused(unihash, {m: z.get(m, made[m]) for m in range(modalities)})))


def proto_by_hand(h: np.ndarray, p: np.ndarray, labels: np.ndarray, scale: float) -> float:
    values = []
    for code, own in zip(h, labels, strict=True):
        q = softmax([scale * cos(code, c) for c in p])
        values.append(-sum(np.log(q[c]) for c in np.flatnonzero(own)) / own.sum())
    return float(np.mean(values))


def pairs_by_hand(h: np.ndarray, labels: np.ndarray, scale: float, bias: float) -> float:
    values = []
    for i, a in enumerate(h):
        for j, b in enumerate(h):
            p = 1 / (1 + np.exp(-scale * cos(a, b) - bias))
            values.append(-np.log(p if labels[i] @ labels[j] > 0 else 1 - p))
    return float(np.mean(values))


def ranks_by_hand(h: np.ndarray, labels: np.ndarray, made_from: list[tuple[int, ...]], tau: float) -> float:
    values = []
    for i, a in enumerate(h):
        shares = []
        for kind in set(made_from):
            others = [j for j in range(len(h)) if j != i and made_from[j] == kind]
            if others:
                q = softmax([cos(a, h[j]) / tau for j in others])
                shares += [-np.log(q[n]) for n, j in enumerate(others) if labels[i] @ labels[j] > 0]
        if shares:
            values.append(np.mean(shares))
    return float(np.mean(values))


def contrast_by_hand(a: np.ndarray, b: np.ndarray, theta: float) -> float:
    forth = [-np.log(softmax([cos(x, y) / theta for y in b])[i]) for i, x in enumerate(a)]
    back = [-np.log(softmax([cos(x, y) / theta for x in a])[i]) for i, y in enumerate(b)]
    return float(np.mean(forth + back))


# ---- the equations


@pytest.mark.parametrize("completion", ["donors", "memory"])
@pytest.mark.parametrize("dims", [DIMS, VIEWS], ids=len)
def test_codes_are_eq_1_to_3(dims: dict[str, int], completion: str) -> None:
    data = items(dims=dims)
    unihash = trained(data, dims, completion=completion)
    found = unihash.encode(data.features, data.present)["code"]
    expected = [code(unihash, latents(unihash, data, i), len(dims)) for i in range(len(data))]
    np.testing.assert_allclose(array(found), expected, atol=1e-5)


@pytest.mark.parametrize("completion", ["donors", "memory"])
@pytest.mark.parametrize("dims", [DIMS, VIEWS], ids=len)
def test_losses_are_eq_5_to_11(dims: dict[str, int], completion: str) -> None:
    """With dropout off, over prefixes, with a third of the labels unknown."""
    data = items(dims=dims)
    data = TrainData(data.features, data.present, data.labels, torch.arange(40) % 3 > 0)
    unihash = trained(data, dims, temperature=0.3, scale=5.0, rank_temperature=0.4, completion=completion).eval()
    several, shown = unihash._subsets(data.present)
    unihash._subsets = lambda present: (several, shown)  # type: ignore[method-assign]
    found = {name: term.item() for name, term in unihash.losses(data, slope=2.0).items()}

    m = len(dims)
    z = [latents(unihash, data, i) for i in range(40)]
    parts = [{k: x for k, x in z[i].items() if shown[row, k]} for row, i in enumerate(several.tolist())]
    whole = np.array([code(unihash, x, m, 2.0) for x in z])
    part = np.array([code(unihash, x, m, 2.0) for x in parts])
    h = np.concatenate([whole, part])
    owner = np.concatenate([np.arange(40), several.numpy()])
    known = array(data.labelled)[owner] > 0
    made_from = [tuple(s) for s, labelled in zip([*z, *parts], known, strict=True) if labelled]
    labels = array(data.labels)[owner]
    signs = np.where(h > 0, 1, -1)
    errors = [
        ((recalled(unihash, fused(unihash, s))[k] - z[i][k]) ** 2).mean()
        for s, i in zip(parts, several.tolist(), strict=True)
        for k in z[i]
        if k not in s and completion == "memory"
    ]
    assert unihash.lengths == (16, 24)
    expected = {
        "L_quant": ((h - signs) ** 2).mean(),
        "L_mem": np.mean(errors or [0]),
        "L_proto": 0.0,
        "L_pair": 0.0,
        "L_rank": 0.0,
        "L_cons": 0.0,
        "L_con": 0.0,
    }
    for k in (16, 24):
        a, b = unihash.pair_scale.item(), unihash.pair_bias.item()
        w = whole[several.numpy()][:, :k]
        expected["L_proto"] += proto_by_hand(h[known][:, :k], array(unihash.prototypes)[:, :k], labels[known], 5.0) / 2
        expected["L_pair"] += pairs_by_hand(h[known][:, :k], labels[known], a, b) / 2
        expected["L_rank"] += ranks_by_hand(h[known][:, :k], labels[known], made_from, 0.4) / 2
        expected["L_cons"] += np.mean([1 - cos(x, y) for x, y in zip(part[:, :k], w, strict=True)]) / 2
        expected["L_con"] += contrast_by_hand(part[:, :k], w, 0.3) / 2
    assert found == pytest.approx(expected, abs=1e-5)


def test_objective_is_the_weighted_sum() -> None:
    unihash = model(rank=13.0, proto=2.0, pair=3.0, consistency=5.0, contrast=7.0, quantisation=11.0, memory=0.0)
    terms = {
        name: torch.tensor(float(i + 1))
        for i, name in enumerate(["L_proto", "L_pair", "L_cons", "L_con", "L_quant", "L_mem", "L_rank"])
    }
    assert unihash.objective(terms).item() == 2 + 6 + 15 + 28 + 55 + 91


def test_what_consistency_compares_with_does_not_move() -> None:
    a, b = torch.randn(5, 8, requires_grad=True), torch.randn(5, 8, requires_grad=True)
    consistency(a, b).backward()
    assert a.grad is not None and b.grad is None


def test_terms_of_nothing_are_zero() -> None:
    none = torch.zeros(0, 8)
    assert consistency(none, none).item() == contrast(none, none, 0.2).item() == 0
    assert contrast(torch.ones(1, 8), torch.ones(1, 8), 0.2).item() == 0, "one item cannot be told from others"
    assert (
        pair_loss(none, torch.zeros(0, 2), torch.tensor(1.0), torch.tensor(0.0)).item()
        == rank_loss(none, torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), 0.3).item()
        == 0
    )
    assert rank_loss(torch.randn(2, 8), torch.eye(2), torch.tensor([0, 1]), 0.3).item() == 0, "nothing is relevant"
    assert rank_loss(torch.randn(2, 8), torch.ones(2, 1), torch.tensor([0, 1]), 0.3).item() == 0, (
        "each is alone of its kind"
    )
    assert prototype_loss(torch.randn(3, 8), torch.randn(2, 8), torch.zeros(3, 2), 3.0).item() == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_losses_do_not_depend_on_the_order_of_items(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    h, labels = torch.randn(7, 8, generator=random), (torch.rand(7, 3, generator=random) < 0.5).float()
    p, order = torch.randn(3, 8, generator=random), torch.randperm(7, generator=random)
    scale, bias = torch.tensor(4.0), torch.tensor(-1.0)
    torch.testing.assert_close(prototype_loss(h[order], p, labels[order], 3.0), prototype_loss(h, p, labels, 3.0))
    torch.testing.assert_close(pair_loss(h[order], labels[order], scale, bias), pair_loss(h, labels, scale, bias))
    kinds = torch.randint(3, (7,), generator=random)
    torch.testing.assert_close(rank_loss(h[order], labels[order], kinds[order], 0.3), rank_loss(h, labels, kinds, 0.3))
    torch.testing.assert_close(contrast(h[order], 2 * h[order] + 1, 0.2), contrast(h, 2 * h + 1, 0.2))


# ---- donors


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31))
def test_gaps_are_filled_from_items_with_the_same_labels(seed: int) -> None:
    data = items(60, VIEWS, seed=seed)
    known = torch.rand(60, generator=torch.Generator().manual_seed(seed)) < 0.8
    data = TrainData(data.features, data.present, data.labels, known)
    before = {m: x.clone() for m, x in data.features.items()}
    torch.manual_seed(seed)
    found = with_donors(data, 1.0)
    for m, (name, x) in enumerate(found.features.items()):
        assert torch.equal(data.features[name], before[name]), "the data itself stays"
        for i in range(60):
            donors = [
                j
                for j in range(60)
                if known[i] and known[j] and data.present[j, m] and torch.equal(data.labels[i], data.labels[j])
            ]
            if data.present[i, m] or not donors:
                assert torch.equal(x[i], before[name][i]) and found.present[i, m] == data.present[i, m]
            else:
                assert found.present[i, m] and any(torch.equal(x[i], before[name][j]) for j in donors)


def test_a_share_of_the_gaps_is_filled_by_any_donor_alike() -> None:
    torch.manual_seed(0)
    n = 3000
    present = torch.tensor([[True, True]] * 3 + [[True, False]] * (n - 3))
    text = torch.arange(n).float().unsqueeze(1) * present[:, 1:]
    data = TrainData({"image": torch.ones(n, 1), "text": text + present[:, 1:] * 1}, present, torch.ones(n, 2))
    found = with_donors(data, 0.4)
    filled = found.present[3:, 1]
    assert 0.36 < filled.float().mean() < 0.44
    counts = torch.bincount(found.features["text"][3:][filled].flatten().long(), minlength=4)
    assert counts[0] == 0 and counts[1:].min() > 0.25 * filled.sum()


def test_donors_are_for_training_alone() -> None:
    data = items()
    a, b = trained(data, donors=1.0), model(completion="none")
    b.load_state_dict(a.state_dict())
    assert torch.equal(
        a.encode(data.features, data.present)["code"], b.eval().encode(data.features, data.present)["code"]
    )


# ---- subsets, gaps, lengths


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 4))
def test_a_subset_is_a_part_neither_empty_nor_whole(seed: int, modalities: int) -> None:
    torch.manual_seed(seed)
    present = torch.rand(50, modalities) < 0.7
    present[~present.any(dim=1), 0] = True
    unihash = model({f"m{i}": 3 for i in range(modalities)})
    several, shown = unihash._subsets(present)
    assert several.tolist() == [i for i, row in enumerate(present.tolist()) if sum(row) > 1]
    assert not (shown & ~present[several]).any()
    sizes = shown.sum(dim=1)
    assert (sizes >= 1).all() and (sizes < present[several].sum(dim=1)).all()


def test_every_subset_comes_up() -> None:
    torch.manual_seed(0)
    _, shown = model(VIEWS)._subsets(torch.ones(600, 3, dtype=torch.bool))
    counts = {
        tuple(row): n
        for row, n in zip(*map(torch.Tensor.tolist, torch.unique(shown, dim=0, return_counts=True)), strict=True)
    }
    assert len(counts) == 6 and min(counts.values()) > 60


@pytest.mark.parametrize("completion", ["donors", "memory", "mean", "none"])
def test_what_a_gap_holds_leaves_no_trace(completion: str) -> None:
    data = items(dims=VIEWS)
    unihash = trained(data, VIEWS, completion=completion)
    noisy = {
        m: torch.where(data.present[:, i : i + 1], x, torch.full_like(x, 99.0))
        for i, (m, x) in enumerate(data.features.items())
    }
    found, expected = (unihash.encode(features, data.present)["code"] for features in (noisy, data.features))
    assert torch.equal(found, expected)


def test_a_row_has_the_same_code_alone_and_in_a_batch() -> None:
    data = items()
    unihash = trained(data)
    whole = unihash.encode(data.features, data.present)["code"]
    for i in range(8):
        row = unihash.encode({m: x[i : i + 1] for m, x in data.features.items()}, data.present[i : i + 1])["code"]
        torch.testing.assert_close(row[0], whole[i], atol=1e-6, rtol=0)


def test_lengths_of_nested_codes() -> None:
    assert lengths(128, nested=True) == (16, 32, 64, 96, 128)
    assert lengths(40, nested=True) == (16, 32, 40)
    assert lengths(16, nested=True) == lengths(16, nested=False) == (16,)
    assert model(bits=64).nested == (16, 32, 64)
    assert model(bits=64, nested=False).nested == model(bits=16).nested == ()


@pytest.mark.parametrize("name", UniHash.ablations)
def test_every_ablation_is_exported_for_batches_of_any_size(name: str, tmp_path: Path) -> None:
    """The parity gate sees to it."""
    found = train(make_table(60), "unihash", 16, settings={**SMALL, "epochs": 1, **UniHash.ablations[name]})
    assert export_bundle(found, tmp_path / "bundle").training["parity"]["batch_sizes"][0] == 1


def test_the_bundle_says_which_lengths_codes_may_be_cut_to(tmp_path: Path) -> None:
    found = train(make_table(60), "unihash", 32, settings={**SMALL, "epochs": 1})
    assert export_bundle(found, tmp_path / "nested").nested == (16, 32)


# ---- training


@pytest.mark.parametrize("name", ["full", *UniHash.ablations])
@pytest.mark.parametrize("dims", [{"image": 6}, DIMS, VIEWS], ids=len)
def test_every_ablation_trains_all_its_weights_and_encodes(name: str, dims: dict[str, int]) -> None:
    data = items(dims=dims)
    unihash = model(dims, **UniHash.ablations.get(name, {}))
    before = {key: p.detach().clone() for key, p in unihash.named_parameters()}
    losses = run(unihash, data, 2)
    assert np.isfinite(list(losses.values())).all()
    idle = {key for key, p in unihash.named_parameters() if torch.equal(p, before[key])}
    allowed = (
        {"prototypes"}
        if name == "without prototypes"
        else {"pair_scale", "pair_bias"}
        if name == "without pairs"
        else set()
    )
    if len(dims) == 1:
        allowed |= {key for key in before if key.startswith("gates")}
    assert idle <= allowed
    u = unihash.encode(data.features, data.present)["code"]
    assert u.shape == (40, 24) and u.var() > 0 and u.abs().max() <= 1
    assert unihash.completion().endswith(".")


def test_one_modality_needs_neither_memory_nor_subsets() -> None:
    data = items(dims={"image": 6})
    unihash = model({"image": 6})
    losses = run(unihash, data, 2)
    assert unihash.recall is None and losses["L_mem"] == losses["L_cons"] == 0 < losses["L_pair"]


def test_unknown_labels_are_never_looked_at() -> None:
    data = items()
    known = torch.arange(40) % 2 == 0
    wrong = torch.where(known.unsqueeze(1), data.labels, 1 - data.labels)
    a = trained(TrainData(data.features, data.present, data.labels, known))
    b = trained(TrainData(data.features, data.present, wrong, known))
    for (name, p), q in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(p, q), name


def test_training_without_any_label_in_a_batch_is_possible() -> None:
    data = items()
    losses = run(
        model(),
        TrainData(data.features, data.present, torch.zeros_like(data.labels), torch.zeros(40, dtype=torch.bool)),
        2,
    )
    assert losses["L_proto"] == losses["L_pair"] == losses["L_rank"] == 0 < losses["L_con"]


def test_recipes_fit_the_settings() -> None:
    assert {"unihash/fashion", "unihash/openclipart", "unihash/mfeat"} <= set(recipe_names("unihash"))
    for name in recipe_names("unihash"):
        UniHashConfig(**load_recipe(name).settings)


# ---- real data


class Digits:
    """1,500 digits in three views, most of them with gaps of any pattern; 500 others are searched for."""

    def __init__(self, folder: Path) -> None:
        scipy_io = pytest.importorskip("scipy.io")
        file = scipy_io.loadmat(folder / "mfeat" / "mfeat.mat")
        prefixes = {"fourier": "I", "karhunen": "T", "pixels": "P"}
        raw = {m: torch.from_numpy(file[f"{p}_tr"].astype(np.float32)) for m, p in prefixes.items()}
        held = {m: torch.from_numpy(file[f"{p}_te"].astype(np.float32)) for m, p in prefixes.items()}
        labels, self.labels = (
            np.eye(10, dtype=np.uint8)[file[f"L_{part}"].ravel().astype(int) - 1] for part in ("tr", "te")
        )
        random = torch.Generator().manual_seed(0)
        present = torch.rand(len(labels), 3, generator=random) < 0.5
        present[torch.arange(len(labels)), torch.randint(3, (len(labels),), generator=random)] = True
        scaling = {m: FeatureScaling(x.shape[1]) for m, x in raw.items()}
        for i, (m, x) in enumerate(raw.items()):
            scaling[m].fit_standard(x[present[:, i]])
        features = {m: scaling[m](x, present[:, i]) for i, (m, x) in enumerate(raw.items())}
        self.data = TrainData(features, present, torch.from_numpy(labels.astype(np.float32)))
        self.held = {m: scaling[m](x, torch.ones(len(x), dtype=torch.bool)) for m, x in held.items()}

    def trained(self, data: TrainData, epochs: int = 8, **settings: Any) -> UniHash:
        torch.manual_seed(0)
        spec = ModelSpec({m: x.shape[1] for m, x in data.features.items()}, 10, 32)
        config = {
            "hidden": 256,
            "width": 128,
            "batch_size": 128,
            "epochs": epochs,
            "dropout": 0.2,
            "input_dropout": 0.2,
            **settings,
        }
        unihash = UniHash(spec, UniHashConfig(**config))
        run(unihash, data, epochs)
        return unihash

    def codes(self, unihash: UniHash, *views: int, bits: int = 32) -> np.ndarray:
        """Of the digits held out, from these views."""
        there = torch.tensor([[i in views for i in range(3)]]).expand(len(self.labels), 3)
        with torch.no_grad():
            u = unihash.encode({m: x * there[:, i : i + 1] for i, (m, x) in enumerate(self.held.items())}, there)[
                "code"
            ]
        return np.packbits(u.numpy()[:, :bits] > 0, axis=1)

    def between_views(self, unihash: UniHash, bits: int = 32) -> float:
        """mAP of each view searching what another view alone made."""
        codes = [self.codes(unihash, i, bits=bits) for i in range(3)]
        pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
        return float(np.mean([mean_average_precision(codes[i], codes[j], self.labels, self.labels) for i, j in pairs]))


@pytest.fixture(scope="module")
def digits(shared_data: Path) -> Digits:
    return Digits(shared_data)


def test_views_find_each_other_and_prefixes_are_codes(digits: Digits) -> None:
    nested, plain = (digits.trained(digits.data, 15, nested=nested) for nested in (True, False))
    whole, half = digits.between_views(nested), digits.between_views(nested, bits=16)
    assert whole > 0.7 and half > whole - 0.06, (whole, half)
    assert half > digits.between_views(plain, bits=16) + 0.01


def test_subsets_are_what_makes_one_space(digits: Digits) -> None:
    """All training items have all views: without subsets, nothing tells what one view alone should give."""
    data = digits.data.rows(digits.data.complete())
    assert len(data) > 100
    with_subsets, without = (
        digits.between_views(digits.trained(data, 30, subsets=subsets)) for subsets in (True, False)
    )
    assert with_subsets > without + 0.05, (with_subsets, without)


def test_items_without_labels_help(digits: Digits) -> None:
    """A tenth of the labels: with the other items, views of the same digit lie nearer to each other."""
    known = torch.arange(len(digits.data)) % 10 == 0
    everything = TrainData(digits.data.features, digits.data.present, digits.data.labels * known.unsqueeze(1), known)
    few = digits.data.rows(known.nonzero().flatten())
    scores = {
        "all": digits.between_views(digits.trained(everything, 16)),
        "labelled only": digits.between_views(digits.trained(few, 120)),
    }
    assert scores["all"] > scores["labelled only"] + 0.01, scores
