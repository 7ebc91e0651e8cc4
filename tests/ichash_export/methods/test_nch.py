"""NCH against re-derivations of its equations in numpy, its two stages, its variants, and on real data."""

from __future__ import annotations

from copy import deepcopy
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from ichash_export.layers import FeatureScaling, observed_only
from ichash_export.methods.base import ModelSpec, TrainData
from ichash_export.methods.batches import proportional_batches
from ichash_export.methods.nch.method import NCH, NCHConfig
from ichash_export.methods.nch.neighbours import NearestAnchors, NeighbourAttention
from ichash_export.papers.recipes import load_recipe, recipe_names
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.metrics import mean_average_precision

DIMS = {"image": 6, "text": 4}
VIEWS = {"image": 6, "text": 4, "sound": 5}
SMALL = {
    "epochs": 4,
    "neighbour_epochs": 2,
    "batch_size": 64,
    "anchors": 5,
    "nearest": 2,
    "hidden": (9, 8),
    "width": 7,
    "generator_hidden": 10,
    "attention_width": 6,
    "attention_hidden": 8,
}
VARIANTS = [
    {},
    {"neighbour": "gat"},
    {"neighbour": "knn"},
    {"neighbour": "none"},
    {"completion": "mean"},
    {"completion": "none"},
]


def items(n: int = 40, dims: dict[str, int] = DIMS, missing: float = 0.5, classes: int = 3, seed: int = 0) -> TrainData:
    """Items without structure; a share of them lacks something, in every pattern there is."""
    random = torch.Generator().manual_seed(seed)
    present = torch.ones(n, len(dims), dtype=torch.bool)
    few = torch.randperm(n, generator=random)[: int(n * missing)]
    gaps = torch.tensor(
        [pattern for pattern in product([True, False], repeat=len(dims)) if any(pattern) and not all(pattern)]
    )
    present[few] = gaps[torch.arange(len(few)) % len(gaps)]
    features = {m: torch.randn(n, d, generator=random) * present[:, i : i + 1] for i, (m, d) in enumerate(dims.items())}
    labels = (torch.rand(n, classes, generator=random) < 0.4).float()
    labels[labels.sum(1) == 0, 0] = 1
    return TrainData(features, present, labels)


def model(dims: dict[str, int] = DIMS, classes: int = 3, bits: int = 8, **settings: Any) -> NCH:
    torch.manual_seed(1)
    return NCH(ModelSpec(dims, classes, bits), NCHConfig(**{**SMALL, **settings}))


def trained(data: TrainData, dims: dict[str, int] = DIMS, **settings: Any) -> NCH:
    """A model after one epoch of either stage, so that nothing is at its initial value."""
    nch = model(dims, **settings)
    run(nch, data, [0, nch.warmup])
    return nch


def run(nch: NCH, data: TrainData, epochs: list[int], optimizers: Any = None) -> list[dict[str, float]]:
    if optimizers is None:
        nch.begin(data)
        optimizers = nch.optimizers()
    losses = []
    for epoch in epochs:
        torch.manual_seed(epoch)
        losses.append(nch.train_epoch(data, epoch, optimizers, torch.Generator().manual_seed(epoch)))
    return losses


# ---- the same arithmetic, in numpy


def by_numpy(network: nn.Module, x: np.ndarray, training: bool = False) -> np.ndarray:
    """Linear, BatchNorm and tanh layers, one after the other, in float64."""
    if isinstance(network, nn.Sequential):
        for layer in network:
            x = by_numpy(layer, x, training)
        return x
    if isinstance(network, nn.Linear):
        bias = 0 if network.bias is None else network.bias.detach().double().numpy()
        return x @ network.weight.detach().double().numpy().T + bias
    if isinstance(network, nn.BatchNorm1d):
        mean = x.mean(0) if training else network.running_mean.double().numpy()
        var = x.var(0) if training else network.running_var.double().numpy()
        scaled = (x - mean) / np.sqrt(var + network.eps)
        return scaled * network.weight.detach().double().numpy() + network.bias.detach().double().numpy()
    return np.tanh(x) if isinstance(network, nn.Tanh) else x


