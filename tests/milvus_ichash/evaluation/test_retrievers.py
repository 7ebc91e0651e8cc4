"""Codes in memory, codes read back, and searches in Milvus Lite: the same rankings, the same figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.labelled_items import ingest, items
from support.ranking_oracle import hamming

from milvus_ichash.errors import InputError, MilvusError
from milvus_ichash.evaluation.database import Database
from milvus_ichash.evaluation.evaluate import evaluate
from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
from milvus_ichash.evaluation.exact_retriever import ExactRetriever
from milvus_ichash.evaluation.metrics import mean_average_precision
from milvus_ichash.evaluation.milvus_retriever import MilvusRetriever
from milvus_ichash.evaluation.result import EvaluationResult
from milvus_ichash.evaluation.retriever import Retriever
from milvus_ichash.features import FeatureTable
from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import load_settings

MakeBundle = Callable[..., Path]


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    with connect(load_settings(uri=str(tmp_path_factory.mktemp("milvus") / "items.db"))) as connection:
        yield connection


def in_memory(encoder: HashEncoder, table: FeatureTable) -> ExactRetriever:
    order = np.argsort(table.ids)
    table = table.take(order)
    codes = encoder.encode_table(table)
    return ExactRetriever(
        Database(table.ids, table.labels, None, table.present, table.modalities, codes), encoder.manifest.fingerprint
    )


def same(a: EvaluationResult, b: EvaluationResult) -> None:
    """Every figure of every task, to 1e-9."""
    assert a.tasks.keys() == b.tasks.keys()
    for one, other in zip(a.tasks.values(), b.tasks.values(), strict=True):
        assert one.metrics == pytest.approx(other.metrics, abs=1e-9)
        assert one.precision_at_recall == pytest.approx(other.precision_at_recall, abs=1e-9)
        bare = [
            replace(cell, metrics={}, precision_at_recall={}, random_precision=0.0, searched=None)
            for cell in (one, other)
        ]
        assert bare[0] == bare[1]


@pytest.mark.parametrize(("fused", "words"), [(True, True), (False, False)])
def test_memory_readback_and_search_agree(
    make_bundle: MakeBundle, milvus: Connection, fused: bool, words: bool
) -> None:
    encoder = HashEncoder.load(make_bundle(fused=fused, bits=24))
    table, queries = items(300, words=words), items(12, seed=1, first_id=1000, words=words)
    index = ingest(milvus, f"agree_{fused}_{words}", encoder, table)
    retrievers: list[Retriever] = [in_memory(encoder, table), ExactRetriever.read_back(index), MilvusRetriever(index)]
    for settings in (
        EvaluationSettings(),
        EvaluationSettings(ties="stable", part="all"),
        EvaluationSettings(part="complete", at_k=(1, 7, 1000), normalisation="hits"),
    ):
        exact, readback, search = (evaluate(encoder, queries, retriever, settings=settings) for retriever in retrievers)
        same(exact, readback)
        same(exact, search)
        assert not any(cell.rows_missing for cell in search.tasks.values())
    assert [retriever.via for retriever in retrievers] == ["exact", "readback", "search"]


def test_rankings_are_by_distance_then_id(make_bundle: MakeBundle, milvus: Connection) -> None:
    encoder = HashEncoder.load(make_bundle(fused=False, bits=8))
    table, queries = items(200, words=True), items(5, seed=1)
    index = ingest(milvus, "ranked", encoder, table)
    asked = encoder.encode_table(queries)["image_code"]
    stored = encoder.encode_table(table)["text_code"]
    for retriever in (in_memory(encoder, table), MilvusRetriever(index)):
        for code, (rows, distances) in zip(asked, retriever.rankings("text_code", asked, ("text",)), strict=True):
            expected = sorted(
                (hamming(code, stored[i]), table.ids[i]) for i in range(len(table)) if table.present[i, 1]
            )
            assert list(zip(distances.tolist(), retriever.database.ids[rows], strict=True)) == expected


def test_collections_beyond_the_limit_of_one_search(make_bundle: MakeBundle, milvus: Connection) -> None:
    encoder = HashEncoder.load(make_bundle(bits=16))
    table, queries = items(16_500, gaps=0), items(2, seed=1, first_id=-3)
    index = ingest(milvus, "large", encoder, table)
    exact = evaluate(encoder, queries, in_memory(encoder, table), tasks=["image"])
    assert exact.tasks["image"].rows == 16_500
    same(exact, evaluate(encoder, queries, MilvusRetriever(index), tasks=["image"]))
    same(exact, evaluate(encoder, queries, ExactRetriever.read_back(index), tasks=["image"]))


def test_rows_that_one_search_does_not_return_count_as_misses(make_bundle: MakeBundle, milvus: Connection) -> None:
    encoder = HashEncoder.load(make_bundle())
    table, queries = items(300, gaps=0), items(20, seed=1, gaps=0, first_id=1000)
    index = ingest(milvus, "cut", encoder, table)
    whole = evaluate(
        encoder, queries, MilvusRetriever(index), tasks=["both"], settings=EvaluationSettings(at_k=(10,))
    ).tasks["both"]
    cut = evaluate(
        encoder, queries, MilvusRetriever(index, top_k=40), tasks=["both"], settings=EvaluationSettings(at_k=(10,))
    )
    cell = cut.tasks["both"]
    assert cell.rows == 300 and cell.rows_missing == 260 and 0 < cell.relevant_missing < 260
    assert cell.metrics["mAP@all"] < whole.metrics["mAP@all"]
    assert cell.precision_at_recall[100] == 0 < whole.precision_at_recall[100]
    assert cell.metrics["random"] == whole.metrics["random"]
    assert any("260 of 300 rows were not returned" in note for note in cut.notes)
    assert cut.measured_on["top_k"] == 40
    # The first ten ranks are inside the forty; only a tie over the cut could make a difference.
    assert cell.metrics["mAP@10"] == pytest.approx(whole.metrics["mAP@10"], abs=1e-9)


def test_one_search_for_more_rows_than_there_are_is_complete(make_bundle: MakeBundle, milvus: Connection) -> None:
    encoder = HashEncoder.load(make_bundle(fused=False))
    table, queries = items(100, gaps=0.5), items(8, seed=1, first_id=1000)
    index = ingest(milvus, "short", encoder, table)
    same(
        evaluate(encoder, queries, in_memory(encoder, table)),
        evaluate(encoder, queries, MilvusRetriever(index, top_k=500)),
    )


def test_the_result_says_what_it_was_measured_on(make_bundle: MakeBundle, milvus: Connection) -> None:
    encoder = HashEncoder.load(make_bundle())
    index = ingest(milvus, "said", encoder, items(20))
    said = evaluate(encoder, items(5, seed=1), MilvusRetriever(index)).measured_on
    assert said["bundle"] == encoder.manifest.fingerprint
    assert (said["collection"], said["rows"], said["via"], said["bits"]) == ("said", 20, "search", 16)
    assert said["index"]["code"]["index_type"] == "BIN_FLAT" and said["index"]["code"]["metric_type"] == "HAMMING"
    assert said["milvus"].startswith("Milvus Lite 2") and said["pymilvus"] and said["milvus_ichash"] and said["date"]


def test_collections_that_cannot_be_measured(make_bundle: MakeBundle, milvus: Connection) -> None:
    encoder = HashEncoder.load(make_bundle())
    unlabelled = ingest(milvus, "unlabelled", encoder, items(10), labels=False)
    empty = ingest(milvus, "empty", encoder, items(10).take(np.zeros(0, np.intp)))
    for make in (MilvusRetriever, ExactRetriever.read_back):
        with pytest.raises(InputError, match=r"'unlabelled' has no labels.*ingest its items again"):
            make(unlabelled)
        with pytest.raises(InputError, match="'empty' is empty"):
            make(empty)


@pytest.mark.parametrize("words", [True, False])
def test_a_row_that_is_new_since_the_labels_were_read(make_bundle: MakeBundle, milvus: Connection, words: bool) -> None:
    encoder = HashEncoder.load(make_bundle())
    index = ingest(milvus, f"written_to_{words}", encoder, items(20, words=words))
    retriever = MilvusRetriever(index)
    more = items(1, seed=5, first_id=900, words=words)
    index.upsert(more.ids, encoder.encode_table(more), more.present, [[0]])
    with pytest.raises(MilvusError, match="changed while it was measured: it had 20 rows"):
        evaluate(encoder, items(5, seed=1), retriever)
    with pytest.raises(MilvusError, match=r"changed while it was measured: id .*900"):
        evaluate(encoder, items(5, seed=1), MilvusRetriever(index, top_k=21, database=retriever.database))


def test_exact_figures_are_those_of_the_metric(make_bundle: MakeBundle) -> None:
    """The harness adds nothing of its own: both tasks against the function that training uses."""
    encoder = HashEncoder.load(make_bundle(fused=False))
    table, queries = items(150), items(40, seed=1)
    found = evaluate(encoder, queries, in_memory(encoder, table)).tasks
    stored = encoder.encode_table(table)
    for source, target, column in (("image", "text", 1), ("text", "image", 0)):
        asked, there = queries.only(source), table.present[:, column]
        value = mean_average_precision(
            encoder.encode_table(asked)[f"{source}_code"],
            stored[f"{target}_code"][there],
            asked.labels,
            table.labels[there],
        )
        assert found[f"{source}->{target}"].metrics["mAP@all"] == pytest.approx(value, abs=1e-12)
