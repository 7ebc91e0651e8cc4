"""NCH against re-derivations of its equations in numpy, its two stages, its variants, and on real data."""

from __future__ import annotations

from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from support import small_methods
from support.by_numpy import array, by_numpy, quantisation, similarity_loss, softmax, squashed
from support.small_methods import small
from support.train_data import DIMS, VIEWS, items, run
from torch import nn

from ichash_export.methods.base import TrainData
from ichash_export.methods.batches import proportional_batches
from ichash_export.methods.nch.method import NCH
from ichash_export.methods.nch.neighbours import NearestAnchors, NeighbourAttention
from ichash_export.methods.nch.passes import by_pattern, pattern_groups

VARIANTS = [
    {},
    {"neighbour": "gat"},
    {"neighbour": "knn"},
    {"neighbour": "none"},
    {"completion": "mean"},
    {"completion": "none"},
]


model = partial(small, NCH)
trained = partial(small_methods.trained, model, [0, 2])


# ---- the same arithmetic, in numpy


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
        attended.append(sum(share * v[j] for j, share in enumerate(softmax(scores))))
    z = by_numpy(module.norm_attended, np.array(attended), training=training)
    z = by_numpy(module.norm_fed, z + by_numpy(module.feed_forward, z, training=training), training=training)
    return by_numpy(module.decoder, z, training=training)


def completed(
    nch: NCH, data: TrainData, training: bool
) -> tuple[dict[tuple[str, str], np.ndarray], dict[str, np.ndarray]]:
    """What each generator makes of the items that have its source, and the features with gaps filled by their means."""
    names, present = list(data.features), data.present.numpy()
    made, filled = {}, {m: array(x) for m, x in data.features.items()}
    for a, b in permutations(names, 2):
        there = present[:, names.index(a)]
        made[a, b] = np.zeros_like(filled[b])
        made[a, b][there] = by_numpy(nch.generators[f"{a}_to_{b}"], array(data.features[a])[there], training=training)
    for i in range(len(data)):
        for j, b in enumerate(names):
            if not present[i, j]:
                filled[b][i] = np.mean([made[a, b][i] for k, a in enumerate(names) if present[i, k]], axis=0)
    return made, filled


def codes(nch: NCH, filled: dict[str, np.ndarray]) -> np.ndarray:
    """The codes of inference: all items together."""
    return by_numpy(nch.head, sum(by_numpy(nch.encoders[m], x) for m, x in filled.items()))


def own_batches(nch: NCH, data: TrainData) -> dict[str, list[np.ndarray]]:
    """What passes each encoder in training: true features first, then those generated for items that have a source."""
    names, present = list(data.features), data.present.numpy()
    made, _ = completed(nch, data, training=True)
    found = {}
    for j, b in enumerate(names):
        recovered = []
        for i in range(len(data)):
            sources = [a for k, a in enumerate(names) if k != j and present[i, k]]
            if sources:
                recovered.append(np.mean([made[a, b][i] for a in sources], axis=0))
        found[b] = [array(data.features[b])[present[:, j]], np.array(recovered)]
    return found


def fused_apart(nch: NCH, data: TrainData) -> np.ndarray:
    """The sums of encodings in training, each item with its true features where it has them."""
    present, fused = data.present.numpy(), np.zeros((len(data), nch.config.width))
    for j, (m, (true, generated)) in enumerate(own_batches(nch, data).items()):
        true, generated = (list(by_numpy(nch.encoders[m], x, training=True)) for x in (true, generated))
        for i in range(len(data)):
            # Generated ones are there for every item that has another modality, complete ones too.
            ours = true.pop(0) if present[i, j] else None
            theirs = generated.pop(0) if np.delete(present[i], j).any() else None
            fused[i] += theirs if ours is None else ours
        assert not true and not generated
    return fused


def patterns(data: TrainData) -> list[list[int]]:
    """The items of each presence pattern, complete ones first, then those of patterns with fewer than 16 items."""
    rows = [tuple(row) for row in data.present.tolist()]
    whole = [[i for i, row in enumerate(rows) if row == pattern] for pattern in sorted(set(rows), reverse=True)]
    few = [i for group in whole if len(group) < 16 for i in group]
    return [group for group in whole if len(group) >= 16] + ([few] if few else [])


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
    s = squashed(array(paired.labels), array(nch.state["anchor_labels"]))
    l1 = 0.0
    for a, b in (("image", "text"), ("text", "image")):
        keys, values = array(nch.state[f"anchors_{a}"]), array(nch.state[f"anchors_{b}"])
        guess = attention(nch.neighbours[f"{a}_to_{b}"], array(paired.features[a]), s, keys, values, training=True)
        l1 += ((guess - array(paired.features[b])) ** 2).mean()
    (losses,) = run(nch, data, [0], nch.optimizers())
    assert losses == {"L1 neighbours": pytest.approx(l1, rel=1e-5)}


