"""JCPMH against re-derivations of its equations in numpy, its stages, its variants, and on real data."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from pydantic import ValidationError
from support.tiny import make_table
from torch import nn

from ichash_export.layers import FeatureScaling, hide
from ichash_export.methods.base import ModelSpec, TrainData
from ichash_export.methods.jcpmh.method import JCPMH, JCPMHConfig
from ichash_export.methods.jcpmh.networks import GraphAutoencoder, adjacency
from ichash_export.onnx.to_onnx import export_bundle
from ichash_export.papers.recipes import load_recipe, recipe_names
from ichash_export.train.options import TrainingOptions
from ichash_export.train.training import train
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.metrics import mean_average_precision

DIMS = {"image": 6, "text": 4}
VIEWS = {"image": 6, "text": 4, "sound": 5}
SMALL = {
    "epochs": 5,
    "classifier_epochs": 2,
    "autoencoder_epochs": 1,
    "batch_size": 64,
    "hidden": (8,),
    "width": 7,
    "generator_hidden": 8,
    "classifier_hidden": (9, 5),
    "autoencoder_hidden": 11,
    "autoencoder_width": 6,
}
CLASSIFY, RECONSTRUCT, HASH = 0, 2, 3
"""An epoch of each stage under these settings."""
VARIANTS: list[dict[str, Any]] = [
    {},
    {"standardise_words": True},
    {"modality_dropout": 0.5},
    *map(dict, JCPMH.ablations.values()),
]


def items(n: int = 40, dims: dict[str, int] = DIMS, missing: float = 0.5, classes: int = 3, seed: int = 0) -> TrainData:
    """Items without structure; a share of them lacks something, in every pattern there is. Words are in [0, 1]."""
    random = torch.Generator().manual_seed(seed)
    present = torch.ones(n, len(dims), dtype=torch.bool)
    few = torch.randperm(n, generator=random)[: int(n * missing)]
    gaps = torch.tensor(
        [pattern for pattern in product([True, False], repeat=len(dims)) if any(pattern) and not all(pattern)]
    )
    present[few] = gaps[torch.arange(len(few)) % len(gaps)]
    raw = {m: torch.randn(n, d, generator=random) for m, d in dims.items()}
    raw["text"] = torch.rand(raw["text"].shape, generator=random)
    features = {m: x * present[:, i : i + 1] for i, (m, x) in enumerate(raw.items())}
    labels = (torch.rand(n, classes, generator=random) < 0.4).float()
    labels[labels.sum(1) == 0, 0] = 1
    return TrainData(features, present, labels)


def model(dims: dict[str, int] = DIMS, classes: int = 3, bits: int = 8, **settings: Any) -> JCPMH:
    torch.manual_seed(1)
    return JCPMH(ModelSpec(dims, classes, bits), JCPMHConfig(**{**SMALL, **settings}))


def run(jcpmh: JCPMH, data: TrainData, epochs: Iterable[int], optimizers: Any = None) -> list[dict[str, float]]:
    if optimizers is None:
        jcpmh.begin(data)
        optimizers = jcpmh.optimizers()
    losses = []
    for epoch in epochs:
        torch.manual_seed(epoch)
        losses.append(jcpmh.train_epoch(data, epoch, optimizers, torch.Generator().manual_seed(epoch)))
    return losses


def trained(data: TrainData, dims: dict[str, int] = DIMS, **settings: Any) -> JCPMH:
    """A model after one epoch of each stage, so that nothing is at its initial value."""
    jcpmh = model(dims, **settings)
    run(jcpmh, data, [CLASSIFY, RECONSTRUCT, HASH])
    return jcpmh


# ---- the same arithmetic, in numpy


def array(x: torch.Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def by_numpy(network: Iterable[nn.Module], x: np.ndarray) -> np.ndarray:
    """Linear layers and ReLU, one after the other, in float64."""
    for layer in network:
        x = (
            x @ array(layer.weight).T + (0 if layer.bias is None else array(layer.bias))
            if isinstance(layer, nn.Linear)
            else np.maximum(x, 0)
        )
    return x


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def squashed(labels: np.ndarray) -> np.ndarray:
    """Eq. 4."""
    shared = np.array([[sum(x * y for x, y in zip(i, j, strict=True)) for j in labels] for i in labels])
    return (1 - np.exp(-shared)) / (1 + np.exp(-shared))


def cross_entropy(truth: np.ndarray, guess: np.ndarray) -> float:
    """Of probabilities: eq. 1, 6, 13 with the minus sign, as a mean."""
    terms = [
        y * np.log(p) + (1 - y) * np.log(1 - p)
        for row, guesses in zip(truth, guess, strict=True)
        for y, p in zip(row, guesses, strict=True)
    ]
    return -float(np.mean(terms))


def reconstructed(f: GraphAutoencoder, features: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Eq. 2 and 3, with A~ divided by its row sums."""
    graph = np.array([row / row.sum() for row in squashed(labels)])
    h = np.maximum(graph @ np.concatenate(list(features.values()), axis=1) @ array(f.first.weight).T, 0)
    h = np.maximum(graph @ h @ array(f.second.weight).T, 0)
    made = {m: by_numpy([decoder], h) for m, decoder in f.decoders.items()}
    return {m: sigmoid(y) if m == "text" else y for m, y in made.items()}


