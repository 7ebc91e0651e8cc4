"""One case: what it trains on and is measured with, and its figures against the steps that a user would take."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.grids import dataset, tiny_case, write_splits
from support.tiny import plugin

from ichash_export.baselines.baseline import measure_baseline
from ichash_export.compare import measuring
from ichash_export.compare.case import BASELINE, FULL, Case, Protocol
from ichash_export.compare.dataset import Dataset
from ichash_export.compare.measuring import case_data, run_together
from ichash_export.methods import registry
from ichash_export.onnx.to_onnx import export_bundle
from ichash_export.train.options import TrainingOptions
from ichash_export.train.training import train
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.evaluate import evaluate
from milvus_ichash.evaluation.exact_retriever import ExactRetriever
from milvus_ichash.evaluation.result import EvaluationResult
from milvus_ichash.incomplete import partition_mask, pdr_mask
from milvus_ichash.io import ColumnNames, open_source
from milvus_ichash.runtime.encoder import HashEncoder

pytestmark = pytest.mark.usefixtures("tiny_methods")


def run(case: Case, data: Dataset) -> dict[str, Any]:
    """The figures of one case."""
    return run_together((case,), data)[0]


def _maps(result: EvaluationResult) -> Any:
    return pytest.approx({name: task.metrics["mAP@all"] for name, task in result.tasks.items()}, abs=1e-5)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_splits(tmp_path_factory.mktemp("running") / "items.npz", missing=0.1)


@pytest.fixture(scope="module")
def data(items: Path) -> Dataset:
    return dataset(items)


@pytest.fixture(scope="module")
def line(data: Dataset) -> dict[str, Any]:
    """The figures of `tiny` with seed 2 and a PDR of 0.5."""
    with plugin():
        return run(tiny_case(seed=2, pdr=0.5), data)


def test_the_figures_are_those_of_train_export_and_evaluate(line: dict[str, Any], items: Path, tmp_path: Path) -> None:
    columns = ColumnNames({"image": "I", "text": "T"})
    options = TrainingOptions(seed=2, pdr=0.5)
    trained = train(open_source(items, split="train", columns=columns).read(), "tiny", 16, options=options)
    manifest = export_bundle(trained, tmp_path / "bundle")
    encoder = HashEncoder.load(tmp_path / "bundle", device="cpu")
    database = ExactRetriever.encode(encoder, open_source(items, split="retrieval", columns=columns))
    result = evaluate(encoder, open_source(items, split="query", columns=columns).read(), database)
    assert line["fingerprint"] == manifest.fingerprint
    assert line["map"] == _maps(result)
    assert line["queries"] == {name: cell.queries for name, cell in result.tasks.items()}
    assert line["rows"] == dict.fromkeys(line["map"], 160)
    assert (line["kept_epoch"], line["epochs"], line["validation"]) == (4, 4, trained.validation_map)
    assert list(line["map"]) == ["both", "image", "text"]
    assert all(0.2 < value < 0.35 for value in line["random"].values())


@pytest.mark.slow
def test_one_training_serves_all_cuts_of_its_codes(
    items: Path, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"epochs": 1, "hidden": 8, "width": 8}
    whole = Case("unihash", FULL, 64, 0, Protocol(), settings)
    cut = [replace(whole, bits=bits, cut_from=64) for bits in (16, 32)]
    lines = run_together([cut[0], whole, cut[1]], data)
    assert len({line["fingerprint"] for line in lines}) == 1
    trained = train(data.train, "unihash", 64, settings=settings, options=whole.options())
    manifest = export_bundle(trained, tmp_path / "bundle")
    encoder = HashEncoder.load(tmp_path / "bundle", device="cpu")
    source = open_source(items, split="retrieval", columns=ColumnNames({"image": "I", "text": "T"}))
    for line, bits in zip(lines, (16, 64, 32), strict=True):
        result = evaluate(encoder, data.query, ExactRetriever.encode(encoder.cut(bits), source, ("image", "text")))
        assert line["map"] == _maps(result)
    assert len({line["map"]["both"] for line in lines}) == 3
    monkeypatch.setattr(measuring, "train", lambda *_, **__: trained)  # once more would take its time
    monkeypatch.setattr(
        measuring, "export_bundle", lambda _, folder: shutil.copytree(tmp_path / "bundle", folder) and manifest
    )
    assert run(cut[1], data)["map"] == pytest.approx(lines[2]["map"])


@pytest.mark.parametrize(("use", "part"), [("discard", "complete"), ("enhance", "complete"), ("extend", "observed")])
@pytest.mark.parametrize("how", [{"pdr": 0.4}, {"level": "easy"}])
def test_what_becomes_of_incomplete_rows(data: Dataset, use: str, part: str, how: dict) -> None:
    given = case_data(tiny_case(seed=5, use=use, **how), data)
    masks = {
        name: pdr_mask(table.present, 0.4, 5) if "pdr" in how else partition_mask(table.present, "easy", 5)
        for name, table in (("train", data.train), ("retrieval", data.retrieval))
    }
    np.testing.assert_array_equal(given.retrieval.present, masks["retrieval"])
    assert (given.part, given.query) == (part, data.query)
    complete = masks["train"].all(axis=1)
    assert 0 < complete.sum() < 120
    if use == "discard":
        assert given.train.ids.tolist() == data.train.ids[complete].tolist()
        assert (given.options.pdr, given.options.level, given.options.seed) == (0.0, None, 5)
    else:
        assert given.train is data.train
        assert given.options == tiny_case(seed=5, **how).options()


@pytest.mark.slow
def test_rows_that_take_part_are_counted(data: Dataset) -> None:
    mask = pdr_mask(data.retrieval.present, 0.4, 0)
    lines = {use: run(tiny_case("tiny-cross", pdr=0.4, use=use), data) for use in ("enhance", "extend")}
    assert lines["extend"]["rows"] == dict(zip(["image->text", "text->image"], mask.sum(0)[::-1].tolist(), strict=True))
    assert set(lines["enhance"]["rows"].values()) == {int(mask.all(axis=1).sum())}


@pytest.mark.slow
def test_queries_with_gaps_are_asked_with_what_they_have(data: Dataset) -> None:
    line = run(tiny_case(query_pdr=0.5), data)
    assert list(line["map"]) == ["observed"]


@pytest.mark.slow
def test_unseen_classes(data: Dataset) -> None:
    line = run(tiny_case(unseen=("class 1", "class 2")), data)
    asked = data.query.labels[:, 1:3].any(axis=1) & data.query.present.all(axis=1)
    assert line["queries"]["both"] == asked.sum()
    assert line["rows"]["both"] == 160
    assert (
        line["items"]["training_items"] + line["items"]["validation_items"]
        == (~data.train.labels[:, 1:3].any(axis=1)).sum()
    )
    # Two classes of four are relevant to themselves only, and the others to nothing.
    assert 0.15 < line["random"]["both"] < 0.35


@pytest.mark.slow
def test_hidden_labels_are_hidden_from_training_alone(line: dict[str, Any], data: Dataset) -> None:
    given = case_data(tiny_case(labelled=0.25, pdr=0.4), data)
    assert given.train.labelled is not None and given.train.labelled.sum() == math.ceil(len(data.train) / 4)
    assert given.query is data.query and given.retrieval is data.retrieval
    found = run(tiny_case(labelled=0.25), data)
    assert found["items"]["training_items"] + found["items"]["validation_items"] == math.ceil(
        len(data.train) / 4
    )  # it needs labels
    assert found["queries"] == line["queries"]


def test_a_baseline_learns_from_the_masked_items(data: Dataset) -> None:
    line = run(Case("pca-itq", BASELINE, 8, 3, Protocol(pdr=0.6)), data)
    masked = data.train.hide(pdr_mask(data.train.present, 0.6, 3))
    found = measure_baseline("pca-itq", train=masked, queries=data.query, database=data.retrieval, bits=8, seed=3)
    assert line["map"] == pytest.approx(found, abs=1e-5)
    assert line["items"] == {"training_items": 120, "complete_items": 48}
    assert list(line["random"]) == list(line["map"])


def test_a_baseline_searches_the_complete_rows_where_that_is_asked(data: Dataset) -> None:
    line = run(Case("cosine", BASELINE, 8, 0, Protocol(pdr=0.6, use="enhance", query_pdr=0.3)), data)
    database = data.retrieval.take(pdr_mask(data.retrieval.present, 0.6, 0).all(axis=1))
    queries = data.query.hide(pdr_mask(data.query.present, 0.3, 0))
    found = measure_baseline("cosine", train=data.train, queries=queries, database=database, bits=8, seed=0)
    assert line["map"] == pytest.approx(found, abs=1e-5)


def test_discarding_everything(data: Dataset) -> None:
    images = data.train.take(np.arange(3)).hide(np.array([[True, False]]))
    with pytest.raises(InputError, match="none of the 3 training items is complete"):
        case_data(tiny_case(pdr=0.9, use="discard"), Dataset("few", images, data.query, data.retrieval))


@pytest.mark.slow
def test_a_method_of_one_space_is_also_measured_from_one_modality_to_the_other(
    line: dict[str, Any], data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.load("tiny"), "one_space", True)
    found = run(tiny_case(seed=2, pdr=0.5), data)
    assert list(found["map"]) == ["both", "image", "text", "image->text", "text->image"]
    assert {name: found["map"][name] for name in line["map"]} == line["map"]
    assert "agreement" not in line
    assert 0.5 < found["agreement"] < 1, "more than by chance"


@pytest.mark.slow
def test_incomplete_queries_have_no_agreement_and_lose_nothing(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.load("tiny"), "one_space", True)
    gaps = np.arange(len(data.query))[:, None] % 2 == np.arange(2)
    line = run(tiny_case("tiny"), Dataset(data.name, data.train, data.query.hide(gaps), data.retrieval))
    assert "agreement" not in line and line["map"]["image"] > 0