def test_dropout_is_on_what_is_fed_forward_too() -> None:
    module, seen = NeighbourAttention(6, 4, width=50, hidden=7, dropout=0.5), {}
    for parameter, value in zip(module.feed_forward[3].parameters(), (0.0, 1.0), strict=True):
        nn.init.constant_(parameter, value)
    module.norm_attended.register_forward_hook(lambda _, __, z: seen.update(attended=z))
    module.norm_fed.register_forward_pre_hook(lambda _, given: seen.update(summed=given[0]))
    torch.manual_seed(0)
    module(torch.randn(9, 6), torch.rand(9, 8), torch.randn(8, 6), torch.randn(8, 4))
    fed = (seen["summed"] - seen["attended"]).round(decimals=3)
    assert set(fed.flatten().tolist()) == {0.0, 2.0} and 0.4 < (fed == 0).float().mean() < 0.6


@pytest.mark.parametrize("dims", [DIMS, VIEWS])
def test_stage_2_losses_are_l2_l3_l4(dims: dict[str, int]) -> None:
    """Every network has BatchNorm's statistics of its own batches, the neighbour modules those of items that have a."""
    data = items(80, dims)
    nch = trained(data, dims, dropout=0.0, batch_size=128)
    assert len(patterns(data)) == (3 if len(dims) == 2 else 2)
    made, _ = completed(nch, data, training=True)
    fused, h = fused_apart(nch, data), np.zeros((len(data), nch.spec.bits))
    for rows in patterns(data):
        h[rows] = by_numpy(nch.head, fused[rows], training=True)
    l4 = 0.0
    toward = squashed(array(data.labels), array(nch.state["anchor_labels"]))
    for (a, b), guess in made.items():
        there = data.present[:, list(dims).index(a)].numpy()
        keys, values = array(nch.state[f"anchors_{a}"]), array(nch.state[f"anchors_{b}"])
        x, module = array(data.features[a])[there], nch.neighbours[f"{a}_to_{b}"]
        l4 += ((guess[there] - attention(module, x, toward[there], keys, values, training=True)) ** 2).mean()
    (losses,) = run(nch, data, [nch.warmup], nch.optimizers())
    assert losses == {
        "L2 similarity": pytest.approx(similarity_loss(h, array(data.labels)), rel=1e-4),
        "L3 quantisation": pytest.approx(quantisation(h), rel=1e-4),
        "L4 generation": pytest.approx(l4, rel=1e-4),
    }