def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([[2 / (1 + np.exp(-sum(x * y for x, y in zip(i, j, strict=True)))) - 1 for j in b] for i in a])


def attention(
    module: NeighbourAttention, x: np.ndarray, s: np.ndarray, keys: np.ndarray, values: np.ndarray, training: bool
) -> np.ndarray:
    """N_ab item by item and anchor by anchor; dropout must be off."""
    q, k, v = by_numpy(module.project, x), by_numpy(module.project, keys), by_numpy(module.values, values)
    attended = []
    for i in range(len(x)):
        scores = []
        for j in range(len(keys)):
            if module.of_item is None:
                score = sum(q[i, d] * k[j, d] for d in range(q.shape[1])) / np.sqrt(q.shape[1])
            else:
                score = (by_numpy(module.of_item, q[i : i + 1]) + by_numpy(module.of_anchor, k[j : j + 1])).item()
                score = score if score > 0 else 0.2 * score
            scores.append(score * s[i, j])
        shares = np.exp(scores) / np.exp(scores).sum()
        attended.append(sum(share * v[j] for j, share in enumerate(shares)))
    z = by_numpy(module.norm_attended, np.array(attended), training)
    z = by_numpy(module.norm_fed, z + by_numpy(module.feed_forward, z, training), training)
    return by_numpy(module.decoder, z, training)


def array(x: torch.Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def completed(
    nch: NCH, data: TrainData, training: bool
) -> tuple[dict[tuple[str, str], np.ndarray], dict[str, np.ndarray]]:
    """What each generator makes of the items that have its source, and the features with gaps filled by their means."""
    names, present = list(data.features), data.present.numpy()
    made, filled = {}, {m: array(x) for m, x in data.features.items()}
    for a, b in permutations(names, 2):
        there = present[:, names.index(a)]
        made[a, b] = np.zeros_like(filled[b])
        made[a, b][there] = by_numpy(nch.generators[f"{a}_to_{b}"], array(data.features[a])[there], training)
    for i in range(len(data)):
        for j, b in enumerate(names):
            if not present[i, j]:
                filled[b][i] = np.mean([made[a, b][i] for k, a in enumerate(names) if present[i, k]], axis=0)
    return made, filled


def codes(nch: NCH, filled: dict[str, np.ndarray], training: bool) -> np.ndarray:
    return by_numpy(nch.head, sum(by_numpy(nch.encoders[m], x, training) for m, x in filled.items()), training)


# ---- equations


@pytest.mark.parametrize("scores", ["transformer", "gat"])
@pytest.mark.parametrize("training", [True, False])
def test_attention_is_the_equation(scores: str, training: bool) -> None:
    torch.manual_seed(0)
    module = NeighbourAttention(6, 4, width=5, hidden=7, dropout=0.0, scores=scores)
    module.train()
    x, anchors, targets, s = torch.randn(9, 6), torch.randn(8, 6), torch.randn(8, 4), torch.rand(9, 8)
    module(x, s, anchors, targets)
    module.train(training)
    expected = attention(module, *map(array, (x, s, anchors, targets)), training)
    np.testing.assert_allclose(array(module(x, s, anchors, targets)), expected, atol=2e-5)


def test_labels_weigh_in_before_the_softmax() -> None:
    torch.manual_seed(0)
    module = NeighbourAttention(6, 4, width=5, hidden=7, dropout=0.0).eval()
    x, anchors, targets = torch.randn(2, 6).repeat(2, 1), torch.randn(8, 6), torch.randn(8, 4)
    s = torch.cat([torch.zeros(2, 8), torch.ones(2, 8)])
    unlike, like = module(x, s, anchors, targets).split(2)
    # Without a shared label all scores are zero: the anchors count alike, whatever the item looks like.
    torch.testing.assert_close(unlike[0], unlike[1])
    assert (like[0] - like[1]).abs().max() > 1e-4


def test_nearest_anchors_are_those_of_its_labels() -> None:
    anchors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [0.0, 1.0]])
    targets = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    x = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])
    s = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.5, 0.0, 0.5]])
    found = NearestAnchors(2)(x, s, anchors, targets)
    torch.testing.assert_close(found, torch.tensor([[1.5], [5.0]]))
    assert NearestAnchors(10)(x, s, anchors, targets).shape == (2, 1)


