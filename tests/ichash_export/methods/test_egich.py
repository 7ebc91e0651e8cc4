"""EGICH against re-derivations of its terms in numpy, its words, its completion and variants, and on real data."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import make_table

from ichash_export.knowledge.knowledge import Knowledge, save_knowledge
from ichash_export.layers import FeatureScaling
from ichash_export.methods.base import ModelSpec, TrainData
from ichash_export.methods.batches import grouped_batches
from ichash_export.methods.egich.knowledge import centre_guides, class_guides, select
from ichash_export.methods.egich.losses import alignment, dice, soft_cross_entropy
from ichash_export.methods.egich.method import EGICH, EGICHConfig
from ichash_export.onnx.parity import compare_with_torch
from ichash_export.onnx.to_onnx import ExportGraph, to_onnx
from ichash_export.papers.recipes import load_recipe, recipe_names
from ichash_export.train import training
from ichash_export.train.checkpoint import load
from ichash_export.train.options import TrainingOptions
from ichash_export.train.trained_model import load_trained
from ichash_export.train.training import train
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.metrics import mean_average_precision

DIMS = {"image": 6, "text": 4}
VIEWS = {"image": 6, "text": 4, "sound": 5}
NAMES = ("kind=Red", "kind=Green", "kind=Blue")
SMALL = {"epochs": 4, "batch_size": 16, "hidden": 9, "width": 7, "words": 2, "dropout": 0.0}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"completion": "mean"},
    {"completion": "none"},
    {"gamma": 0},
    {"completion": "none", "gamma": 0},
    {"selection": "centres"},
    {"selection": "none"},
    {"together": True, "mixed": True},
    {"alpha": 0, "beta": 0},
]


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def made_knowledge(size: int = 5, names: tuple[str, ...] = NAMES, words: int = 12) -> Knowledge:
    rng = np.random.default_rng(3)
    rows = unit(rng.standard_normal((words + len(names), size)))
    return Knowledge(tuple(f"word{i}" for i in range(words)), rows[:words], names, rows[words:])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("knowledge") / "knowledge.npz"
    save_knowledge(path, made_knowledge())
    return str(path)


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


def model(
    file: str, dims: dict[str, int] = DIMS, names: tuple[str, ...] = NAMES, classes: int = 3, **settings: Any
) -> EGICH:
    torch.manual_seed(1)
    config = EGICHConfig(**{**SMALL, "knowledge": file, **settings})
    return EGICH(ModelSpec(dims, classes, 8, names, EGICH.input_sizes(config, None)), config)


def run(egich: EGICH, data: TrainData, epochs: int = 1) -> list[dict[str, float]]:
    egich.begin(data)
    optimizers = egich.optimizers()
    losses = []
    for epoch in range(epochs):
        torch.manual_seed(epoch)
        losses.append(egich.train_epoch(data, epoch, optimizers, torch.Generator().manual_seed(epoch)))
    return losses


def trained(file: str, data: TrainData, dims: dict[str, int] = DIMS, **settings: Any) -> EGICH:
    egich = model(file, dims, **settings)
    run(egich, data, 2)
    egich.finish(data)
    return egich.eval()


def array(x: torch.Tensor) -> np.ndarray:
    return x.detach().double().numpy()


# ---- the same arithmetic, in numpy


def cos(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def p_of(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float(a @ b) / (a.sum() + b.sum())


def cross_entropy(a: np.ndarray, b: np.ndarray, la: np.ndarray, lb: np.ndarray, tau: float) -> float:
    found = []
    for i in range(len(a)):
        for j in range(len(b)):
            p, q = p_of(la[i], lb[j]), 1 / (1 + np.exp(-cos(a[i], b[j]) / tau))
            found.append(-(p * np.log(q) + (1 - p) * np.log(1 - q)))
    return float(np.mean(found))


def divergence(h: np.ndarray, anchors: np.ndarray, theta: float) -> float:
    total = 0.0
    for i in range(len(h)):
        own = np.exp([cos(h[i], other) / theta for other in h])
        guided = np.exp([cos(h[i], other) / theta for other in anchors])
        own, guided = own / own.sum(), guided / guided.sum()
        total += float((guided * np.log(guided / own)).sum())
    return total / len(h)


def linear(layer: torch.nn.Linear, x: np.ndarray) -> np.ndarray:
    return x @ array(layer.weight).T + array(layer.bias)


def vectors(egich: EGICH) -> np.ndarray:
    """Eq. 1, class by class."""
    known = egich.knowledge
    found = []
    for words, gates in zip(array(known.words), array(known.gates), strict=True):
        shares = np.exp(gates) / np.exp(gates).sum()
        found.append(sum(share * word for share, word in zip(shares, words, strict=True)))
    return linear(known.adapter, np.array(found)) if isinstance(known.adapter, torch.nn.Linear) else np.array(found)


def completed(egich: EGICH, shares: np.ndarray) -> np.ndarray:
    """Eq. 2, item by item."""
    k = vectors(egich)
    return np.array([sum(w * v for w, v in zip(row, k, strict=True)) / row.sum() for row in shares])


def code(egich: EGICH, m: str, f: np.ndarray) -> np.ndarray:
    return np.tanh(linear(egich.networks[m].hash_head, f))


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
def test_the_loss_is_that_of_the_equations(dims: dict[str, int], completion: str, file: str) -> None:
    data = items(20, dims)
    egich = trained(file, data, dims, completion=completion)
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
        guess = 1 / (1 + np.exp(-linear(egich.networks[m].label_head, f[m][rows])))
        expected["L_label"] += float(-np.mean(there * np.log(guess) + (1 - there) * np.log(1 - guess)))
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-4)


def test_the_weights_are_those_of_the_settings(file: str) -> None:
    names = ("L_align", "L_intra", "L_inter", "L_quant", "L_label")
    parts = {name: torch.tensor(10.0**i) for i, name in enumerate(names)}
    given = model(file, gamma=2, alpha=3, beta=4, quantisation=5, label_loss=6)
    assert given.objective(parts).item() == pytest.approx(2 + 30 + 400 + 5000 + 60000)
    assert model(file).objective(parts).item() == pytest.approx(1 + 150 + 500 + 1000 + 10000)


def test_only_what_learns_changes(file: str) -> None:
    data = items()
    egich = model(file)
    egich.begin(data)
    egich.train()
    terms, _ = egich.coded_losses(data, egich.state["B"], ("text",))
    egich.objective(terms).backward()
    assert all(p.grad is None for p in egich.networks["image"].encoder.parameters())
    assert all(p.grad is not None for p in egich.networks["text"].parameters())
    assert egich.knowledge.words.grad.abs().sum() > 0 and egich.knowledge.gates.grad.abs().sum() > 0


def test_codes_that_all_share_are_signs_of_sums(file: str) -> None:
    data = items()
    egich = model(file, learning_rate=(1e-12, 1e-12), together=True, mixed=True, batch_size=40)
    run(egich, data, 1)
    # Nothing has changed to speak of: the codes are those of one pass in training mode over the one batch.
    egich.train()
    _, h = egich.coded_losses(data, egich.state["B"], tuple(DIMS))
    total = array(sum(h.values()))
    sure = np.abs(total) > 1e-4
    np.testing.assert_array_equal(array(egich.state["B"])[sure], np.where(total > 0, 1, -1)[sure])


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_every_variant_lowers_its_loss(settings: dict[str, Any], file: str) -> None:
    data = items(60)
    egich = model(file, learning_rate=(1e-2, 1e-3), epochs=25, **settings)
    losses = run(egich, data, 25)
    weighed = [egich.objective({k: torch.tensor(v) for k, v in epoch.items()}).item() for epoch in losses]
    assert weighed[-1] < weighed[0]
    for name in ("L_intra", "L_inter") if settings.get("alpha") != 0 else ("L_label",):
        assert losses[-1][name] < losses[0][name]


# ---- words


def test_each_class_keeps_the_words_it_is_surest_of() -> None:
    rng = np.random.default_rng(5)
    guides, words = unit(rng.standard_normal((4, 6))), unit(rng.standard_normal((30, 6)))
    similarity = guides @ words.T
    shares = np.exp(similarity) / np.exp(similarity).sum(0)
    expected = []
    for c in range(4):
        own = sorted((j for j in range(30) if shares[:, j].argmax() == c), key=lambda j: -shares[c, j])
        rest = sorted((j for j in range(30) if j not in own), key=lambda j: -similarity[c, j])
        expected.append((own + rest)[:9])
    assert any(len([j for j in range(30) if shares[:, j].argmax() == c]) < 9 for c in range(4)), (
        "a class must fall short"
    )
    assert select(torch.tensor(guides), torch.tensor(words), 9).tolist() == expected


def test_words_are_chosen_by_the_names_of_the_classes(file: str) -> None:
    egich, known = model(file), made_knowledge()
    egich.begin(items())
    expected = select(torch.tensor(known.class_embeddings), torch.tensor(known.embeddings), 2)
    assert torch.equal(egich.state["chosen"], expected)
    np.testing.assert_array_equal(egich.knowledge.words.detach().numpy(), known.embeddings[expected.numpy()])
    other = model(file, names=NAMES[::-1])
    other.begin(items())
    assert torch.equal(other.state["chosen"], expected.flip(0)), "names are looked up, whatever the file's order"


def test_words_are_chosen_by_the_centres_of_the_classes(file: str) -> None:
    data, known = items(), made_knowledge()
    egich = model(file, selection="centres").eval()
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
    expected = select(torch.tensor(np.array(centres)), torch.tensor(filled).double(), 2)
    egich.train().begin(data)
    assert torch.equal(egich.state["chosen"], expected) and egich.training


def test_a_class_without_an_item_goes_by_its_name() -> None:
    known, features = made_knowledge(), torch.randn(6, 7)
    labels = torch.tensor([[1.0, 0, 0]] * 3 + [[1.0, 0, 1]] * 3)
    guides = centre_guides(features, labels, known, NAMES)
    np.testing.assert_allclose(guides[1], np.pad(known.class_embeddings[1], (0, 2)))
    torch.testing.assert_close(guides[0], features.mean(0))
    torch.testing.assert_close(guides[2], features[3:].mean(0))
    with pytest.raises(InputError, match="'kind=Grey'"):
        centre_guides(features, labels, known, ("a", "kind=Grey", "b"))
    with pytest.raises(InputError, match="number 1"):
        centre_guides(features, labels, known, ())


def test_a_class_without_an_item_breaks_nothing(file: str) -> None:
    data = items()
    unseen = data.labels.clone()
    unseen[:, 2] = 0
    unseen[unseen.sum(1) == 0, 0] = 1
    for selection in ("names", "centres", "none"):
        egich = trained(file, TrainData(data.features, data.present, unseen), selection=selection)
        assert all(h.isfinite().all() for h in egich.encode(data.features, data.present).values())


def test_what_selection_by_names_needs(file: str) -> None:
    with pytest.raises(InputError, match="selection=centres"):
        model(file, names=()).begin(items())
    with pytest.raises(InputError, match=r"'kind=Grey'.*--classes"):
        class_guides(made_knowledge(), ("kind=Red", "kind=Grey"), 2)


def test_knowledge_that_is_not_there(tmp_path: Path, file: str) -> None:
    with pytest.raises(InputError, match=r"knowledge build .*selection=none"):
        model(str(tmp_path / "none.npz"))
    model(str(tmp_path / "none.npz"), selection="none")
    model(str(tmp_path / "none.npz"), completion="none", gamma=0)
    with pytest.raises(InputError, match="has 12"):
        model(file, words=13)
    with pytest.raises(InputError, match="at least two"):
        model(file, {"text": 4})
    one = items()
    one.present[:, 0] = torch.arange(40) == 0
    with pytest.raises(InputError, match="'image'"):
        model(file).begin(one)


def test_embeddings_as_wide_as_features_need_no_adapter(tmp_path: Path) -> None:
    save_knowledge(tmp_path / "k.npz", made_knowledge(size=7))
    assert isinstance(model(str(tmp_path / "k.npz")).knowledge.adapter, torch.nn.Identity)


# ---- codes


@pytest.mark.parametrize(("dims", "sharpness"), [(DIMS, 1), (DIMS, 3), (VIEWS, 1)])
def test_what_is_missing_is_completed_by_predicted_classes(dims: dict[str, int], sharpness: float, file: str) -> None:
    data = items(dims=dims)
    egich = trained(file, data, dims, sharpness=sharpness)
    found = egich.encode(data.features, data.present)
    f = {m: array(egich.networks[m].encoder(x)) for m, x in data.features.items()}
    guess = {m: 1 / (1 + np.exp(-linear(egich.networks[m].label_head, x))) for m, x in f.items()}
    present = data.present.numpy()
    shares = np.array(
        [np.mean([guess[m][i] for j, m in enumerate(dims) if present[i, j]], axis=0) for i in range(len(data))]
    )
    for j, m in enumerate(dims):
        expected = code(egich, m, np.where(present[:, j : j + 1], f[m], completed(egich, shares**sharpness)))
        np.testing.assert_allclose(array(found[f"{m}_code"]), expected, atol=1e-5)


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_a_row_alone_and_in_a_batch_has_the_same_code(settings: dict[str, Any], file: str) -> None:
    data = items()
    egich = trained(file, data, **settings)
    whole = egich.encode(data.features, data.present)
    for i in range(0, len(data), 7):
        alone = egich.encode({m: x[i : i + 1] for m, x in data.features.items()}, data.present[i : i + 1])
        for name, h in whole.items():
            torch.testing.assert_close(alone[name][0], h[i], atol=1e-5, rtol=0)
            assert torch.equal((alone[name][0] > 0)[h[i].abs() > 1e-4], (h[i] > 0)[h[i].abs() > 1e-4])
    completion = settings.get("completion", "knowledge")
    absent = whole["text_code"][~data.present[:, 1]]
    size, spread = absent.abs().max().item(), (absent - absent[0]).abs().max().item()
    # Measured: sizes of 0.31 to 0.43, spreads of 0.007 to 0.016; rows that share a code differ by 3e-8.
    assert (size < 1e-6) == (completion == "none")
    assert (spread < 1e-5) == (completion in ("mean", "none"))
    assert completion in {"knowledge": "knowledge", "mean": "mean", "none": "none"} and egich.completion()


def test_an_export_has_the_same_bits(file: str) -> None:
    table = make_table(classes=3)
    done = train(table_with_names(table), "egich", 16, settings={**SMALL, "knowledge": file, "hidden": 16, "width": 12})
    compare_with_torch(done.model, to_onnx(ExportGraph(done.model).eval()), dims=table.dims)


def table_with_names(table: Any) -> Any:
    from dataclasses import replace

    return replace(table, label_names=NAMES)


def test_neither_resuming_nor_exporting_needs_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run keeps its words; a file of another size is refused."""
    monkeypatch.setattr(training, "CHECKPOINT_SHARE", 1e9)
    path, table = tmp_path / "knowledge.npz", table_with_names(make_table(classes=3))
    save_knowledge(path, made_knowledge())
    given: dict[str, Any] = {
        "settings": {**SMALL, "knowledge": str(path)},
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
    for name, x in whole.model.state_dict().items():
        assert torch.equal(x, resumed.model.state_dict()[name]), name
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


def test_completion_helps_on_fashion(shared_data: Path, tmp_path: Path) -> None:
    """1,200 products, most with one modality; among 600 others, completed codes of one modality search observed ones of the other."""
    source = np.load(shared_data / "fashion" / "fashion.npz")
    known, held = source["train"][:1200], source["train"][1200:1800]
    raw = {"image": source["I_db"], "text": source["T_db"]}
    order = torch.randperm(1200, generator=torch.Generator().manual_seed(0))
    present = torch.ones(1200, 2, dtype=torch.bool)
    present[order[:540], 0], present[order[540:1080], 1] = False, False
    features, searched = {}, {}
    for i, (m, x) in enumerate(raw.items()):
        seen, new = (torch.from_numpy(x[rows].astype(np.float32)) for rows in (known, held))
        scaling = FeatureScaling(x.shape[1])
        scaling.fit_standard(seen[present[:, i]])
        features[m], searched[m] = scaling(seen, present[:, i]), scaling(new, torch.ones(600, dtype=torch.bool))
    data = TrainData(features, present, torch.from_numpy(source["L_db"][known].astype(np.float32)))
    labels = source["L_db"][held].astype(np.uint8)
    names = tuple(map(str, source["labels"]))
    save_knowledge(tmp_path / "k.npz", made_knowledge(64, names, 400))

    def mean_ap(**settings: Any) -> dict[str, float]:
        sizes = {"hidden": 256, "width": 128, "words": 5, "dropout": 0.5}
        faster = {
            "epochs": 12,
            "batch_size": 64,
            "together": True,
            "mixed": True,
            "weight_decay": 3e-3,
            "learning_rate": (3e-3, 1e-4),
        }
        weights = {"alpha": 10, "beta": 15, "gamma": 3, "quantisation": 20, "label_loss": 5, "tau": 0.5, "sharpness": 4}
        torch.manual_seed(0)
        config = EGICHConfig(**sizes, **faster, **weights, knowledge=str(tmp_path / "k.npz"), **settings)
        egich = EGICH(ModelSpec({"image": 1280, "text": 1000}, 43, 32, names, {"knowledge": 64}), config)
        run(egich, data, 12)
        egich.finish(data)
        egich.eval()

        def bits(image: bool, text: bool, name: str) -> np.ndarray:
            there = torch.tensor([[image, text]]).expand(600, 2)
            x = {m: x * there[:, i : i + 1] for i, (m, x) in enumerate(searched.items())}
            return np.packbits(egich.encode(x, there)[name].detach().numpy() > 0, axis=1)

        pictures, words = bits(True, True, "image_code"), bits(True, True, "text_code")
        queries = {"i2t": (pictures, words), "t2i": (words, pictures)}
        queries |= {"t2t": (bits(True, False, "text_code"), words), "i2i": (bits(False, True, "image_code"), pictures)}
        return {task: mean_average_precision(q, d, labels, labels) for task, (q, d) in queries.items()}

    found, without = mean_ap(), mean_ap(completion="none")
    chance = np.mean(labels @ labels.T > 0)
    assert min(found.values()) > 1.5 * chance, (found, chance)
    # What nothing completes has all zero bits: one ranking for every query.
    assert found["t2t"] > without["t2t"] + 0.1 and found["i2i"] > without["i2i"] + 0.1, (found, without)


# ---- recipes


def test_recipes_fit_the_settings() -> None:
    names = recipe_names("egich")
    assert {name.split("/")[1] for name in names} >= {"mirflickr25k", "nuswide", "mscoco", "fashion", "openclipart"}
    for name in names:
        recipe = load_recipe(name)
        assert recipe.method == "egich"
        EGICHConfig(**recipe.settings)


@pytest.mark.parametrize(
    ("name", "weights"), [("mirflickr25k", (1, 15, 5)), ("mscoco", (1, 2, 5)), ("nuswide", (1, 7.5, 5))]
)
def test_published_weights(name: str, weights: tuple[float, float, float]) -> None:
    config = EGICHConfig(**load_recipe(f"egich/{name}").settings)
    assert (config.gamma, config.alpha, config.beta) == weights
    assert (config.epochs, config.batch_size, config.words, config.tau, config.theta) == (150, 64, 5, 0.29, 0.5)