def seen(jcpmh: JCPMH, m: str, x: np.ndarray, data: TrainData) -> np.ndarray:
    """What the networks see of features x, by statistics of the training items."""
    if m != "text" or not jcpmh.config.standardise_words:
        return x
    known = array(data.features["text"])[data.present[:, 1].numpy()]
    return (x - known.mean(0)) / known.std(0)


def completed(jcpmh: JCPMH, data: TrainData) -> dict[str, np.ndarray]:
    """X*, Y*: item by item, gaps filled by the mean of what is generated from each modality that is there."""
    names = list(data.features)
    filled = {m: array(x) for m, x in data.features.items()}
    for i, there in enumerate(data.present.numpy()):
        for j, b in enumerate(names):
            if not there[j]:
                made = []
                for k, a in enumerate(names):
                    if there[k]:
                        y = by_numpy(
                            jcpmh.generators.pairs[f"{a}_to_{b}"],
                            seen(jcpmh, a, array(data.features[a])[i : i + 1], data),
                        )
                        made.append(sigmoid(y)[0] if b == "text" else y[0])
                filled[b][i] = np.mean(made, axis=0)
    return filled


def hashed(jcpmh: JCPMH, whole: dict[str, np.ndarray], data: TrainData) -> np.ndarray:
    """Eq. 8."""
    return by_numpy([jcpmh.fusion], sum(by_numpy(jcpmh.hashing[m], seen(jcpmh, m, x, data)) for m, x in whole.items()))


# ---- equations


def test_adjacency_is_eq_4_with_rows_that_sum_to_one() -> None:
    labels = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]])
    found = array(adjacency(labels))
    expected = squashed(array(labels))
    np.testing.assert_allclose(found[:3], expected[:3] / expected[:3].sum(1, keepdims=True), atol=1e-6)
    assert not found[3].any() and not found[:, 3].any(), "an item without labels has no neighbour"
    assert found[1, 2] == 0 and found[0, 1] > 0


def test_the_autoencoder_is_eq_2_to_7() -> None:
    data = items(missing=0.0)
    torch.manual_seed(0)
    f = GraphAutoencoder(DIMS, frozenset(["text"]), 11, 6)
    graph, x = adjacency(data.labels), {m: array(x) for m, x in data.features.items()}
    expected = reconstructed(f, x, array(data.labels))
    for m, y in f(data.features, graph).items():
        np.testing.assert_allclose(array(y), expected[m], atol=1e-6)
    loss = np.mean((expected["image"] - x["image"]) ** 2) + cross_entropy(x["text"], expected["text"])
    assert f.loss(data.features, graph).item() == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("dims", [DIMS, VIEWS])
@pytest.mark.parametrize("standardise", [False, True])
def test_stages_1_and_2_minimise_eq_1_and_7(dims: dict[str, int], standardise: bool) -> None:
    data = items(dims=dims)
    jcpmh = model(dims, standardise_words=standardise)
    labels, l_c = array(data.labels), 0.0
    for i, m in enumerate(dims):
        there = data.present[:, i].numpy()
        guess = sigmoid(by_numpy(jcpmh.classifiers[m], seen(jcpmh, m, array(data.features[m])[there], data)))
        l_c += cross_entropy(labels[there], guess)
    complete = data.present.all(1).numpy()
    x = {m: array(x)[complete] for m, x in data.features.items()}
    y = reconstructed(jcpmh.autoencoder, x, labels[complete])
    l_r = sum(cross_entropy(x[m], y[m]) if m == "text" else np.mean((x[m] - y[m]) ** 2) for m in dims)
    first, second = run(jcpmh, data, [CLASSIFY, RECONSTRUCT])
    assert first == {"L_c": pytest.approx(l_c, rel=1e-5)}
    assert second == {"L_r": pytest.approx(l_r, rel=1e-5)}