def test_stage_1_loss_is_l1() -> None:
    data = items()
    nch = model(dropout=0.0)
    nch.begin(data)
    paired = data.rows(data.present.all(dim=1).nonzero().flatten())
    s = similarity(array(paired.labels), array(nch.state["anchor_labels"]))
    l1 = 0.0
    for a, b in (("image", "text"), ("text", "image")):
        keys, values = array(nch.state[f"anchors_{a}"]), array(nch.state[f"anchors_{b}"])
        guess = attention(nch.neighbours[f"{a}_to_{b}"], array(paired.features[a]), s, keys, values, training=True)
        l1 += ((guess - array(paired.features[b])) ** 2).mean()
    (losses,) = run(nch, data, [0], nch.optimizers())
    assert losses == {"L1 neighbours": pytest.approx(l1, rel=1e-5)}


@pytest.mark.parametrize("dims", [DIMS, VIEWS])
def test_stage_2_losses_are_l2_l3_l4(dims: dict[str, int]) -> None:
    data = items(dims=dims)
    nch = trained(data, dims)
    nch.train()
    made, filled = completed(nch, data, training=True)
    h = codes(nch, filled, training=True)
    s = similarity(array(data.labels), array(data.labels))
    n = len(data)
    l2 = np.mean(
        [
            [(h[i] @ h[j] / np.linalg.norm(h[i]) / np.linalg.norm(h[j]) - s[i, j]) ** 2 for j in range(n)]
            for i in range(n)
        ]
    )
    l3 = np.mean([(v - (1 if v > 0 else -1)) ** 2 for row in h for v in row])
    l4 = 0.0
    toward = similarity(array(data.labels), array(nch.state["anchor_labels"]))
    for (a, b), guess in made.items():
        there = data.present[:, list(dims).index(a)].numpy()
        keys, values = array(nch.state[f"anchors_{a}"]), array(nch.state[f"anchors_{b}"])
        guide = attention(nch.neighbours[f"{a}_to_{b}"], array(data.features[a]), toward, keys, values, training=False)
        l4 += ((guess[there] - guide[there]) ** 2).mean()
    (losses,) = run(nch, data, [nch.warmup], nch.optimizers())
    assert losses == {
        "L2 similarity": pytest.approx(l2, rel=1e-4),
        "L3 quantisation": pytest.approx(l3, rel=1e-4),
        "L4 generation": pytest.approx(l4, rel=1e-4),
    }


def test_the_weights_are_those_of_the_settings() -> None:
    terms = {
        "L2 similarity": torch.tensor(1.0),
        "L3 quantisation": torch.tensor(10.0),
        "L4 generation": torch.tensor(100.0),
    }
    assert model(quantisation=0.3, generation=0.7).objective(terms).item() == pytest.approx(1 + 0.3 * 10 + 0.7 * 100)
    assert model().objective(terms).item() == pytest.approx(1 + 0.1 * 10 + 0.1 * 100)


def test_both_stages_lower_their_losses() -> None:
    data = items(80)
    nch = model(epochs=60, neighbour_epochs=30, dropout=0.0, learning_rate=1e-2)
    losses = run(nch, data, list(range(60)))
    assert losses[29]["L1 neighbours"] < 0.7 * losses[0]["L1 neighbours"]
    for term in losses[30]:
        assert losses[59][term] < 0.9 * losses[30][term], term


# ---- encoding


