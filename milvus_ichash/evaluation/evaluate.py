"""The harness: queries through the encoder, rankings from a retriever, figures out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
from milvus_ichash.evaluation.metrics import RECALL_LEVELS
from milvus_ichash.evaluation.result import EvaluationResult, TaskResult
from milvus_ichash.evaluation.retriever import Retriever
from milvus_ichash.evaluation.scores import Scores, score
from milvus_ichash.evaluation.task_queries import homes, left_out, prepare, queries_of_task
from milvus_ichash.evaluation.tasks import Task, choose_tasks
from milvus_ichash.features import FeatureTable
from milvus_ichash.version import __version__

if TYPE_CHECKING:
    from milvus_ichash.runtime.encoder import HashEncoder

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

    Args:
        encoder: makes the queries' codes, cut to the length of the database's; from the bundle that made those.
        queries: with labels. One that is also a row of the database is left as it is; the result says how many there
            are.
        retriever: ranks the database; several where the codes are stored in several places (a collection for each,
            say): every task is measured on the one that stores its code.
        tasks: names; None: the usual ones (`tasks.choose_tasks`) that the stored codes allow.
        settings: how is measured.
        progress: told of each task and of the queries done.

    Raises:
        MismatchError: the codes of encoder and database come from different bundles.
        InputError: no labels, classes that do not fit, an unknown task, a code that is stored in two places, or no
            query left in any task.
        MilvusError: Milvus was not reached in time, or refused.
    """
    settings = settings or EvaluationSettings()
    retrievers = (retriever,) if isinstance(retriever, Retriever) else tuple(retriever)
    home = homes(retrievers)
    chosen = choose_tasks(encoder.manifest, home, tasks, masked=settings.query_pdr > 0)
    tables, notes = [], []
    for place in retrievers:
        table, remarks = prepare(encoder, queries, place, settings)
        tables.append(table)
        notes += [f"{place.name}: {remark}" if len(retrievers) > 1 else remark for remark in (*place.notes, *remarks)]
    cells = {}
    for task in chosen:
        place = home[task.stored_code]
        cells[task.name] = _measure(encoder, task, tables[retrievers.index(place)], place, settings, progress or silent)
    if not any(cell.queries for cell in cells.values()):
        raise InputError(
            f"no query is left in any task: {'; '.join(left_out(cell.task, cell.asked, cell.queries, cell) for cell in cells.values())}."
        )
    notes += [note for cell in cells.values() for note in _remarks(cell)]
    return EvaluationResult(cells, measured_on(encoder, queries, retrievers, chosen, settings), tuple(notes))


def _measure(
    encoder: HashEncoder,
    task: Task,
    table: FeatureTable,
    retriever: Retriever,
    settings: EvaluationSettings,
    progress: Progress,
) -> TaskResult:
    asked = queries_of_task(encoder, task, table, retriever, settings.part)
    blocks: list[Scores] = []
    with progress(task.name, len(asked.codes)) as advance:
        some = len(asked.codes) > 0
        for ranked in (
            retriever.ranked(task.stored_code, asked.codes, asked.labels, asked.required, settings.ties) if some else ()
        ):
            blocks.append(score(ranked, settings.at_k, settings.normalisation))
            advance(len(ranked.near))
    return TaskResult(
        task=task.name,
        asked=task.asked,
        code=task.stored_code,
        rows=asked.rows,
        queries=len(asked.codes),
        without_modality=asked.without_modality,
        unlabelled=asked.unlabelled,
        without_relevant=asked.without_relevant,
        **_means(blocks),
        searched=retriever.name or None,
    )


def _means(blocks: Sequence[Scores]) -> dict[str, Any]:
    """The figures of a cell: means over its queries."""
    if not blocks:
        return {
            "metrics": {},
            "precision_at_recall": {},
            "random_precision": None,
            "rows_missing": 0.0,
            "relevant_missing": 0.0,
            "nothing_near": 0,
        }
    scores = Scores.concat(blocks)
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
    chosen: Sequence[Task],
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """What the result says of where its figures come from; several retrievers are listed under "collections"."""
    manifest = encoder.manifest
    lengths = sorted({retriever.bits for retriever in retrievers})
    places = [{"via": retriever.via, "rows": len(retriever.database), **retriever.about} for retriever in retrievers]
    for place, retriever in zip(places, retrievers, strict=True):
        place["bits"] = retriever.bits
        place["codes"] = list(retriever.codes)
        place["tasks"] = [task.name for task in chosen if task.stored_code in retriever.codes]
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


def _remarks(cell: TaskResult) -> list[str]:
    remarks = []
    if cell.without_modality or cell.unlabelled or cell.without_relevant:
        remarks.append(f"{left_out(cell.task, cell.asked, cell.queries, cell)}.")
    if cell.rows_missing:
        remarks.append(
            f"{cell.task}: {cell.rows_missing:g} of {cell.rows} rows were not returned for a query, "
            f"{cell.relevant_missing:g} of them relevant (means); they count as misses."
        )
    return remarks


def silent(description: str, total: int) -> AbstractContextManager[Callable[[int], object]]:
    """A `Progress` that nobody sees."""
    return nullcontext(lambda steps: None)