@pytest.mark.parametrize("dims", [DIMS, VIEWS])
@pytest.mark.parametrize("standardise", [False, True])
def test_stage_3_has_the_terms_of_eq_14(dims: dict[str, int], standardise: bool) -> None:
    data = items(dims=dims)
    jcpmh = trained(data, dims, standardise_words=standardise)
    whole, labels, n = completed(jcpmh, data), array(data.labels), len(data)
    h, a = hashed(jcpmh, whole, data), squashed(labels)
    l_s = np.mean(
        [
            [(h[i] @ h[j] / np.linalg.norm(h[i]) / np.linalg.norm(h[j]) - a[i, j]) ** 2 for j in range(n)]
            for i in range(n)
        ]
    )
    l_b = np.mean([(v - (1 if v > 0 else -1)) ** 2 for row in h for v in row])
    found = reconstructed(jcpmh.autoencoder, whole, labels)
    errors = [(found[m][i, d] - whole[m][i, d]) ** 2 for i in range(n) for m, size in dims.items() for d in range(size)]
    l_3 = 0.0
    for i, m in enumerate(dims):
        made = ~data.present[:, i].numpy()
        l_3 += cross_entropy(
            labels[made], sigmoid(by_numpy(jcpmh.classifiers[m], seen(jcpmh, m, whole[m][made], data)))
        )
    (losses,) = run(jcpmh, data, [HASH], jcpmh.optimizers())
    expected = {"L_s": l_s, "L_b": l_b, "L_2": np.mean(errors), "L_3": l_3}
    assert losses == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}


def test_the_weights_are_those_of_the_settings() -> None:
    terms = {
        "L_s": torch.tensor(1.0),
        "L_b": torch.tensor(10.0),
        "L_2": torch.tensor(100.0),
        "L_3": torch.tensor(1000.0),
    }
    assert model().objective(terms).item() == pytest.approx(1 + 0.1 * 10 + 0.1 * 100 + 0.25 * 1000)
    assert model(alpha=0.3, lambda_1=0.5, lambda_2=0.7).objective(terms).item() == pytest.approx(
        1 + 0.3 * 10 + 0.5 * 100 + 0.7 * 1000
    )
    assert model().objective({"L_r": torch.tensor(3.0)}).item() == 3


def test_the_guides_teach_the_generators_alone() -> None:
    """L_2 and L_3 reach the generators through classifiers and autoencoder, which are fixed, and not the hashing network."""
    data = items()
    jcpmh = trained(data)
    for term in ("L_2", "L_3"):
        jcpmh.zero_grad()
        jcpmh.losses(data)[term].backward()
        reached = {name.split(".")[0] for name, p in jcpmh.named_parameters() if p.grad is not None and p.grad.any()}
        assert reached == {"generators"}, term


def test_every_stage_lowers_its_losses() -> None:
    data = items(80)
    torch.manual_seed(0)
    image, text = data.labels @ torch.randn(3, 6), torch.sigmoid(4 * data.labels @ torch.randn(3, 4))
    data.features.update({"image": image * data.present[:, :1], "text": text * data.present[:, 1:]})
    sizes = {"classifier_hidden": (64, 32), "width": 32, "generator_hidden": 32, "batch_size": 80}
    jcpmh = model(epochs=90, classifier_epochs=30, autoencoder_epochs=30, learning_rate=1e-2, **sizes)
    losses = run(jcpmh, data, range(90))
    assert losses[29]["L_c"] < 0.8 * losses[0]["L_c"]
    assert losses[59]["L_r"] < 0.9 * losses[30]["L_r"]
    for term in losses[60]:
        assert losses[89][term] < losses[60][term], term


# ---- stages


def test_each_stage_trains_its_own_part_only() -> None:
    data = items()
    jcpmh = model()
    jcpmh.begin(data)
    optimizers = jcpmh.optimizers()
    parts = {
        CLASSIFY: {"classifiers"},
        RECONSTRUCT: {"autoencoder"},
        HASH: {"hashing", "fusion", "generators"},
        CLASSIFY + 1: {"classifiers"},
    }
    for epoch, expected in parts.items():
        before = {name: x.clone() for name, x in jcpmh.state_dict().items()}
        run(jcpmh.eval(), data, [epoch], optimizers)
        changed = {name.split(".")[0] for name, x in jcpmh.state_dict().items() if not torch.equal(x, before[name])}
        assert changed == expected, epoch