@pytest.mark.parametrize("dims", [DIMS, VIEWS])
def test_codes_are_those_of_the_completed_features(dims: dict[str, int]) -> None:
    data = items(dims=dims)
    nch = trained(data, dims).eval()
    _, filled = completed(nch, data, training=False)
    np.testing.assert_allclose(
        array(nch.encode(data.features, data.present)["code"]), codes(nch, filled, False), atol=2e-5
    )


def test_a_modality_that_two_others_can_give_is_the_mean_of_both() -> None:
    data = items(dims=VIEWS)
    nch = trained(data, VIEWS).eval()
    present = torch.tensor([[True, True, False]])
    x = {m: torch.randn(1, d) * present[:, i : i + 1] for i, (m, d) in enumerate(VIEWS.items())}
    sound = (nch.generators["image_to_sound"](x["image"]) + nch.generators["text_to_sound"](x["text"])) / 2
    whole = nch.encode({**x, "sound": sound}, torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(nch.encode(x, present), whole)


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_every_variant_trains_both_stages_and_encodes_rows_by_themselves(settings: dict[str, Any]) -> None:
    data = items()
    nch = model(**settings)
    first, second = run(nch, data, [0, nch.warmup])
    assert set(first) == ({"L1 neighbours"} if settings in ({}, {"neighbour": "gat"}) else set())
    guided = "completion" not in settings and settings.get("neighbour") != "none"
    assert np.isfinite(list(second.values())).all() and (second["L4 generation"] > 0) == guided
    nch.eval()
    u = nch.encode(data.features, data.present)["code"]
    assert u.shape == (40, 8) and u.dtype == torch.float32 and u.abs().max() < 1
    assert u[:20].var() > 0 and not torch.equal(u[0], u[1])
    for i in (0, 7, 39):
        row = nch.encode({m: x[i : i + 1] for m, x in data.features.items()}, data.present[i : i + 1])["code"]
        torch.testing.assert_close(row, u[i : i + 1], atol=1e-6, rtol=0)


def test_without_completion_a_missing_modality_adds_nothing() -> None:
    data = items()
    nch = trained(data, completion="none").eval()
    images = torch.tensor([[True, False]]).expand(40, 2)
    alone = nch.encode({"image": data.features["image"], "text": torch.zeros(40, 4)}, images)["code"]
    torch.testing.assert_close(alone, nch.head(nch.encoders["image"](data.features["image"])))
    assert not list(nch.generators) and not list(nch.neighbours) and not nch.state


def test_mean_completion_encodes_the_mean_features() -> None:
    data = items()
    nch = trained(data, completion="mean").eval()
    only_images = data.features["image"], torch.zeros(40, 4)
    alone = nch.encode(dict(zip(DIMS, only_images, strict=True)), torch.tensor([[True, False]]).expand(40, 2))["code"]
    torch.testing.assert_close(
        alone, nch.head(nch.encoders["image"](only_images[0]) + nch.encoders["text"](only_images[1]))
    )


def test_batch_norm_learns_from_observed_rows_only() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, momentum=1.0))
    x, there = torch.randn(6, 3), torch.tensor([True, False, True, True, False, True])
    x[~there] = 1e6
    y = observed_only(network, x, there, 2)
    assert not y[~there].any()
    torch.testing.assert_close(y[there].mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(network[1].running_mean, network[0](x[there]).mean(0))
    one = observed_only(network, x, torch.tensor([True] + [False] * 5), 2)
    assert one.shape == (6, 2) and not one.any()
    network.eval()
    torch.testing.assert_close(observed_only(network, x, there, 2)[there], network(x[there]))


# ---- stages and anchors


def test_anchors_are_distinct_complete_items() -> None:
    data = items()
    data.present[3] = torch.tensor([True, False])
    nch = model()
    nch.begin(data)
    assert {name: tuple(x.shape) for name, x in nch.state.items()} == {
        "anchor_labels": (5, 3),
        "anchors_image": (5, 6),
        "anchors_text": (5, 4),
    }
    found = [(data.features["image"] == x).all(1).nonzero().item() for x in nch.state["anchors_image"]]
    assert len(set(found)) == 5 and data.present[found].all()
    torch.testing.assert_close(nch.state["anchors_text"], data.features["text"][found])
    torch.testing.assert_close(nch.state["anchor_labels"], data.labels[found])


@pytest.mark.parametrize(("missing", "have"), [(0.9, "there are 4 of 40"), (1.0, "there are 0 of 40")])
def test_too_few_complete_items_are_named(missing: float, have: str) -> None:
    data = items(missing=missing)
    with pytest.raises(InputError, match=r"nch needs 5 training items that have all of image, text.*" + have):
        model().begin(data)


def test_variants_that_need_no_anchor_train_without_complete_items() -> None:
    for settings in ({"neighbour": "none"}, {"completion": "none"}, {"completion": "mean"}):
        trained(items(missing=1.0), **settings)


def test_each_stage_trains_its_own_part_only() -> None:
    data = items()
    nch = model()
    nch.begin(data)
    optimizers = nch.optimizers()

    def parts() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        whole = {name: x.clone() for name, x in nch.state_dict().items()}
        neighbours = {name: x for name, x in whole.items() if name.startswith("neighbours.")}
        return neighbours, {name: x for name, x in whole.items() if name not in neighbours}

    def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> list[str]:
        return [name for name in a if torch.equal(a[name], b[name])]

    start = parts()
    run(nch.eval(), data, [0], optimizers)
    first = parts()
    assert same(start[0], first[0]) == [] and same(start[1], first[1]) == list(start[1])
    run(nch.eval(), data, [nch.warmup], optimizers)
    second = parts()
    # Fixed means the running statistics of BatchNorm too.
    assert same(first[0], second[0]) == list(first[0]) and same(first[1], second[1]) == []


def test_a_stopped_run_goes_on_as_if_it_had_not() -> None:
    data = items()
    whole = model()
    whole.begin(data)
    optimizers = whole.optimizers()
    run(whole, data, [0, 1, 2], optimizers)
    again = model(anchors=5)
    again.load_state_dict(whole.state_dict())
    again.state = {name: x.clone() for name, x in whole.state.items()}
    restored = again.optimizers()
    for name, optimizer in restored.items():
        optimizer.load_state_dict(deepcopy(optimizers[name].state_dict()))
    assert run(whole, data, [3], optimizers) == run(again, data, [3], restored)
    for name, x in whole.state_dict().items():
        assert torch.equal(x, again.state_dict()[name]), name


def test_guides_follow_the_data() -> None:
    data, other = items(), items(seed=5)
    nch = trained(data)
    first = nch.guides(data)
    assert nch.guides(data) is first
    assert not torch.equal(nch.guides(other)["image", "text"], first["image", "text"])


@pytest.mark.parametrize(("n", "size"), [(1000, 128), (999, 512), (130, 64), (40, 512)])
def test_batches_keep_the_shares_of_the_patterns(n: int, size: int) -> None:
    data = items(n, missing=0.6)
    parts = proportional_batches(data.present, size, torch.Generator().manual_seed(3))
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(n))
    assert max(map(len, parts)) <= size and max(map(len, parts)) - min(map(len, parts)) <= 1
    patterns = data.present.long() @ torch.tensor([1, 2])
    for part in parts:
        for pattern in (1, 2, 3):
            expected = (patterns == pattern).sum().item() * len(part) / n
            assert abs((patterns[part] == pattern).sum().item() - expected) <= 2


