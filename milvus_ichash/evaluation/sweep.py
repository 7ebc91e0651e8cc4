"""`sweep`: recall, mAP and speed of BIN_IVF_FLAT at several nprobe, beside searches that find everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.evaluate import Progress, measured_on, silent
from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
from milvus_ichash.evaluation.exact_retriever import ExactRetriever
from milvus_ichash.evaluation.metrics import recall_at
from milvus_ichash.evaluation.milvus_retriever import MilvusRetriever
from milvus_ichash.evaluation.result import MeasuredResult
from milvus_ichash.evaluation.retriever import Retriever
from milvus_ichash.evaluation.scores import Scores, score
from milvus_ichash.evaluation.speed import SAMPLE, Speed, by_client, in_this_process, speeds
from milvus_ichash.evaluation.task_queries import TaskQueries, queries_by_task, retriever_by_code
from milvus_ichash.features import FeatureTable
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.runtime.encoder import HashEncoder

EXACT = "exact, here"
FLAT = "BIN_FLAT"
AT_K = (10, 100)
"""Default ranks of recall and mAP."""


@dataclass(frozen=True)
class Point:
    """One way to search, measured on one task.

    Attributes:
        task: its name.
        collection: name of the collection that was searched.
        search: "exact, here" (the codes read back, ranked in this process), "BIN_FLAT", or "BIN_IVF_FLAT".
        nprobe: cells of BIN_IVF_FLAT that were looked through; None for the others.
        queries: number of queries that the means are over.
        rows: number of rows that count.
        returned: number of rows returned for a query, mean; at most the `top_k` asked for.
        recall: recall@k against the exact ranking by k, each from 0 to 1 (`metrics.recall_at`).
        map: mAP@k by k, each from 0 to 1.
        speed: milliseconds a query and queries per second; for "exact, here" in this process with one thread.
    """

    task: str
    collection: str
    search: str
    nprobe: int | None
    queries: int
    rows: int
    returned: float
    recall: dict[int, float]
    map: dict[int, float]
    speed: Speed


@dataclass(frozen=True)
class SweepResult(MeasuredResult):
    """The points of a sweep, what they were measured on, and notes for whoever reads them.

    Attributes:
        measured_on: as in a `MeasuredResult`, and the nprobe values, `top_k`, and how the latency was measured.
        points: task by task; in each first the exact searches, then BIN_IVF_FLAT by ascending nprobe.
        notes: sentences, such as which queries were left out.
    """

    points: tuple[Point, ...]
    notes: tuple[str, ...]


def sweep(
    encoder: HashEncoder,
    queries: FeatureTable,
    indexes: Sequence[HashIndex],
    nprobes: Sequence[int],
    *,
    flat: Sequence[HashIndex] = (),
    tasks: Sequence[str] | None = None,
    top_k: int | None = None,
    settings: EvaluationSettings | None = None,
    progress: Progress | None = None,
) -> SweepResult:
    """Measure recall, mAP and speed of BIN_IVF_FLAT at several nprobe, against the exact ranking.

    nprobe = nlist, where BIN_IVF_FLAT looks through all cells, is always measured too. Of the rows at the last distance
    a search returns an arbitrary few; mAP@k takes those that came.

    Args:
        encoder: makes the queries' codes.
        queries: with labels.
        indexes: collections with BIN_IVF_FLAT, which store different codes.
        nprobes: numbers of cells to look through, each 1 to nlist.
        flat: collections of the same rows with BIN_FLAT, to compare with.
        tasks: names; None: the usual ones that the stored codes allow (`tasks.choose_tasks`).
        top_k: rows that one search asks for, 1 to 16,384; None: the largest rank in `settings.at_k`.
        settings: how to measure; `at_k` are the ranks of recall and mAP, by default 10 and 100.
        progress: told of each task, and of the number of searches done.

    Raises:
        InputError: another index than BIN_IVF_FLAT, an nprobe beyond nlist, a top-k below the largest rank, other rows
            or another code length in `flat`, or as `evaluate`.
        MismatchError: as `evaluate`.
        MilvusError: Milvus was not reached in time, or refused.

    Example:
        >>> result = sweep(encoder, queries, [HashIndex.open(connection, "items")], [1, 4, 16])
        >>> [(point.nprobe, point.recall[10], point.speed.p50_ms) for point in result.points]
    """
    settings = settings or EvaluationSettings(at_k=AT_K)
    top_k = max(settings.at_k) if top_k is None else top_k
    _check(indexes, flat, nprobes, top_k, settings.at_k)
    exact = [ExactRetriever.read_back(index) for index in indexes]
    probing = [
        MilvusRetriever(index, top_k=top_k, database=place.database)
        for index, place in zip(indexes, exact, strict=True)
    ]
    by_task, notes = queries_by_task(encoder, queries, exact, tasks, settings)
    notes = [note for retriever in probing for note in retriever.notes] + notes
    probing_of = retriever_by_code(probing)
    flat_of = retriever_by_code([MilvusRetriever(index, top_k=top_k) for index in flat])
    measured = {asked.task.stored_code for asked in by_task}
    notes += [
        f"{index.collection} is not compared with: no task asks for its codes."
        for index in flat
        if not measured.intersection(index.codes)
    ]
    points: list[Point] = []
    for asked in filter(len, by_task):
        code = asked.task.stored_code
        cells = sorted({*nprobes, probing_of[code].index.spec.nlist or 1})
        searches = [probing_of[code].probing(nprobe) for nprobe in cells]
        if code in flat_of:
            _check_same_rows(flat_of[code], asked.retriever)
            searches.insert(0, flat_of[code])
        with (progress or silent)(asked.task.name, len(searches) + 2) as advance:
            points += _measure(asked, searches, settings, top_k, advance)
    on = {
        **measured_on(encoder, queries, exact, by_task, settings),
        "via": "sweep",
        "nprobes": sorted(set(nprobes)),
        "top_k": top_k,
        "flat": [index.collection for index in flat],
        "latency": f"MilvusClient.search, one query a call, Bounded consistency, the first {SAMPLE} queries, "
        "the ways to search take turns, query by query",
    }
    return SweepResult(on, tuple(points), tuple(notes))


def _measure(
    asked: TaskQueries,
    searches: Sequence[MilvusRetriever],
    settings: EvaluationSettings,
    top_k: int,
    advance: Callable[[int], object],
) -> list[Point]:
    """Measure one task by the exact ranking and by each search."""
    code, database = asked.task.stored_code, asked.retriever.database
    timed = [
        in_this_process(database.codes[code][database.rows_with(asked.required)], top_k),
        *(by_client(search, code, asked.required, top_k) for search in searches),
    ]
    measured = speeds(timed, asked.codes)
    advance(1)
    points: list[Point] = []
    existing = None
    for retriever, speed in zip((asked.retriever, *searches), measured, strict=True):
        blocks = list(asked.ranked_by(retriever, settings))
        returned = np.concatenate([block.returned for block in blocks])
        existing = returned if existing is None else existing
        scores = Scores.concat([score(block, settings.at_k, settings.normalisation) for block in blocks])
        points.append(
            Point(
                task=asked.task.name,
                collection=retriever.name,
                search=retriever.about["index_kind"] if isinstance(retriever, MilvusRetriever) else EXACT,
                nprobe=retriever.about.get("nprobe"),
                queries=len(asked),
                rows=asked.rows,
                returned=float(np.minimum(returned.sum(axis=1), top_k).mean()),
                recall={k: float(recall_at(k, returned, existing).mean()) for k in settings.at_k},
                map={k: float(scores.values[f"mAP@{k}"].mean()) for k in settings.at_k},
                speed=speed,
            )
        )
        advance(1)
    return points


def _check(
    indexes: Sequence[HashIndex],
    flat: Sequence[HashIndex],
    nprobes: Sequence[int],
    top_k: int,
    at_k: Sequence[int],
) -> None:
    for index in indexes:
        if index.spec.kind != "BIN_IVF_FLAT":
            server = " on a Milvus server (Milvus Lite has none)" if index.connection.is_lite else ""
            raise InputError(
                f"a sweep over nprobe needs the index BIN_IVF_FLAT, and '{index.collection}' has {index.spec.kind}, "
                f"which looks at every code: build one{server} with `milvus-ichash index --collection "
                f"{index.collection} --index BIN_IVF_FLAT`."
            )
        for nprobe in nprobes:
            index.spec.choose_nprobe(nprobe)
    for index in flat:
        if index.spec.kind != "BIN_FLAT":
            raise InputError(
                f"'{index.collection}' has the index {index.spec.kind}: --flat takes a collection with BIN_FLAT."
            )
    if top_k < max(at_k):
        raise InputError(
            f"top-k is {top_k}, and recall and mAP are asked for at rank {max(at_k)}: take --top-k {max(at_k)} or more."
        )
    indexes[0].check_top_k(top_k)


def _check_same_rows(flat: MilvusRetriever, exact: Retriever) -> None:
    if flat.bits != exact.bits:
        raise InputError(
            f"'{flat.name}' holds codes of {flat.bits} bits and '{exact.name}' of {exact.bits}, so they cannot be "
            "compared: --flat takes a collection with the same codes."
        )
    if not np.array_equal(flat.database.ids, exact.database.ids):
        raise InputError(
            f"'{flat.name}' holds other rows ({len(flat.database)}) than '{exact.name}' ({len(exact.database)}), so "
            "they cannot be compared: --flat takes a collection with the same rows."
        )
