"""Evaluations that can be followed by hand: which queries and rows count, and what the figures are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ranking_oracle as oracle
from support.evaluations import assert_same_figures, in_memory
from support.labelled_items import ingest, items, write_npz
from support.old_collection import old_collection

from milvus_ichash.errors import InputError, MismatchError
from milvus_ichash.evaluation.evaluate import evaluate
from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
from milvus_ichash.evaluation.exact_retriever import ExactRetriever
from milvus_ichash.evaluation.metrics import mean_average_precision
from milvus_ichash.evaluation.milvus_retriever import MilvusRetriever
from milvus_ichash.features import FeatureTable
from milvus_ichash.incomplete import pdr_mask
from milvus_ichash.index.connection import Connection
from milvus_ichash.io import open_source
from milvus_ichash.runtime.encoder import HashEncoder

MakeBundle = Callable[..., Path]
PAIRS = (("image", "text"), ("text", "image"))


@pytest.mark.parametrize("part", ["observed", "all", "complete"])
def test_cross_modal_figures_pair_by_pair(cross_encoder: HashEncoder, part: str) -> None:
    table, queries = items(60, gaps=0.5), items(15, seed=1, gaps=0.5)
    result = evaluate(cross_encoder, queries, in_memory(cross_encoder, table), settings=EvaluationSettings(part=part))
    for source, target in PAIRS:
        rows = {
            "observed": table.present[:, int(target == "text")],
            "all": np.ones(60, bool),
            "complete": table.present.all(axis=1),
        }[part]
        asked = queries.only(source)
        codes = cross_encoder.encode_table(asked)[f"{source}_code"]
        stored = cross_encoder.encode_table(table)[f"{target}_code"][rows]
        values = oracle.expected_aps(codes, stored, asked.labels, table.labels[rows])
        found = result.tasks[f"{source}->{target}"]
        # Training validates by this function.
        metric = mean_average_precision(codes, stored, asked.labels, table.labels[rows])
        assert (found.metrics["mAP@all"], metric) == pytest.approx((np.mean(values),) * 2, abs=1e-12)
        assert (found.queries, found.rows) == (len(values), rows.sum())
        assert (found.without_modality, found.without_relevant) == (15 - len(asked), len(asked) - len(values))
        assert len(asked) < 15


@pytest.mark.parametrize("part", ["observed", "all", "complete"])
def test_one_space_figures_pair_by_pair(fused_encoder: HashEncoder, tmp_path: Path, part: str) -> None:
    """Queries are made from the picture alone, the database from the words alone, whatever else its rows have."""
    table, queries = items(60, gaps=0.5), items(15, seed=1, gaps=0.5)
    source_file = open_source(write_npz(tmp_path / "items.npz", table))
    result, usual = (
        evaluate(
            fused_encoder,
            queries,
            ExactRetriever.encode(fused_encoder, source_file, single),
            settings=EvaluationSettings(part=part),
        ).tasks
        for single in (["text", "image"], [])
    )
    assert list(result) == ["both", "image", "text", "image->text", "text->image"]
    for source, target in PAIRS:
        rows = table.take(table.present.all(axis=1)) if part == "complete" else table.only(target)
        stored, asked = fused_encoder.encode_table(rows.only(target))["code"], queries.only(source)
        values = oracle.expected_aps(fused_encoder.encode_table(asked)["code"], stored, asked.labels, rows.labels)
        found = result[f"{source}->{target}"]
        assert found.metrics["mAP@all"] == pytest.approx(np.mean(values), abs=1e-12)
        assert (found.queries, found.rows) == (len(values), len(rows))
    assert_same_figures(usual, {name: result[name] for name in ("both", "image", "text")})


def test_fused_figures_rank_by_rank(make_bundle: MakeBundle) -> None:
    """Every metric of stable ties, from lists sorted by (distance, id)."""
    encoder = HashEncoder.load(make_bundle(bits=8))
    table, queries = items(80, gaps=0.3), items(12, seed=1, gaps=0)
    settings = EvaluationSettings(ties="stable", at_k=(5,))
    found = evaluate(encoder, queries, in_memory(encoder, table), tasks=["text"], settings=settings).tasks["text"]
    stored, asked = encoder.encode_table(table)["code"], queries.only("text")
    values: dict[str, list[float]] = {name: [] for name in found.metrics}
    near_nothing = 0
    for code, labels in zip(encoder.encode_table(asked)["code"], asked.labels, strict=True):
        ranked = sorted(
            (oracle.hamming(code, c), table.ids[i], int(table.labels[i] @ labels)) for i, c in enumerate(stored)
        )
        shared = [s for _, _, s in ranked]
        relevant, near = [s > 0 for s in shared], [s > 0 for d, _, s in ranked if d <= 2]
        if any(relevant):
            by_hand = {
                "mAP@all": oracle.ap(relevant, sum(relevant)),
                "mAP@5": oracle.ap(relevant, sum(relevant), 5),
                "P@5": oracle.precision(relevant, 5),
                "NDCG@5": oracle.ndcg(shared, shared, 5),
                "P@r<=2": sum(near) / len(near) if near else 0.0,
                "random": oracle.expected_ap([0] * 80, relevant),
            }
            for name, value in by_hand.items():
                values[name].append(float(value))
            near_nothing += not near
    assert found.metrics == pytest.approx({name: np.mean(some) for name, some in values.items()}, abs=1e-12)
    assert found.nothing_near == near_nothing


def test_labels_that_are_not_known(fused_encoder: HashEncoder) -> None:
    retriever = in_memory(fused_encoder, items(50))
    queries = items(10, seed=1, gaps=0)
    labelled = np.arange(10) >= 3
    queries.labels[:, 0] = 1
    some = replace(queries, labels=queries.labels * labelled[:, None], labelled=labelled)
    result = evaluate(fused_encoder, some, retriever)
    found = result.tasks["both"]
    assert (found.queries, found.unlabelled, found.without_relevant) == (7, 3, 0)
    known = evaluate(fused_encoder, queries.take(labelled), retriever).tasks
    assert_same_figures(known, {name: replace(task, unlabelled=0) for name, task in result.tasks.items()})
    assert any("both: 7 queries, left out: 3 that have no labels" in note for note in result.notes)


def test_rows_without_labels_are_relevant_to_nothing(fused_encoder: HashEncoder) -> None:
    table = items(50)
    table.labels[:5] = 0
    notes = evaluate(fused_encoder, items(10, seed=1), in_memory(fused_encoder, table)).notes
    bare = int((~table.labels.any(axis=1)).sum())
    assert any(note.startswith(f"{bare} of 50 rows of the database have no labels") for note in notes)


def test_modalities_hidden_from_the_queries(fused_encoder: HashEncoder) -> None:
    retriever, queries = in_memory(fused_encoder, items(60)), items(20, seed=1, gaps=0)
    settings = EvaluationSettings(query_pdr=0.5, seed=4)
    found = evaluate(fused_encoder, queries, retriever, settings=settings).tasks
    assert list(found) == ["observed"]
    hidden = queries.hide(pdr_mask(queries.present, 0.5, 4))
    assert (~hidden.present.all(axis=1)).sum() == 10
    by_hand, whole = (
        evaluate(fused_encoder, table, retriever, tasks=["observed"]).tasks for table in (hidden, queries)
    )
    assert_same_figures(found, by_hand)
    assert abs(found["observed"].metrics["mAP@all"] - whole["observed"].metrics["mAP@all"]) > 1e-3
    image = evaluate(fused_encoder, queries, retriever, tasks=["image"], settings=settings).tasks["image"]
    assert image.without_modality == 5


def test_classes_by_name_whatever_their_order(fused_encoder: HashEncoder) -> None:
    table, queries = items(60), items(10, seed=1)
    plain = evaluate(fused_encoder, queries, in_memory(fused_encoder, table))
    named = in_memory(fused_encoder, table, ("a", "b", "c", "d"))
    turned = replace(queries, labels=queries.labels[:, ::-1], label_names=("d", "c", "b", "a"))
    assert_same_figures(evaluate(fused_encoder, turned, named).tasks, plain.tasks)
    stranger = evaluate(fused_encoder, replace(turned, label_names=("d", "c", "b", "zebra")), named)
    assert any("does not know, and that match nothing: zebra" in note for note in stranger.notes)


@pytest.mark.parametrize("named", [True, False], ids=["names in the description", "names in the bundle"])
def test_an_old_collection_and_a_new_one_give_the_same_figures(
    milvus: Connection, make_bundle: Callable[..., Path], named: bool
) -> None:
    encoder = HashEncoder.load(make_bundle(label_names=("a", "b", "c", "d")))
    table = replace(items(60, words=True), label_names=("a", "b", "c", "d"))
    queries = replace(items(10, seed=1), label_names=("d", "c", "b", "a"))
    numbers = [np.flatnonzero(row).tolist() for row in table.labels]
    codes = encoder.encode_table(table)
    place = f"old_{named}", encoder.manifest, table.ids.tolist(), codes, table.present, numbers
    old = old_collection(milvus, *place, named=named)
    old.name_classes(encoder.manifest.label_names)
    new = ingest(milvus, f"new_{named}", encoder, table)
    assert (old.labels_by_name, new.labels_by_name) == (False, True)
    expected = evaluate(encoder, queries, in_memory(encoder, table, table.label_names)).tasks
    for retriever in (MilvusRetriever(old), ExactRetriever.read_back(old), MilvusRetriever(new)):
        found = evaluate(encoder, queries, retriever).tasks
        assert_same_figures({name: replace(task, searched=None) for name, task in found.items()}, expected)


def test_queries_that_are_rows_themselves_are_counted(fused_encoder: HashEncoder) -> None:
    table = items(30)
    notes = evaluate(fused_encoder, table.take(np.arange(4)), in_memory(fused_encoder, table)).notes
    assert any(note.startswith("4 of 4 queries have the id of a row") for note in notes)


@pytest.mark.parametrize(
    ("queries", "options", "message"),
    [
        ({"labels": None}, {}, "the queries have no labels"),
        ({}, {"tasks": ["image->sound"]}, "no task 'image->sound'"),
        ({}, {"settings": EvaluationSettings(query_pdr=1.0)}, "PDR of 1"),
        (
            {"labels": np.zeros((5, 4), np.uint8)},
            {},
            "no query is left in any task: both: 0 queries, left out: .* that have nothing relevant to find",
        ),
    ],
)
def test_what_cannot_be_measured(
    fused_encoder: HashEncoder, queries: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(fused_encoder, replace(items(5, seed=1), **queries), in_memory(fused_encoder, items(30)), **options)


def test_codes_of_another_bundle_cannot_be_measured(fused_encoder: HashEncoder, make_bundle: MakeBundle) -> None:
    with pytest.raises(MismatchError, match=f"from bundle {fused_encoder.manifest.fingerprint}"):
        evaluate(HashEncoder.load(make_bundle(seed=1)), items(5), in_memory(fused_encoder, items(30)))


def test_ranks_count_from_1() -> None:
    with pytest.raises(InputError, match="ranks count from 1"):
        EvaluationSettings(at_k=(10, 0))


def test_a_task_without_queries_stays_empty_beside_others(fused_encoder: HashEncoder) -> None:
    queries = items(10, seed=1, dims={"image": 12})
    tasks = evaluate(fused_encoder, queries, in_memory(fused_encoder, items(60))).tasks
    assert tasks["image"].queries > 0
    assert (tasks["text"].queries, tasks["text"].metrics, tasks["text"].without_modality) == (0, {}, 10)


def test_progress_is_told_of_every_query(fused_encoder: HashEncoder) -> None:
    told: dict[str, list[int]] = {}

    @contextmanager
    def progress(task: str, total: int) -> Iterator[Callable[[int], None]]:
        told[task] = [total]
        yield told[task].append

    queries = items(700, seed=1)
    retriever = in_memory(fused_encoder, items(60))
    result = evaluate(fused_encoder, queries, retriever, progress=progress)
    assert {name: (total, sum(steps)) for name, (total, *steps) in told.items()} == {
        name: (task.queries, task.queries) for name, task in result.tasks.items()
    }


def test_the_result_is_json(fused_encoder: HashEncoder, tmp_path: Path) -> None:
    result = evaluate(fused_encoder, items(10, seed=1), in_memory(fused_encoder, items(60)))
    result.save(tmp_path / "result.json")
    read = json.loads((tmp_path / "result.json").read_text("utf-8"))
    both, read_both = result.tasks["both"], read["tasks"]["both"]
    assert (read["measured_on"]["bundle"], read["notes"]) == (fused_encoder.manifest.fingerprint, [*result.notes])
    assert read_both["metrics"] == pytest.approx(both.metrics)
    assert read_both["precision_at_recall"]["100"] == pytest.approx(both.precision_at_recall[100])
    with pytest.raises(InputError, match="cannot be written"):
        result.save(tmp_path / "nowhere" / "result.json")


def split_by_code(encoder: HashEncoder, table: FeatureTable) -> list[ExactRetriever]:
    """One retriever for each code, as on a server of one vector field a collection."""
    whole = in_memory(encoder, table)
    return [
        ExactRetriever(
            replace(whole.database, codes={name: codes}),
            whole.fingerprint,
            about={"collection": f"items_{name.removesuffix('_code')}"},
        )
        for name, codes in whole.database.codes.items()
    ]


def test_each_task_is_measured_where_its_code_is(cross_encoder: HashEncoder) -> None:
    table, queries = items(60), items(12, seed=1, first_id=1000)
    together = evaluate(cross_encoder, queries, in_memory(cross_encoder, table))
    apart = evaluate(cross_encoder, queries, split_by_code(cross_encoder, table))
    assert_same_figures(apart.tasks, together.tasks)
    assert {name: task.searched for name, task in apart.tasks.items()} == {
        "image->text": "items_text",
        "text->image": "items_image",
    }
    said = {place["collection"]: place for place in apart.measured_on["collections"]}
    assert {"codes": ["text_code"], "tasks": ["image->text"]}.items() <= said["items_text"].items()
    assert {"rows": 60, "via": "exact"}.items() <= said["items_image"].items()
    assert apart.measured_on["via"] == "exact"


def test_a_code_that_is_stored_twice_or_nowhere(cross_encoder: HashEncoder) -> None:
    queries = items(12, seed=1, first_id=1000)
    image, text = split_by_code(cross_encoder, items(60))
    for retrievers, tasks, says in (
        ([image, image, text], None, "'image_code' is stored in both items_image and items_image"),
        ([image], ["image->text"], "task 'image->text' needs 'text_code', and only image_code is stored"),
    ):
        with pytest.raises(InputError, match=says):
            evaluate(cross_encoder, queries, retrievers, tasks=tasks)
    assert list(evaluate(cross_encoder, queries, [text]).tasks) == ["image->text"]