@pytest.mark.parametrize("dims", [DIMS, VIEWS])
def test_running_statistics_are_those_of_the_separate_batches(dims: dict[str, int]) -> None:
    """Each batch moves them by a tenth, one after the other."""
    data = items(80, dims)
    nch = trained(data, dims)
    fused = fused_apart(nch, data)
    passed = {f"encoders.{m}": parts for m, parts in own_batches(nch, data).items()}
    passed["head"] = [fused[rows] for rows in patterns(data)]
    expected = {}
    for name, parts in passed.items():
        linear, norm = nch.get_submodule(name)[0], nch.get_submodule(name)[1]
        mean, variance = array(norm.running_mean), array(norm.running_var)
        for part in parts:
            z = by_numpy(linear, part)
            mean, variance = 0.9 * mean + 0.1 * z.mean(0), 0.9 * variance + 0.1 * z.var(0, ddof=1)
        expected[name] = mean, variance
    nch.train()
    nch.code_losses(data)
    for name, (mean, variance) in expected.items():
        norm = nch.get_submodule(name)[1]
        np.testing.assert_allclose(array(norm.running_mean), mean, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(array(norm.running_var), variance, atol=1e-5, err_msg=name)


def test_targets_are_made_anew_in_each_batch_with_dropout_and_without_gradient() -> None:
    data = items()
    nch = trained(data)
    nch.train()
    torch.manual_seed(0)
    first, second = nch.code_losses(data), nch.code_losses(data)
    assert first["L4 generation"] != second["L4 generation"], "the masks of dropout differ"
    torch.testing.assert_close(first["L2 similarity"], second["L2 similarity"])
    nch.zero_grad()
    nch.objective(first).backward()
    assert all(p.grad is None for p in nch.neighbours.parameters())
    assert all(p.grad is not None for p in nch.generators.parameters())


def test_one_item_that_has_a_modality_trains() -> None:
    """BatchNorm takes no batch of one: the item's codes and targets are left out, and the rest is finite."""
    data = items()
    data.present[:] = torch.tensor([False, True])
    data.present[:5] = True
    data.present[7] = torch.tensor([True, False])
    nch = trained(data)
    nch.train()
    few = data.rows(torch.tensor([7, 10, 11, 12]))
    losses = nch.code_losses(few)
    assert all(x.isfinite() for x in losses.values()) and nch.objective(losses).requires_grad


def test_each_pattern_passes_by_itself_if_it_can() -> None:
    present = torch.tensor([[1, 0], [1, 1], [0, 1], [1, 0], [1, 1], [1, 1], [0, 1]]).bool()

    def groups(items: int, least: int) -> list[list[int]]:
        return [rows.tolist() for rows in pattern_groups(present[:items], least)]

    assert groups(7, least=2) == [[1, 4, 5], [0, 3], [2, 6]]
    assert groups(7, least=3) == [[1, 4, 5], [0, 3, 2, 6]], "those of few pass together"
    assert groups(6, least=2) == [[1, 4, 5, 2], [0, 3]], "or with the complete ones, if together they are still few"
    assert groups(3, least=2) == groups(3, least=16) == [[1, 0, 2]]


def test_patterns_pass_apart_in_training_and_in_the_same_order() -> None:
    present, norm = items(80).present, nn.BatchNorm1d(3)
    x = torch.randn(80, 3)
    found = by_pattern(norm, x, present)
    for rows in pattern_groups(present):
        torch.testing.assert_close(found[rows], nn.BatchNorm1d(3)(x[rows]))
    torch.testing.assert_close(by_pattern(norm.eval(), x, present), norm(x))


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_each_variant_has_its_terms(settings: dict[str, Any]) -> None:
    first, second = run(nch := model(**settings), items(), [0, nch.warmup])
    assert set(first) == ({"L1 neighbours"} if settings in ({}, {"neighbour": "gat"}) else set())
    guided = "completion" not in settings and settings.get("neighbour") != "none"
    assert (second["L4 generation"] > 0) == guided


# ---- encoding


@pytest.mark.parametrize("dims", [DIMS, VIEWS])
def test_codes_are_those_of_the_completed_features(dims: dict[str, int]) -> None:
    data = items(dims=dims)
    nch = trained(data, dims).eval()
    _, filled = completed(nch, data, training=False)
    np.testing.assert_allclose(array(nch.encode(data.features, data.present)["code"]), codes(nch, filled), atol=2e-5)


def test_a_modality_that_two_others_can_give_is_the_mean_of_both() -> None:
    data = items(dims=VIEWS)
    nch = trained(data, VIEWS).eval()
    present = torch.tensor([[True, True, False]])
    x = {m: torch.randn(1, d) * present[:, i : i + 1] for i, (m, d) in enumerate(VIEWS.items())}
    sound = (nch.generators["image_to_sound"](x["image"]) + nch.generators["text_to_sound"](x["text"])) / 2
    whole = nch.encode({**x, "sound": sound}, torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(nch.encode(x, present), whole)


def test_without_completion_a_missing_modality_adds_nothing() -> None:
    data = items()
    nch = trained(data, completion="none").eval()
    images = torch.tensor([[True, False]]).expand(40, 2)
    alone = nch.encode({"image": data.features["image"], "text": torch.zeros(40, 4)}, images)["code"]
    torch.testing.assert_close(alone, nch.head(nch.encoders["image"](data.features["image"])))
    assert not list(nch.generators) and not list(nch.neighbours) and not nch.state


def test_mean_completion_encodes_the_mean_features() -> None:
    data = items(unit=("text",))
    nch = trained(data, completion="mean").eval()
    mean = data.features["text"][data.present[:, 1]].mean(0).expand(40, 4)
    images = torch.tensor([[True, False]]).expand(40, 2)
    alone = nch.encode({"image": data.features["image"], "text": torch.zeros(40, 4)}, images)["code"]
    assert mean.min() > 0.2
    torch.testing.assert_close(
        alone, nch.head(nch.encoders["image"](data.features["image"]) + nch.encoders["text"](mean))
    )


def test_words_are_minmax_and_all_else_is_standardised() -> None:
    assert [model().scaling(m) for m in DIMS] == ["standard", "minmax"]
    assert [model(words=()).scaling(m) for m in DIMS] == ["standard", "standard"]
    assert [model({"image": 6, "sound": 4}).scaling(m) for m in ("image", "sound")] == ["standard", "standard"]


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


def test_all_complete_items_are_anchors_where_there_are_fewer() -> None:
    data = items(missing=0.9)
    nch = model()
    nch.begin(data)
    assert len(nch.state["anchor_labels"]) == 4
    (remark,) = nch.remarks
    assert "all 4 complete training items" in remark and "anchors = 5" in remark and "--set anchors=4" in remark
    assert trained(data).state["anchors_image"].shape == (4, 6)


def test_variants_that_need_no_anchor_train_without_complete_items() -> None:
    for settings in ({"neighbour": "none"}, {"completion": "none"}, {"completion": "mean"}):
        trained(items(missing=1.0), **settings)


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
