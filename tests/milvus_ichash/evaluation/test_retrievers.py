"""Codes in memory, codes read back, and searches in Milvus Lite: the same rankings, the same figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.evaluations import assert_same_figures, in_memory
from support.labelled_items import ingest, items
from support.ranking_oracle import hamming

from milvus_ichash.errors import InputError, MilvusError
from milvus_ichash.evaluation.evaluate import evaluate
from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
from milvus_ichash.evaluation.exact_retriever import ExactRetriever
from milvus_ichash.evaluation.milvus_retriever import MilvusRetriever
from milvus_ichash.index.connection import Connection
from milvus_ichash.runtime.encoder import HashEncoder

MakeBundle = Callable[..., Path]


@pytest.mark.parametrize(("fused", "words"), [(True, True), (False, False)])
def test_memory_readback_and_search_agree(
    make_bundle: MakeBundle, milvus: Connection, fused: bool, words: bool
) -> None:
    encoder = HashEncoder.load(make_bundle(fused=fused, bits=24))
    table, queries = items(300, words=words), items(12, seed=1, first_id=1000, words=words)
    index = ingest(milvus, f"agree_{fused}_{words}", encoder, table)
    retrievers = in_memory(encoder, table), ExactRetriever.read_back(index), MilvusRetriever(index)
    for settings in (
        EvaluationSettings(),
        EvaluationSettings(ties="stable", part="all"),
        EvaluationSettings(part="complete", at_k=(1, 7, 1000), normalisation="hits"),
    ):
        exact, *stored = (evaluate(encoder, queries, retriever, settings=settings).tasks for retriever in retrievers)
        for found in stored:
            assert_same_figures(exact, found)
            assert not any(task.rows_missing for task in found.values())
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


def test_collections_beyond_the_limit_of_one_search(fused_encoder: HashEncoder, milvus: Connection) -> None:
    table, queries = items(16_500, gaps=0), items(2, seed=1, first_id=-3)
    index = ingest(milvus, "large", fused_encoder, table)
    exact, *stored = (
        evaluate(fused_encoder, queries, retriever, tasks=["image"]).tasks
        for retriever in (in_memory(fused_encoder, table), MilvusRetriever(index), ExactRetriever.read_back(index))
    )
    assert exact["image"].rows == 16_500
    for found in stored:
        assert_same_figures(exact, found)


def test_rows_that_one_search_does_not_return_count_as_misses(fused_encoder: HashEncoder, milvus: Connection) -> None:
    index = ingest(milvus, "few_of_them", fused_encoder, items(300, gaps=0))
    whole, result = (
        evaluate(
            fused_encoder,
            items(20, seed=1, gaps=0, first_id=1000),
            MilvusRetriever(index, top_k=top_k),
            tasks=["both"],
            settings=EvaluationSettings(at_k=(10,)),
        )
        for top_k in (None, 40)
    )
    every, few = whole.tasks["both"], result.tasks["both"]
    assert few.rows == 300 and few.rows_missing == 260 and 0 < few.relevant_missing < 260
    assert few.metrics["mAP@all"] < every.metrics["mAP@all"]
    assert few.precision_at_recall[100] == 0 < every.precision_at_recall[100]
    assert few.metrics["random"] == pytest.approx(every.metrics["random"])
    assert any("260 of 300 rows were not returned" in note for note in result.notes)
    assert result.measured_on["top_k"] == 40
    # The first ten ranks are inside the forty; only a tie over the end of the list could make a difference.
    assert few.metrics["mAP@10"] == pytest.approx(every.metrics["mAP@10"], abs=1e-9)


def test_one_search_for_more_rows_than_there_are_is_complete(cross_encoder: HashEncoder, milvus: Connection) -> None:
    table, queries = items(100, gaps=0.5), items(8, seed=1, first_id=1000)
    search = MilvusRetriever(ingest(milvus, "short", cross_encoder, table), top_k=500)
    assert_same_figures(
        evaluate(cross_encoder, queries, in_memory(cross_encoder, table)).tasks,
        evaluate(cross_encoder, queries, search).tasks,
    )


def test_the_result_says_what_it_was_measured_on(fused_encoder: HashEncoder, milvus: Connection) -> None:
    index = ingest(milvus, "said", fused_encoder, items(20))
    said = evaluate(fused_encoder, items(5, seed=1), MilvusRetriever(index)).measured_on
    bundle = fused_encoder.manifest.fingerprint
    here = {"bundle": bundle, "collection": "said", "rows": 20, "via": "search", "bits": 16}
    assert here.items() <= said.items()
    assert {"index_type": "BIN_FLAT", "metric_type": "HAMMING"}.items() <= said["index"]["code"].items()
    assert said["milvus"].startswith("Milvus Lite 2") and said["pymilvus"] and said["milvus_ichash"] and said["date"]


@pytest.mark.parametrize("make", [MilvusRetriever, ExactRetriever.read_back])
@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [("unlabelled", 10, "'unlabelled_{}' has no labels.*ingest its items again"), ("empty", 0, "'empty_{}' is empty")],
)
def test_collections_that_cannot_be_measured(
    fused_encoder: HashEncoder, milvus: Connection, make: Callable[..., object], name: str, rows: int, message: str
) -> None:
    index = ingest(milvus, f"{name}_{make.__name__}", fused_encoder, items(10).rows(0, rows), labels=False)
    with pytest.raises(InputError, match=message.format(make.__name__)):
        make(index)


@pytest.mark.parametrize("words", [True, False])
def test_a_row_that_is_new_since_the_labels_were_read(
    fused_encoder: HashEncoder, milvus: Connection, words: bool
) -> None:
    index = ingest(milvus, f"written_to_{words}", fused_encoder, items(20, words=words))
    retriever = MilvusRetriever(index)
    more = items(1, seed=5, first_id=900, words=words)
    index.upsert(more.ids, fused_encoder.encode_table(more), more.present, [[0]])
    with pytest.raises(
        MilvusError, match=r"20 rows of 'written_to_.*' were read, and it has 21: it is being written to"
    ):
        evaluate(fused_encoder, items(5, seed=1), retriever)
    with pytest.raises(MilvusError, match=r"changed while it was measured: id .*900"):
        evaluate(fused_encoder, items(5, seed=1), MilvusRetriever(index, top_k=21, database=retriever.database))
