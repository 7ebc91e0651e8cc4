"""The harness on data that can be followed by hand: which queries and rows count, and what the figures are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import ranking_oracle as oracle
from support.labelled_items import items, write_npz

from milvus_ichash.errors import InputError, MismatchError
from milvus_ichash.evaluation.database import Database
from milvus_ichash.evaluation.evaluate import evaluate
from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
from milvus_ichash.evaluation.exact_retriever import ExactRetriever
from milvus_ichash.features import FeatureTable
from milvus_ichash.incomplete import pdr_mask
from milvus_ichash.io import open_source
from milvus_ichash.runtime.encoder import HashEncoder

MakeBundle = Callable[..., Path]


def retriever_of(encoder: HashEncoder, table: FeatureTable, names: tuple[str, ...] | None = None) -> ExactRetriever:
    table = table.take(np.argsort(table.ids))
    codes = encoder.encode_table(table)
    return ExactRetriever(
        Database(table.ids, table.labels, names, table.present, table.modalities, codes), encoder.manifest.fingerprint
    )


@pytest.mark.parametrize("part", ["observed", "all", "complete"])
def test_cross_modal_figures_pair_by_pair(make_bundle: MakeBundle, part: str) -> None:
    encoder = HashEncoder.load(make_bundle(fused=False))
    table, queries = items(60, gaps=0.5), items(15, seed=1, gaps=0.5)
    result = evaluate(encoder, queries, retriever_of(encoder, table), settings=EvaluationSettings(part=part))
    stored = encoder.encode_table(table)
    for source, target in (("image", "text"), ("text", "image")):
        asked = queries.only(source)
        takes_part = {
            "observed": table.present[:, int(target == "text")],
            "all": np.ones(60, bool),
            "complete": table.present.all(axis=1),
        }[part]
        codes = encoder.encode_table(asked)[f"{source}_code"]
        values = []
        for code, labels in zip(codes, asked.labels, strict=True):
            relevant = (table.labels[takes_part] @ labels > 0).tolist()
            if any(relevant):
                values.append(
                    oracle.expected_ap(
                        [oracle.hamming(code, c) for c in stored[f"{target}_code"][takes_part]], relevant
                    )
                )
        cell = result.tasks[f"{source}->{target}"]
        assert cell.metrics["mAP@all"] == pytest.approx(np.mean(values), abs=1e-12)
        assert (cell.queries, cell.rows) == (len(values), takes_part.sum())
        assert cell.without_modality == 15 - len(asked) > 0
        assert cell.without_relevant == len(asked) - len(values)


@pytest.mark.parametrize("part", ["observed", "all", "complete"])
def test_one_space_figures_pair_by_pair(make_bundle: MakeBundle, tmp_path: Path, part: str) -> None:
    """Queries are made from the picture alone, the database from the words alone, whatever else its rows have."""
    encoder = HashEncoder.load(make_bundle())
    table, queries = items(60, gaps=0.5), items(15, seed=1, gaps=0.5)
    retriever = ExactRetriever.encode(encoder, open_source(write_npz(tmp_path / "items.npz", table)), ["text", "image"])
    result = evaluate(encoder, queries, retriever, settings=EvaluationSettings(part=part))
    assert list(result.tasks) == ["both", "image", "text", "image->text", "text->image"]
    for source, target in (("image", "text"), ("text", "image")):
        rows = table.take(table.present.all(axis=1)) if part == "complete" else table.only(target)
        stored, asked = encoder.encode_table(rows.only(target))["code"], queries.only(source)
        values = []
        for code, labels in zip(encoder.encode_table(asked)["code"], asked.labels, strict=True):
            relevant = (rows.labels @ labels > 0).tolist()
            if any(relevant):
                values.append(oracle.expected_ap([oracle.hamming(code, c) for c in stored], relevant))
        cell = result.tasks[f"{source}->{target}"]
        assert cell.metrics["mAP@all"] == pytest.approx(np.mean(values), abs=1e-12)
        assert (cell.queries, cell.rows) == (len(values), len(rows))
    usual = evaluate(
        encoder,
        queries,
        ExactRetriever.encode(encoder, open_source(tmp_path / "items.npz")),
        settings=EvaluationSettings(part=part),
    )
    assert {name: usual.tasks[name] for name in usual.tasks} == {
        name: result.tasks[name] for name in ("both", "image", "text")
    }


def test_fused_figures_rank_by_rank(make_bundle: MakeBundle) -> None:
    """Every metric of stable ties, from lists sorted by (distance, id)."""
    encoder = HashEncoder.load(make_bundle(bits=8))
    table, queries = items(80, gaps=0.3), items(12, seed=1, gaps=0)
    settings = EvaluationSettings(ties="stable", at_k=(5,))
    cell = evaluate(encoder, queries, retriever_of(encoder, table), tasks=["text"], settings=settings).tasks["text"]
    stored, asked = encoder.encode_table(table)["code"], queries.only("text")
    values: dict[str, list[float]] = {name: [] for name in cell.metrics}
    near_nothing = 0
    for code, labels in zip(encoder.encode_table(asked)["code"], asked.labels, strict=True):
        ranked = sorted(
            (oracle.hamming(code, c), table.ids[i], int(table.labels[i] @ labels)) for i, c in enumerate(stored)
        )
        shared = [s for _, _, s in ranked]
        relevant, near = [s > 0 for s in shared], [s > 0 for d, _, s in ranked if d <= 2]
        if any(relevant):
            values["mAP@all"].append(float(oracle.ap(relevant, sum(relevant))))
            values["mAP@5"].append(float(oracle.ap(relevant, sum(relevant), 5)))
            values["P@5"].append(float(oracle.precision(relevant, 5)))
            values["NDCG@5"].append(oracle.ndcg(shared, shared, 5))
            values["P@r<=2"].append(sum(near) / len(near) if near else 0.0)
            values["random"].append(oracle.expected_ap([0] * 80, relevant))
            near_nothing += not near
    assert cell.metrics == pytest.approx({name: np.mean(found) for name, found in values.items()}, abs=1e-12)
    assert cell.nothing_near == near_nothing


def test_labels_that_are_not_known(make_bundle: MakeBundle) -> None:
    encoder = HashEncoder.load(make_bundle())
    table, queries = items(50), items(10, seed=1, gaps=0)
    queries.labels[:, 0] = 1
    labelled = np.arange(10) >= 3
    result = evaluate(
        encoder,
        replace(queries, labels=queries.labels * labelled[:, None], labelled=labelled),
        retriever_of(encoder, table),
    )
    cell = result.tasks["both"]
    assert (cell.queries, cell.unlabelled, cell.without_relevant) == (7, 3, 0)
    known = evaluate(encoder, queries.take(labelled), retriever_of(encoder, table)).tasks["both"]
    assert cell.metrics == known.metrics
    assert any("both: 7 queries, left out: 3 that have no labels" in note for note in result.notes)


def test_rows_without_labels_are_relevant_to_nothing(make_bundle: MakeBundle) -> None:
    encoder = HashEncoder.load(make_bundle())
    table = items(50)
    table.labels[:5] = 0
    result = evaluate(encoder, items(10, seed=1), retriever_of(encoder, table))
    bare = int((~table.labels.any(axis=1)).sum())
    assert any(note.startswith(f"{bare} of 50 rows of the database have no labels") for note in result.notes)


def test_modalities_hidden_from_the_queries(make_bundle: MakeBundle) -> None:
    encoder = HashEncoder.load(make_bundle())
    retriever, queries = retriever_of(encoder, items(60)), items(20, seed=1, gaps=0)
    settings = EvaluationSettings(query_pdr=0.5, seed=4)
    result = evaluate(encoder, queries, retriever, settings=settings)
    assert list(result.tasks) == ["observed"]
    hidden = queries.hide(pdr_mask(queries.present, 0.5, 4))
    assert (~hidden.present.all(axis=1)).sum() == 10
    by_hand = evaluate(encoder, hidden, retriever, tasks=["observed"]).tasks["observed"]
    assert result.tasks["observed"] == by_hand
    assert (
        result.tasks["observed"].metrics
        != evaluate(encoder, queries, retriever, tasks=["observed"]).tasks["observed"].metrics
    )
    image = evaluate(encoder, queries, retriever, tasks=["image"], settings=settings).tasks["image"]
    assert image.without_modality == 5


def test_classes_by_name_whatever_their_order(make_bundle: MakeBundle) -> None:
    encoder = HashEncoder.load(make_bundle())
    table, queries = items(60), items(10, seed=1)
    plain = evaluate(encoder, queries, retriever_of(encoder, table))
    turned = replace(queries, labels=queries.labels[:, ::-1], label_names=("d", "c", "b", "a"))
    named = evaluate(encoder, turned, retriever_of(encoder, table, ("a", "b", "c", "d")))
    assert named.tasks == plain.tasks
    stranger = replace(turned, label_names=("d", "c", "b", "zebra"))
    assert any(
        "does not know, and that match nothing: zebra" in n
        for n in evaluate(encoder, stranger, retriever_of(encoder, table, ("a", "b", "c", "d"))).notes
    )


def test_queries_that_are_rows_themselves_are_counted(make_bundle: MakeBundle) -> None:
    encoder = HashEncoder.load(make_bundle())
    table = items(30)
    notes = evaluate(encoder, table.take(np.arange(4)), retriever_of(encoder, table)).notes
    assert any(note.startswith("4 of 4 queries have the id of a row") for note in notes)


def test_what_cannot_be_measured(make_bundle: MakeBundle) -> None:
    encoder = HashEncoder.load(make_bundle())
    table, queries = items(30), items(5, seed=1)
    retriever = retriever_of(encoder, table)
    with pytest.raises(MismatchError, match=f"from bundle {encoder.manifest.fingerprint}"):
        evaluate(HashEncoder.load(make_bundle(seed=1)), queries, retriever)
    with pytest.raises(InputError, match="the queries have no labels"):
        evaluate(encoder, replace(queries, labels=None), retriever)
    with pytest.raises(InputError, match="no task 'image->sound'"):
        evaluate(encoder, queries, retriever, tasks=["image->sound"])
    with pytest.raises(InputError, match="ranks count from 1"):
        EvaluationSettings(at_k=(10, 0))
    with pytest.raises(InputError, match="PDR of 1"):
        evaluate(encoder, queries, retriever, settings=EvaluationSettings(query_pdr=1.0))
    lonely = replace(queries, labels=np.zeros_like(queries.labels))
    with pytest.raises(
        InputError,
        match=r"no query is left in any task: both: 0 queries, left out: .* that have nothing relevant to find",
    ):
        evaluate(encoder, lonely, retriever)


def test_a_task_without_queries_stays_empty_beside_others(make_bundle: MakeBundle) -> None:
    encoder = HashEncoder.load(make_bundle())
    result = evaluate(encoder, items(10, seed=1, dims={"image": 12}), retriever_of(encoder, items(60)))
    assert result.tasks["image"].queries > 0
    assert (
        result.tasks["text"].queries == 0
        and result.tasks["text"].metrics == {}
        and result.tasks["text"].without_modality == 10
    )


def test_progress_is_told_of_every_query(make_bundle: MakeBundle) -> None:
    encoder = HashEncoder.load(make_bundle())
    told: dict[str, list[int]] = {}

    @contextmanager
    def progress(task: str, total: int) -> Iterator[Callable[[int], None]]:
        told[task] = [total, 0]

        def advance(steps: int) -> None:
            told[task][1] += steps

        yield advance

    result = evaluate(encoder, items(700, seed=1), retriever_of(encoder, items(60)), progress=progress)
    assert told == {name: [cell.queries, cell.queries] for name, cell in result.tasks.items()}


def test_the_result_is_json(make_bundle: MakeBundle, tmp_path: Path) -> None:
    encoder = HashEncoder.load(make_bundle())
    result = evaluate(encoder, items(10, seed=1), retriever_of(encoder, items(60)))
    result.save(tmp_path / "result.json")
    read = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert read["measured_on"]["bundle"] == encoder.manifest.fingerprint
    assert read["tasks"]["both"]["metrics"] == result.tasks["both"].metrics
    assert read["tasks"]["both"]["precision_at_recall"]["100"] == result.tasks["both"].precision_at_recall[100]
    assert read["notes"] == list(result.notes)
    with pytest.raises(InputError, match="cannot be written"):
        result.save(tmp_path / "nowhere" / "result.json")


def split_by_code(encoder: HashEncoder, table: FeatureTable) -> list[ExactRetriever]:
    """One retriever for each code, as on a server of one vector field a collection."""
    whole = retriever_of(encoder, table)
    return [
        ExactRetriever(
            replace(whole.database, codes={name: codes}),
            whole.fingerprint,
            about={"collection": f"items_{name.removesuffix('_code')}"},
        )
        for name, codes in whole.database.codes.items()
    ]


def test_each_task_is_measured_where_its_code_is(make_bundle: MakeBundle) -> None:
    encoder = HashEncoder.load(make_bundle(fused=False))
    table, queries = items(60), items(12, seed=1, first_id=1000)
    together = evaluate(encoder, queries, retriever_of(encoder, table))
    apart = evaluate(encoder, queries, split_by_code(encoder, table))
    assert apart.tasks.keys() == {"image->text", "text->image"}
    for name, cell in apart.tasks.items():
        assert replace(cell, searched=None) == together.tasks[name]
    assert [cell.searched for cell in apart.tasks.values()] == ["items_text", "items_image"]
    said = {place["collection"]: place for place in apart.measured_on["collections"]}
    assert said["items_text"]["codes"] == ["text_code"] and said["items_text"]["tasks"] == ["image->text"]
    assert said["items_image"]["rows"] == 60 and said["items_image"]["via"] == apart.measured_on["via"] == "exact"


def test_a_code_that_is_stored_twice_or_nowhere(make_bundle: MakeBundle) -> None:
    encoder = HashEncoder.load(make_bundle(fused=False))
    table, queries = items(60), items(12, seed=1, first_id=1000)
    image, text = split_by_code(encoder, table)
    with pytest.raises(InputError, match="'image_code' is stored in both items_image and items_image"):
        evaluate(encoder, queries, [image, image, text])
    with pytest.raises(InputError, match="task 'image->text' needs 'text_code', and only image_code is stored"):
        evaluate(encoder, queries, [image], tasks=["image->text"])
    assert list(evaluate(encoder, queries, [text]).tasks) == ["image->text"]
