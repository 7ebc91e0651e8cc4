"""`evaluate`: how well queries find the rows that share a label with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from typing import Any

from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
from milvus_ichash.evaluation.metrics import RECALL_LEVELS
from milvus_ichash.evaluation.result import EvaluationResult, TaskResult
from milvus_ichash.evaluation.retriever import Retriever
from milvus_ichash.evaluation.scores import Scores, score
from milvus_ichash.evaluation.task_queries import TaskQueries, queries_by_task
from milvus_ichash.features import FeatureTable
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.version import __version__

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""`progress(description, total)` as a context manager that gives `advance(steps)`, such as a progress bar."""


def evaluate(
    encoder: HashEncoder,
    queries: FeatureTable,
    retriever: Retriever | Sequence[Retriever],
    *,
    tasks: Sequence[str] | None = None,
    settings: EvaluationSettings | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Measure how well queries find the rows that share a label with them.

    For each task the result holds mAP@all, mAP@k, precision@k, NDCG@k, precision within Hamming radius 2 and precision
    over recall: means over the queries that can be measured, which are those that have the modalities asked with, known
    labels, and at least one relevant row. A row is relevant to a query where they share a label. `settings` say which
    rows count, how rows at the same distance are ordered, and which k there are.

    Args:
        encoder: makes the queries' codes, cut to the length of the database's; from the bundle that made those.
        queries: with labels. A query that is also a row of the database finds itself; the result says how many there
            are.
        retriever: ranks the database. Several, where the codes are stored in several places (a collection for each,
            say): every task is measured on the one that stores its code.
        tasks: names; None: the usual ones that the stored codes allow (`tasks.choose_tasks`).
        settings: how to measure: which rows count, how ties are broken, at which ranks.
        progress: told of each task, and of the number of queries done.

    Raises:
        MismatchError: the codes of encoder and database come from different bundles.
        InputError: no labels, classes that do not fit, an unknown task, a code that is stored in two places, or no
            query left in any task.
        MilvusError: Milvus was not reached in time, or refused.

    Example:
        >>> retriever = ExactRetriever.encode(encoder, open_source("items.npz", split="retrieval"))
        >>> result = evaluate(encoder, open_source("items.npz", split="query").read(), retriever)
        >>> result.tasks["image->text"].metrics["mAP@all"]
    """
    settings = settings or EvaluationSettings()
    retrievers = (retriever,) if isinstance(retriever, Retriever) else tuple(retriever)
    by_task, notes = queries_by_task(encoder, queries, retrievers, tasks, settings)
    results = {asked.task.name: _measure(asked, settings, progress or silent) for asked in by_task}
    notes += [
        f"{name}: {result.rows_missing:g} of {result.rows} rows were not returned for a query, "
        f"{result.relevant_missing:g} of them relevant (means); they count as misses."
        for name, result in results.items()
        if result.rows_missing
    ]
    return EvaluationResult(measured_on(encoder, queries, retrievers, by_task, settings), results, tuple(notes))


def _measure(asked: TaskQueries, settings: EvaluationSettings, progress: Progress) -> TaskResult:
    blocks: list[Scores] = []
    with progress(asked.task.name, len(asked)) as advance:
        for ranked in asked.ranked_by(asked.retriever, settings):
            blocks.append(score(ranked, settings.at_k, settings.normalisation))
            advance(len(ranked.shared))
    return TaskResult(
        task=asked.task.name,
        asked=asked.task.asked,
        code=asked.task.stored_code,
        rows=asked.rows,
        queries=len(asked),
        without_modality=asked.without_modality,
        unlabelled=asked.unlabelled,
        without_relevant=asked.without_relevant,
        searched=asked.retriever.name or None,
        **(_means(Scores.concat(blocks)) if blocks else {}),
    )


def _means(scores: Scores) -> dict[str, Any]:
    """Return the figures of a `TaskResult`: means over the queries."""
    rows, relevant = scores.missing.mean(axis=0).tolist()
    return {
        "metrics": {name: float(values.mean()) for name, values in scores.values.items()},
        "precision_at_recall": dict(zip(RECALL_LEVELS, scores.precision.mean(axis=0).tolist(), strict=True)),
        "random_precision": float(scores.random_precision.mean()),
        "rows_missing": rows,
        "relevant_missing": relevant,
        "nothing_near": int((scores.near == 0).sum()),
    }


def measured_on(
    encoder: HashEncoder,
    queries: FeatureTable,
    retrievers: Sequence[Retriever],
    by_task: Sequence[TaskQueries],
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """Return what the figures were measured on; several retrievers are listed under "collections"."""
    manifest = encoder.manifest
    lengths = sorted({retriever.bits for retriever in retrievers})
    places = [
        {
            "via": retriever.via,
            "rows": len(retriever.database),
            **retriever.about,
            "bits": retriever.bits,
            "codes": list(retriever.codes),
            "tasks": [asked.task.name for asked in by_task if asked.task.stored_code in retriever.codes],
        }
        for retriever in retrievers
    ]
    return {
        "bundle": manifest.fingerprint,
        "method": manifest.method,
        "bits": lengths[0] if len(lengths) == 1 else lengths,
        **({} if lengths == [manifest.bits] else {"cut_from": manifest.bits}),
        "queries": len(queries),
        **(places[0] if len(places) == 1 else {"via": places[0]["via"], "collections": places}),
        "database": settings.part,
        "ties": settings.ties,
        "map_at_k_divides_by": settings.normalisation,
        "query_pdr": settings.query_pdr,
        "query_pdr_seed": settings.seed,
        "milvus_ichash": __version__,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def silent(description: str, total: int) -> AbstractContextManager[Callable[[int], object]]:
    """Return a `Progress` that shows nothing."""
    return nullcontext(lambda steps: None)