def test_batches_are_shuffled_by_the_generator() -> None:
    present = items(100).present
    one, same, other = (
        proportional_batches(present, 32, torch.Generator().manual_seed(seed))[0].tolist() for seed in (1, 1, 2)
    )
    assert one == same and one != other and one != sorted(one)
    assert [len(b) for b in proportional_batches(present[:3], 2, torch.Generator())] == [2], "no batch of one"


@pytest.mark.parametrize(("schedule", "rates"), [("constant", [0.1, 0.1, 0.1]), ("cosine", [0.1, 0.05, 0.0146447])])
def test_the_schedule_is_that_of_stage_2(schedule: str, rates: list[float]) -> None:
    nch, data = model(schedule=schedule, learning_rate=0.1, epochs=6), items()
    nch.begin(data)
    optimizers = nch.optimizers()
    run(nch, data, [0], optimizers)
    found = []
    for epoch in (2, 4, 5):
        run(nch, data, [epoch], optimizers)
        found.append(optimizers["codes"].param_groups[0]["lr"])
    assert found == pytest.approx(rates, rel=1e-4) and optimizers["neighbours"].param_groups[0]["lr"] == 0.1


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValidationError, match="neighbour_epochs"):
        NCHConfig(epochs=10, neighbour_epochs=10)
    with pytest.raises(InputError, match="at least two"):
        NCH(ModelSpec({"text": 4}, 3, 8), NCHConfig())
    with pytest.raises(ValidationError, match="hidden"):
        NCHConfig(hidden=())