def test_a_stopped_run_goes_on_as_if_it_had_not() -> None:
    data = items()
    whole = model(modality_dropout=0.5, standardise_words=True)
    whole.begin(data)
    optimizers = whole.optimizers()
    run(whole, data, range(4), optimizers)
    again = model(modality_dropout=0.5, standardise_words=True)
    again.load_state_dict(whole.state_dict())
    restored = again.optimizers()
    for name, optimizer in restored.items():
        optimizer.load_state_dict(deepcopy(optimizers[name].state_dict()))
    assert run(whole, data, [4], optimizers) == run(again, data, [4], restored)
    for name, x in whole.state_dict().items():
        assert torch.equal(x, again.state_dict()[name]), name


@pytest.mark.parametrize(("schedule", "rates"), [("constant", [0.1, 0.1, 0.1]), ("cosine", [0.1, 0.05, 0.0146447])])
def test_the_schedule_is_that_of_stage_3(schedule: str, rates: list[float]) -> None:
    data = items()
    jcpmh = model(schedule=schedule, learning_rate=0.1, epochs=7)
    jcpmh.begin(data)
    optimizers = jcpmh.optimizers()
    found = []
    for epoch in (3, 5, 6):
        run(jcpmh, data, [epoch], optimizers)
        found.append(optimizers["codes"].param_groups[0]["lr"])
    assert found == pytest.approx(rates, rel=1e-4) and optimizers["classifiers"].param_groups[0]["lr"] == 0.1


def test_modality_dropout_leaves_one_modality_and_never_adds_one() -> None:
    present = items(400, VIEWS).present
    torch.manual_seed(0)
    shown = hide(present, 0.5)
    assert not (shown & ~present).any() and shown.any(1).all()
    touched = (shown != present).any(1)
    assert (shown[touched].sum(1) == 1).all()
    assert 0.4 < touched[present.sum(1) > 1].float().mean() < 0.6
    assert shown[touched].float().mean(0).min() > 0.2, "each modality is kept sometimes"
    assert torch.equal(hide(present, 0.0), present)


def test_generators_learn_from_complete_items_where_some_are_hidden() -> None:
    data = items(missing=0.0)
    jcpmh = model(modality_dropout=0.5)
    before = deepcopy(jcpmh.generators.state_dict())
    run(jcpmh, data, [HASH])
    assert all(not torch.equal(x, before[name]) for name, x in jcpmh.generators.state_dict().items())


@pytest.mark.parametrize("dims", [DIMS, VIEWS])
def test_generated_words_begin_near_their_mean(dims: dict[str, int]) -> None:
    data = items(400, dims)
    data.features["text"] **= 8
    jcpmh = model(dims).eval()
    jcpmh.begin(data)
    gaps, known = ~data.present[:, 1], data.present[:, 1]
    made = jcpmh._completed(data.features, data.present)["text"][gaps]
    torch.testing.assert_close(made.mean(0), data.features["text"][known].mean(0), atol=0.03, rtol=0)


# ---- encoding and variants


@pytest.mark.parametrize("dims", [DIMS, VIEWS])
@pytest.mark.parametrize("standardise", [False, True])
def test_codes_are_those_of_the_completed_features(dims: dict[str, int], standardise: bool) -> None:
    data = items(dims=dims)
    jcpmh = trained(data, dims, standardise_words=standardise).eval()
    expected = hashed(jcpmh, completed(jcpmh, data), data)
    np.testing.assert_allclose(array(jcpmh.encode(data.features, data.present)["code"]), expected, atol=2e-5)


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_every_variant_trains_and_encodes_rows_by_themselves(settings: dict[str, Any]) -> None:
    data = items()
    jcpmh = model(**settings)
    first, second, third = run(jcpmh, data, [CLASSIFY, RECONSTRUCT, HASH])
    made = "completion" not in settings
    autoencoder, classifiers = made and settings.get("autoencoder", True), made and settings.get("classifiers", True)
    assert set(first) == ({"L_c"} if classifiers else set()) and set(second) == ({"L_r"} if autoencoder else set())
    assert set(third) == {"L_s", "L_b"} | ({"L_2"} if autoencoder else set()) | ({"L_3"} if classifiers else set())
    assert np.isfinite(list(third.values())).all()
    jcpmh.eval()
    u = jcpmh.encode(data.features, data.present)["code"]
    assert u.shape == (40, 8) and u.dtype == torch.float32
    assert u.var(0).min() > 0
    for i in range(0, 40, 7):
        row = jcpmh.encode({m: x[i : i + 1] for m, x in data.features.items()}, data.present[i : i + 1])["code"]
        torch.testing.assert_close(row, u[i : i + 1], atol=1e-6, rtol=0)


