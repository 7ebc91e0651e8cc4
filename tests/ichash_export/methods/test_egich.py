"""EGICH against re-derivations of its terms in numpy, its words, its completion and variants, and on real data."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import small_methods
from support.by_numpy import array, by_numpy, cos, sigmoid, softmax
from support.by_numpy import cross_entropy as bce
from support.knowledge import CLASSES, made_knowledge, unit
from support.real_data import fashion
from support.small_methods import SMALL, small
from support.tiny import make_table
from support.train_data import DIMS, VIEWS, items, run, same_weights

from ichash_export.knowledge.knowledge import save_knowledge
from ichash_export.methods.base import TrainData
from ichash_export.methods.batches import grouped_batches
from ichash_export.methods.egich.knowledge import centre_guides, class_guides, select
from ichash_export.methods.egich.losses import alignment, dice, soft_cross_entropy
from ichash_export.methods.egich.method import EGICH, EGICHConfig
from ichash_export.train import training
from ichash_export.train.checkpoint import load
from ichash_export.train.options import TrainingOptions
from ichash_export.train.trained_model import load_trained
from ichash_export.train.training import train
from milvus_ichash.errors import InputError

model = partial(small, EGICH, names=CLASSES)
trained = partial(small_methods.trained, model, [0, 1])


# ---- the same arithmetic, in numpy


def p_of(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float(a @ b) / (a.sum() + b.sum())


def cross_entropy(a: np.ndarray, b: np.ndarray, la: np.ndarray, lb: np.ndarray, tau: float) -> float:
    found = []
    for i in range(len(a)):
        for j in range(len(b)):
            p, q = p_of(la[i], lb[j]), sigmoid(cos(a[i], b[j]) / tau)
            found.append(-(p * np.log(q) + (1 - p) * np.log(1 - q)))
    return float(np.mean(found))


def divergence(h: np.ndarray, anchors: np.ndarray, theta: float) -> float:
    total = 0.0
    for i in range(len(h)):
        own, guided = (softmax([cos(h[i], other) / theta for other in others]) for others in (h, anchors))
        total += float((guided * np.log(guided / own)).sum())
    return total / len(h)


def vectors(egich: EGICH) -> np.ndarray:
    """Eq. 1, class by class."""
    known = egich.knowledge
    found = []
    for words, gates in zip(array(known.words), array(known.gates), strict=True):
        found.append(sum(share * word for share, word in zip(softmax(gates), words, strict=True)))
    return by_numpy(known.adapter, np.array(found))


def completed(egich: EGICH, shares: np.ndarray) -> np.ndarray:
    """Eq. 2, item by item."""
    k = vectors(egich)
    return np.array([sum(w * v for w, v in zip(row, k, strict=True)) / row.sum() for row in shares])


def code(egich: EGICH, m: str, f: np.ndarray) -> np.ndarray:
    return np.tanh(by_numpy(egich.networks[m].hash_head, f))


# ---- equations


def test_terms_are_the_equations() -> None:
    rng = np.random.default_rng(0)
    h, other, la, lb = (
        rng.standard_normal((5, 8)),
        rng.standard_normal((4, 8)),
        rng.random((5, 3)) < 0.6,
        rng.random((4, 3)) < 0.6,
    )
    la[:, 0] = lb[:, 1] = True
    la, lb = la.astype(float), lb.astype(float)
    p = dice(torch.tensor(la), torch.tensor(lb))
    np.testing.assert_allclose(array(p), [[p_of(a, b) for b in lb] for a in la])
    found = soft_cross_entropy(torch.tensor(h), torch.tensor(other), p, 0.29)
    assert found.item() == pytest.approx(cross_entropy(h, other, la, lb, 0.29))
    anchors = rng.standard_normal((5, 8))
    assert alignment(torch.tensor(h), torch.tensor(anchors), 0.5).item() == pytest.approx(divergence(h, anchors, 0.5))
    assert alignment(torch.tensor(h), torch.tensor(h), 0.5).item() == pytest.approx(0, abs=1e-12)
    assert dice(torch.zeros(1, 3), torch.zeros(2, 3)).tolist() == [[0, 0]]


@pytest.mark.parametrize("dims", [DIMS, VIEWS])
@pytest.mark.parametrize("completion", ["knowledge", "mean", "none"])
def test_the_loss_is_that_of_the_equations(dims: dict[str, int], completion: str) -> None:
    data = items(20, dims)
    egich = trained(data, dims, completion=completion)
    b = egich.state["B"]
    terms, h = egich.coded_losses(data, b, tuple(dims))
    labels, present, names = array(data.labels), data.present.numpy(), list(dims)
    f = {m: array(egich.networks[m].encoder(x)) for m, x in data.features.items()}
    stand_in = completed(egich, labels)
    codes = {}
    for i, m in enumerate(names):
        filled = f[m].copy()
        filled[~present[:, i]] = stand_in[~present[:, i]] if completion == "knowledge" else array(egich.means)[i]
        codes[m] = code(egich, m, filled)
        if completion == "none":
            codes[m][~present[:, i]] = 0
        np.testing.assert_allclose(array(h[m]), codes[m], atol=1e-5)
    expected = dict.fromkeys(terms, 0.0)
    for i, m in enumerate(names):
        rows = present[:, i]
        own, there = codes[m][rows], labels[rows]
        for j, k in enumerate(names):
            if k != m:
                facing = present[:, j] if completion == "none" else np.ones(len(data), bool)
                anchors = code(egich, k, stand_in)[rows]
                expected["L_align"] += divergence(own, anchors, 0.5) / (len(names) - 1)
                expected["L_inter"] += cross_entropy(own, codes[k][facing], there, labels[facing], 0.29) / (
                    len(names) - 1
                )
        expected["L_intra"] += cross_entropy(own, own, there, there, 0.29)
        expected["L_quant"] += float(np.mean((own / np.linalg.norm(own, axis=1, keepdims=True) - array(b)[rows]) ** 2))
        expected["L_label"] += bce(there, sigmoid(by_numpy(egich.networks[m].label_head, f[m][rows])))
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-4)


def test_only_what_learns_changes() -> None:
    data = items()
    egich = model()
    egich.begin(data)
    egich.train()
    terms, _ = egich.coded_losses(data, egich.state["B"], ("text",))
    egich.objective(terms).backward()
    assert all(p.grad is None for p in egich.networks["image"].encoder.parameters())
    assert all(p.grad is not None for p in egich.networks["text"].parameters())
    assert egich.knowledge.words.grad.abs().sum() > 0 and egich.knowledge.gates.grad.abs().sum() > 0


def test_codes_that_all_share_are_signs_of_sums() -> None:
    data = items()
    egich = model(learning_rate=(1e-12, 1e-12), together=True, mixed=True, batch_size=40)
    run(egich, data, [0])
    # Nothing has changed to speak of: the codes are those of one pass in training mode over the one batch.
    egich.train()
    _, h = egich.coded_losses(data, egich.state["B"], tuple(DIMS))
    total = array(sum(h.values()))
    sure = np.abs(total) > 1e-4
    np.testing.assert_array_equal(array(egich.state["B"])[sure], np.where(total > 0, 1, -1)[sure])


# ---- words


def test_each_class_keeps_the_words_it_is_surest_of() -> None:
    rng = np.random.default_rng(5)
    guides, words = unit(rng.standard_normal((4, 6))), unit(rng.standard_normal((30, 6)))
    similarity = guides.astype(float) @ words.T
    shares = np.array([softmax(column) for column in similarity.T]).T
    expected = []
    for c in range(4):
        own = sorted((j for j in range(30) if shares[:, j].argmax() == c), key=lambda j: -shares[c, j])
        rest = sorted((j for j in range(30) if j not in own), key=lambda j: -similarity[c, j])
        expected.append((own + rest)[:9])
    assert any(len([j for j in range(30) if shares[:, j].argmax() == c]) < 9 for c in range(4)), (
        "a class must fall short"
    )
    assert select(torch.tensor(guides).double(), torch.tensor(words).double(), 9).tolist() == expected


def test_words_are_chosen_by_the_names_of_the_classes() -> None:
    egich, known = model(), made_knowledge()
    egich.begin(items())
    expected = select(torch.tensor(known.class_embeddings), torch.tensor(known.embeddings), 2)
    assert torch.equal(egich.state["chosen"], expected)
    np.testing.assert_array_equal(egich.knowledge.words.detach().numpy(), known.embeddings[expected.numpy()])
    other = model(names=CLASSES[::-1])
    other.begin(items())
    assert torch.equal(other.state["chosen"], expected.flip(0)), "names are looked up, whatever the file's order"


def test_words_are_chosen_by_the_centres_of_the_classes() -> None:
    data, known = items(), made_knowledge()
    egich = model(selection="centres").eval()
    centres = []
    for c in range(3):
        total = []
        for i in data.labels[:, c].nonzero().flatten().tolist():
            own = [
                egich.networks[m].encoder(data.features[m][i : i + 1]) for j, m in enumerate(DIMS) if data.present[i, j]
            ]
            total.append(np.mean([array(f)[0] for f in own], axis=0))
        centres.append(np.mean(total, axis=0))
    filled = np.pad(known.embeddings, ((0, 0), (0, 2)))  # 5 numbers against the 7 of the features
    # Measured: centres may be off by a thousandth of their size, and the words are the same.
    expected = select(torch.tensor(np.array(centres)), torch.tensor(filled).double(), 2)
    egich.train().begin(data)
    assert torch.equal(egich.state["chosen"], expected) and egich.training


def test_a_class_without_an_item_goes_by_its_name() -> None:
    known, features = made_knowledge(), torch.randn(6, 7)
    labels = torch.tensor([[1.0, 0, 0]] * 3 + [[1.0, 0, 1]] * 3)
    guides = centre_guides(features, labels, known, CLASSES)
    np.testing.assert_allclose(guides[1], np.pad(known.class_embeddings[1], (0, 2)))
    torch.testing.assert_close(guides[0], features.mean(0))
    torch.testing.assert_close(guides[2], features[3:].mean(0))
    with pytest.raises(InputError, match="'kind=Grey'"):
        centre_guides(features, labels, known, ("a", "kind=Grey", "b"))
    with pytest.raises(InputError, match="number 1"):
        centre_guides(features, labels, known, ())


def test_a_class_without_an_item_breaks_nothing() -> None:
    data = items()
    unseen = data.labels.clone()
    unseen[:, 2] = 0
    unseen[unseen.sum(1) == 0, 0] = 1
    for selection in ("names", "centres", "none"):
        egich = trained(TrainData(data.features, data.present, unseen), selection=selection)
        assert all(h.isfinite().all() for h in egich.encode(data.features, data.present).values())


def test_what_selection_by_names_needs() -> None:
    with pytest.raises(InputError, match=r"'kind=Grey'.*--classes"):
        class_guides(made_knowledge(), ("kind=Red", "kind=Grey"), 2)


def test_a_modality_of_one_item_is_named() -> None:
    one = items()
    one.present[:, 0] = torch.arange(40) == 0
    with pytest.raises(InputError, match="'image'"):
        model().begin(one)


def test_embeddings_as_wide_as_features_need_no_adapter(tmp_path: Path) -> None:
    save_knowledge(tmp_path / "k.npz", made_knowledge(size=7))
    assert isinstance(model(knowledge=str(tmp_path / "k.npz")).knowledge.adapter, torch.nn.Identity)


# ---- codes


@pytest.mark.parametrize(("dims", "sharpness"), [(DIMS, 1), (DIMS, 3), (VIEWS, 1)])
def test_what_is_missing_is_completed_by_predicted_classes(dims: dict[str, int], sharpness: float) -> None:
    data = items(dims=dims)
    egich = trained(data, dims, sharpness=sharpness)
    found = egich.encode(data.features, data.present)
    f = {m: array(egich.networks[m].encoder(x)) for m, x in data.features.items()}
    guess = {m: sigmoid(by_numpy(egich.networks[m].label_head, x)) for m, x in f.items()}
    present = data.present.numpy()
    shares = np.array(
        [np.mean([guess[m][i] for j, m in enumerate(dims) if present[i, j]], axis=0) for i in range(len(data))]
    )
    for j, m in enumerate(dims):
        expected = code(egich, m, np.where(present[:, j : j + 1], f[m], completed(egich, shares**sharpness)))
        np.testing.assert_allclose(array(found[f"{m}_code"]), expected, atol=1e-5)


def test_neither_resuming_nor_exporting_needs_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run keeps its words; a file of another size is refused."""
    monkeypatch.setattr(training, "CHECKPOINT_SHARE", 1e9)
    path, table = tmp_path / "knowledge.npz", replace(make_table(120, classes=3), label_names=CLASSES)
    save_knowledge(path, made_knowledge())
    given: dict[str, Any] = {
        "settings": {**SMALL[EGICH], "knowledge": str(path)},
        "options": TrainingOptions(validate_every=1),
    }
    whole = train(table, "egich", 16, **given)

    class StopError(Exception):
        pass

    def stop(report: Any) -> None:
        if report.epoch == 2:
            raise StopError

    with pytest.raises(StopError):
        train(table, "egich", 16, **given, run=tmp_path / "run", progress=stop)
    assert load(tmp_path / "run" / "checkpoint.safetensors").record.sizes.inputs == {"knowledge": 5}
    save_knowledge(path, made_knowledge(size=6))
    with pytest.raises(InputError, match=r"size 5.*size 6"):
        train(table, "egich", 16, **given, run=tmp_path / "run", resume=True)
    path.unlink()
    resumed = train(table, "egich", 16, **given, run=tmp_path / "run", resume=True)
    same_weights(resumed.model.state_dict(), whole.model.state_dict())
    assert load_trained(tmp_path / "run").model.spec.inputs == {"knowledge": 5}
    with pytest.raises(InputError, match="knowledge build"):
        train(table, "egich", 16, **given, run=tmp_path / "other")


