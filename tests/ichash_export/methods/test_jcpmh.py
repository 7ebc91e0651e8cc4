"""JCPMH against re-derivations of its equations in numpy, its stages, its variants, and on real data."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from support import small_methods, train_data
from support.by_numpy import array, by_numpy, cross_entropy, quantisation, sigmoid, similarity_loss, squashed
from support.small_methods import SMALL, small
from support.tiny import make_table
from support.train_data import DIMS, VIEWS, run

from ichash_export.layers import hide
from ichash_export.methods.base import TrainData
from ichash_export.methods.jcpmh.method import JCPMH
from ichash_export.methods.jcpmh.networks import GraphAutoencoder, adjacency
from ichash_export.onnx.to_onnx import export_bundle
from ichash_export.train.options import TrainingOptions
from ichash_export.train.training import train
from milvus_ichash.errors import InputError

CLASSIFY, RECONSTRUCT, HASH = 0, 2, 3
"""An epoch of each stage under these settings."""
VARIANTS: list[dict[str, Any]] = [
    {},
    {"standardise_words": True},
    {"modality_dropout": 0.5},
    *map(dict, JCPMH.ablations.values()),
]
items = partial(train_data.items, unit=("text",))


model = partial(small, JCPMH)
trained = partial(small_methods.trained, model, [CLASSIFY, RECONSTRUCT, HASH])


# ---- the same arithmetic, in numpy


def reconstructed(f: GraphAutoencoder, features: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Eq. 2 and 3, with A~ divided by its row sums."""
    graph = np.array([row / row.sum() for row in squashed(labels, labels)])
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
    expected = squashed(array(labels), array(labels))
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
    h = hashed(jcpmh, whole, data)
    found = reconstructed(jcpmh.autoencoder, whole, labels)
    errors = [(found[m][i, d] - whole[m][i, d]) ** 2 for i in range(n) for m, size in dims.items() for d in range(size)]
    l_3 = 0.0
    for i, m in enumerate(dims):
        made = ~data.present[:, i].numpy()
        l_3 += cross_entropy(
            labels[made], sigmoid(by_numpy(jcpmh.classifiers[m], seen(jcpmh, m, whole[m][made], data)))
        )
    (losses,) = run(jcpmh, data, [HASH], jcpmh.optimizers())
    expected = {"L_s": similarity_loss(h, labels), "L_b": quantisation(h), "L_2": np.mean(errors), "L_3": l_3}
    assert losses == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}


def test_the_guides_teach_the_generators_alone() -> None:
    """L_2 and L_3 reach the generators through the fixed classifiers and autoencoder, and not the hashing network."""
    data = items()
    jcpmh = trained(data).train()
    for term in ("L_2", "L_3"):
        jcpmh.zero_grad()
        jcpmh.losses(data)[term].backward()
        reached = {name.split(".")[0] for name, p in jcpmh.named_parameters() if p.grad is not None and p.grad.any()}
        assert reached == {"generators"}, term


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_each_variant_has_its_terms(settings: dict[str, Any]) -> None:
    first, second, third = run(model(**settings), items(), [CLASSIFY, RECONSTRUCT, HASH])
    made = "completion" not in settings
    autoencoder, classifiers = made and settings.get("autoencoder", True), made and settings.get("classifiers", True)
    assert set(first) == ({"L_c"} if classifiers else set()) and set(second) == ({"L_r"} if autoencoder else set())
    assert set(third) == {"L_s", "L_b"} | ({"L_2"} if autoencoder else set()) | ({"L_3"} if classifiers else set())


# ---- stages


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


@pytest.mark.parametrize("needless", [{"autoencoder": False}, {"completion": "none"}, {"completion": "mean"}])
def test_variants_that_need_no_complete_item_train_without_one(needless: dict[str, Any]) -> None:
    trained(items(missing=1.0), **needless)


def test_a_modality_that_nobody_lacks_cannot_be_learnt() -> None:
    data = items()
    data.present[:, 0] = True
    with pytest.raises(InputError, match=r"none of the 40 lacks 'image'.*--pdr"):
        model().begin(data)
    for needless in ({"modality_dropout": 0.1}, {"completion": "none"}, {"completion": "mean"}):
        model(**needless).begin(data)


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


@pytest.mark.slow
def test_a_trained_model_becomes_a_bundle_and_guides_stay_behind(tmp_path: Path) -> None:
    """Export compares torch and onnxruntime for every presence pattern, of three views."""
    made = train(
        make_table(240, dims=VIEWS),
        "jcpmh",
        16,
        settings={**SMALL[JCPMH], "standardise_words": True},
        options=TrainingOptions(validation=0),
    )
    export_bundle(made, tmp_path / "bundle")
    graph = onnx.load(tmp_path / "bundle" / "encoder.onnx").graph
    sizes = {tuple(x.dims) for x in graph.initializer}
    kept, left = made.model.method.generators.pairs["image_to_text"][0], made.model.method.autoencoder.first
    assert {tuple(kept.weight.shape), tuple(kept.weight.T.shape)} & sizes
    assert not {tuple(left.weight.shape), tuple(left.weight.T.shape)} & sizes