# ---- real data


def test_completion_helps_on_fashion(shared_data: Path) -> None:
    """1,200 products, half of them with one modality; among 800 others, pictures alone and words alone search complete ones."""
    file = np.load(shared_data / "fashion" / "fashion.npz")
    train, held = file["train"][:1200], file["train"][1200:2000]
    raw = {"image": file["I_db"], "text": file["T_db"]}
    order = torch.randperm(1200, generator=torch.Generator().manual_seed(0))
    present = torch.ones(1200, 2, dtype=torch.bool)
    present[order[:300], 0], present[order[300:600], 1] = False, False
    features, searched = {}, {}
    for i, (m, x) in enumerate(raw.items()):
        known, new = (torch.from_numpy(x[rows].astype(np.float32)) for rows in (train, held))
        scaling = FeatureScaling(x.shape[1])
        scaling.fit_standard(known[present[:, i]])
        features[m], searched[m] = scaling(known, present[:, i]), scaling(new, torch.ones(800, dtype=torch.bool))
    data = TrainData(features, present, torch.from_numpy(file["L_db"][train].astype(np.float32)))
    labels = file["L_db"][held].astype(np.uint8)

    def mean_ap(**settings: Any) -> dict[str, float]:
        sizes = {
            "hidden": (256,),
            "width": 128,
            "generator_hidden": 256,
            "attention_width": 128,
            "attention_hidden": 128,
            "anchors": 200,
        }
        schedule = {"epochs": 18, "neighbour_epochs": 8, "batch_size": 64, "weight_decay": 3e-3, "schedule": "cosine"}
        torch.manual_seed(0)
        nch = NCH(ModelSpec({"image": 1280, "text": 1000}, 43, 32), NCHConfig(**sizes, **schedule, **settings))
        run(nch, data, list(range(18)))
        nch.eval()

        def bits(image: bool, text: bool) -> np.ndarray:
            there = torch.tensor([[image, text]]).expand(800, 2)
            x = {m: x * there[:, i : i + 1] for i, (m, x) in enumerate(searched.items())}
            return np.packbits(nch.encode(x, there)["code"].detach().numpy() > 0, axis=1)

        complete = bits(True, True)
        queries = {"image": bits(True, False), "text": bits(False, True)}
        return {task: mean_average_precision(q, complete, labels, labels) for task, q in queries.items()}

    found, without = mean_ap(), mean_ap(completion="none")
    chance = np.mean(labels @ labels.T > 0)
    assert min(found.values()) > 1.5 * chance, (found, chance)
    assert found["text"] > without["text"] + 0.01 and sum(found.values()) > sum(without.values()), (found, without)


# ---- recipes


def test_recipes_fit_the_settings() -> None:
    names = recipe_names("nch")
    assert {name.split("/")[1] for name in names} >= {
        "mirflickr25k",
        "nuswide",
        "mscoco",
        "fashion",
        "openclipart",
        "mfeat",
    }
    for name in names:
        recipe = load_recipe(name)
        assert recipe.method == "nch"
        NCHConfig(**recipe.settings)