@pytest.mark.parametrize("needed", [[0], [1], [0, 1]])
def test_batches_are_those_that_have_what_learns(needed: list[int]) -> None:
    present = items(50).present
    parts = grouped_batches(present, needed, 16, torch.Generator().manual_seed(0), mixed=False)
    assert torch.equal(torch.cat(parts).sort().values, present[:, needed].any(1).nonzero().flatten())
    kinds = [present[part].unique(dim=0).tolist() for part in parts]
    assert all(len(kind) == 1 for kind in kinds) and kinds[0] == [[True, True]]
    together = grouped_batches(present, needed, 16, torch.Generator().manual_seed(0), mixed=True)
    assert max(map(len, together)) == 16 and len(present[together[0]].unique(dim=0)) > 1
    assert [len(part) for part in grouped_batches(present[:3], needed, 2, torch.Generator(), mixed=True)] == [2], (
        "no batch of one"
    )


# ---- real data


@pytest.mark.slow
def test_completion_helps_on_fashion(shared_data: Path, tmp_path: Path) -> None:
    """Most of 1,200 products have one modality; among 600 others, completed codes search observed ones."""
    data = fashion(shared_data, held=600, missing=0.9)
    save_knowledge(tmp_path / "k.npz", made_knowledge(64, data.label_names, 400))
    sizes = {"hidden": 256, "width": 128, "words": 5, "dropout": 0.5, "knowledge": str(tmp_path / "k.npz")}
    faster = {"epochs": 12, "batch_size": 64, "together": True, "mixed": True, "learning_rate": (3e-3, 1e-4)}
    weights = {"alpha": 10, "beta": 15, "gamma": 3, "quantisation": 20, "label_loss": 5, "weight_decay": 3e-3}

    def mean_ap(**chosen: Any) -> dict[str, float]:
        egich = data.trained(EGICH, EGICHConfig(tau=0.5, sharpness=4, **sizes, **faster, **weights, **chosen))
        image, text = (data.codes(egich, *DIMS, output=f"{m}_code") for m in DIMS)
        made_text, made_image = (
            data.codes(egich, "image", output="text_code"),
            data.codes(egich, "text", output="image_code"),
        )
        queries = {"i2t": (image, text), "t2i": (text, image), "t2t": (made_text, text), "i2i": (made_image, image)}
        return {task: data.mean_ap(*pair) for task, pair in queries.items()}

    found, without = mean_ap(), mean_ap(completion="none")
    # Measured: 0.45 at least; 0.13 and 0.17 more than without; by chance 0.25.
    assert min(found.values()) > 1.5 * data.chance, (found, data.chance)
    # What nothing completes has all zero bits: one ranking for every query.
    assert found["t2t"] > without["t2t"] + 0.05 and found["i2i"] > without["i2i"] + 0.05, (found, without)