def test_ablations_leave_out_what_their_name_says() -> None:
    made = {name: model(**settings) for name, settings in JCPMH.ablations.items()}
    assert set(made) == {"JCPMH-A", "JCPMH-B", "no completion", "mean completion"}
    parts = {
        name: (m.generators is not None, m.autoencoder is not None, bool(m.classifiers)) for name, m in made.items()
    }
    assert parts["JCPMH-A"] == (True, False, True) and parts["JCPMH-B"] == (True, True, False)
    assert parts["no completion"] == parts["mean completion"] == (False, False, False)
    assert len({m.warmup for m in made.values()}) == 1, "all train their codes equally long"


def test_without_completion_a_missing_modality_adds_nothing() -> None:
    data = items()
    jcpmh = trained(data, completion="none").eval()
    images = torch.tensor([[True, False]]).expand(40, 2)
    alone = jcpmh.encode({"image": data.features["image"], "text": torch.zeros(40, 4)}, images)["code"]
    torch.testing.assert_close(alone, jcpmh.fusion(jcpmh.hashing["image"](data.features["image"])))


@pytest.mark.parametrize("standardise", [False, True])
def test_mean_completion_hashes_the_mean_features(standardise: bool) -> None:
    data = items()
    jcpmh = trained(data, completion="mean", standardise_words=standardise).eval()
    mean = data.features["text"][data.present[:, 1]].mean(0).expand(40, 4)
    images, both = torch.tensor([[True, False]]).expand(40, 2), torch.ones(40, 2, dtype=torch.bool)
    found = jcpmh.encode({"image": data.features["image"], "text": torch.zeros(40, 4)}, images)["code"]
    torch.testing.assert_close(
        found, jcpmh.encode({"image": data.features["image"], "text": mean}, both)["code"], atol=1e-5, rtol=0
    )


# ---- what cannot be


@pytest.mark.parametrize("settings", [{}, {"classifiers": False}])
def test_too_few_complete_items_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(
        InputError, match=r"jcpmh needs at least 2 training items that have all of image, text.*there are 0 of 40"
    ):
        model(**settings).begin(items(missing=1.0))
    for needless in ({"autoencoder": False}, {"completion": "none"}, {"completion": "mean"}):
        trained(items(missing=1.0), **needless)


def test_a_modality_that_nobody_lacks_cannot_be_learnt() -> None:
    data = items()
    data.present[:, 0] = True
    with pytest.raises(InputError, match=r"none of the 40 lacks 'image'.*--pdr"):
        model().begin(data)
    for needless in ({"modality_dropout": 0.1}, {"completion": "none"}, {"completion": "mean"}):
        model(**needless).begin(data)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValidationError, match="must be less than epochs"):
        JCPMHConfig(epochs=100)
    with pytest.raises(InputError, match="at least two"):
        JCPMH(ModelSpec({"text": 4}, 3, 8), JCPMHConfig())
    with pytest.raises(InputError, match=r"'txet'.*image, text"):
        model(words=("txet",))


def test_words_are_minmax_and_all_else_is_standardised() -> None:
    assert [model().scaling(m) for m in DIMS] == ["standard", "minmax"]
    assert [model(words=()).scaling(m) for m in DIMS] == ["standard", "standard"]
    assert [model(words=("image", "text")).scaling(m) for m in DIMS] == ["minmax", "minmax"]
    assert model({"image": 6, "sound": 4}).words == frozenset(), "the default's names need not be there"


def test_dense_modalities_are_generated_without_a_sigmoid() -> None:
    data = items()
    whole = trained(data, words=(), learning_rate=0.1).eval()._completed(data.features, data.present)["text"]
    squeezed = trained(data, learning_rate=0.1).eval()._completed(data.features, data.present)["text"]
    gaps = ~data.present[:, 1]
    assert whole[gaps].min() < 0
    assert squeezed[gaps].min() > 0 and squeezed[gaps].max() < 1


# ---- real data


def fashion(folder: Path) -> tuple[TrainData, dict[str, torch.Tensor], np.ndarray]:
    """1,200 products, half of them with one modality; 800 others, complete; labels of these."""
    file = np.load(folder / "fashion" / "fashion.npz")
    fit, held = file["train"][:1200], file["train"][1200:2000]
    order = torch.randperm(1200, generator=torch.Generator().manual_seed(0))
    present = torch.ones(1200, 2, dtype=torch.bool)
    present[order[:300], 0], present[order[300:600], 1] = False, False
    features, searched = {}, {}
    for i, (m, x) in enumerate({"image": file["I_db"], "text": file["T_db"]}.items()):
        known, new = (torch.from_numpy(x[rows].astype(np.float32)) for rows in (fit, held))
        scaling = FeatureScaling(x.shape[1])
        (scaling.fit_minmax if m == "text" else scaling.fit_standard)(known[present[:, i]])
        features[m], searched[m] = scaling(known, present[:, i]), scaling(new, torch.ones(800, dtype=torch.bool))
    labels = file["L_db"]
    return (
        TrainData(features, present, torch.from_numpy(labels[fit].astype(np.float32))),
        searched,
        labels[held].astype(np.uint8),
    )


def test_completion_helps_on_fashion(shared_data: Path) -> None:
    """Pictures alone and words alone search complete items, among 800 that were not trained on."""
    data, searched, labels = fashion(shared_data)

    def mean_ap(**settings: Any) -> dict[str, float]:
        sizes = {
            "width": 256,
            "generator_hidden": 256,
            "classifier_hidden": (256,),
            "autoencoder_hidden": 256,
            "autoencoder_width": 128,
        }
        schedule = {
            "epochs": 18,
            "classifier_epochs": 5,
            "autoencoder_epochs": 5,
            "batch_size": 64,
            "weight_decay": 1e-3,
        }
        torch.manual_seed(0)
        config = JCPMHConfig(**sizes, **schedule, standardise_words=True, **settings)
        jcpmh = JCPMH(ModelSpec({"image": 1280, "text": 1000}, 43, 32), config)
        run(jcpmh, data, range(18))
        jcpmh.eval()

        def bits(image: bool, text: bool) -> np.ndarray:
            there = torch.tensor([[image, text]]).expand(800, 2)
            x = {m: x * there[:, i : i + 1] for i, (m, x) in enumerate(searched.items())}
            return np.packbits(jcpmh.encode(x, there)["code"].detach().numpy() > 0, axis=1)

        complete = bits(True, True)
        queries = {"image": bits(True, False), "text": bits(False, True)}
        return {task: mean_average_precision(q, complete, labels, labels) for task, q in queries.items()}

    found, without = mean_ap(), mean_ap(completion="none")
    chance = np.mean(labels @ labels.T > 0)
    assert min(found.values()) > 1.5 * chance, (found, chance)
    assert found["text"] > without["text"] + 0.01 and sum(found.values()) > sum(without.values()), (found, without)


def test_a_trained_model_becomes_a_bundle_and_guides_stay_behind(tmp_path: Path) -> None:
    """Export compares torch and onnxruntime for every presence pattern, of three views."""
    made = train(
        make_table(240, dims=VIEWS),
        "jcpmh",
        16,
        settings={**SMALL, "standardise_words": True},
        options=TrainingOptions(validation=0),
    )
    export_bundle(made, tmp_path / "bundle")
    graph = onnx.load(tmp_path / "bundle" / "encoder.onnx").graph
    sizes = {tuple(x.dims) for x in graph.initializer}
    kept, left = made.model.method.generators.pairs["image_to_text"][0], made.model.method.autoencoder.first
    assert {tuple(kept.weight.shape), tuple(kept.weight.T.shape)} & sizes
    assert not {tuple(left.weight.shape), tuple(left.weight.T.shape)} & sizes


# ---- recipes


def test_recipes_fit_the_settings() -> None:
    names = recipe_names("jcpmh")
    assert {f"jcpmh/{data}" for data in ("fashion", "openclipart", "mfeat", "mirflickr25k", "nuswide")} <= set(names)
    for name in names:
        recipe = load_recipe(name)
        assert recipe.method == "jcpmh"
        JCPMHConfig(**recipe.settings)
    # Section 4.2.
    assert [load_recipe(f"jcpmh/{data}").settings["lambda_2"] for data in ("mirflickr25k", "nuswide")] == [0.25, 0.05]
    assert {
        load_recipe(f"jcpmh/{data}").settings[name]
        for data in ("mirflickr25k", "nuswide")
        for name in ("alpha", "lambda_1")
    } == {0.1}
