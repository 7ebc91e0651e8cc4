"""What nprobe buys: recall, mAP and speed of BIN_IVF_FLAT at several nprobe, beside searches that find everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.collection_database import not_indexed_note
from milvus_ichash.evaluation.evaluate import Progress, measured_on, silent
from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
from milvus_ichash.evaluation.exact_retriever import ExactRetriever
from milvus_ichash.evaluation.histograms import Counts, LabelSets
from milvus_ichash.evaluation.milvus_retriever import MilvusRetriever
from milvus_ichash.evaluation.recall import kth_distance, recall_at
from milvus_ichash.evaluation.result import save_json
from milvus_ichash.evaluation.retriever import Ranked, counted
from milvus_ichash.evaluation.scores import score
from milvus_ichash.evaluation.speed import SAMPLE, Speed, by_client, in_this_process, speeds
from milvus_ichash.evaluation.task_queries import TaskQueries, homes, left_out, prepare, queries_of_task
from milvus_ichash.evaluation.tasks import Task, choose_tasks
from milvus_ichash.features import FeatureTable
from milvus_ichash.index import rankings
from milvus_ichash.index.hash_index import HashIndex

if TYPE_CHECKING:
    from milvus_ichash.runtime.encoder import HashEncoder

EXACT = "exact, here"
FLAT = "BIN_FLAT"
AT_K = (10, 100)


@dataclass(frozen=True)
class Point:
    """One way to search, measured on one task.

    Attributes:
        task: its name.
        collection: what was searched.
        search: "exact, here" (the codes read back, ranked in this process), "BIN_FLAT", or "BIN_IVF_FLAT".
        nprobe: cells that were looked through.
        queries: queries in the means.
        rows: rows that took part.
        returned: rows returned for a query, mean; of `top_k` asked for.
        recall: by k, recall@k against the exact ranking (`recall_at`).
        map: by k, mAP@k.
        speed: latency and queries/s; of "exact, here" in this process with one thread.
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
class SweepResult:
    """Points by task and then by nprobe, the exact ones first; what they were measured on; and remarks."""

    points: tuple[Point, ...]
    measured_on: dict[str, Any]
    notes: tuple[str, ...]

    def save(self, path: str | Path) -> None:
        """Write everything as JSON.

        Raises:
            InputError: where the file cannot be written.
        """
        save_json(
            {"measured_on": self.measured_on, "points": [asdict(p) for p in self.points], "notes": list(self.notes)},
            path,
        )


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
    """Measure BIN_IVF_FLAT at each nprobe and at nprobe = nlist, where it looks at all cells, against the exact ranking.

    In the list of one search the rows at the last distance are an arbitrary few of those there are: mAP@k takes them as
        they
    came, in expectation over the order of rows at the same distance.

    Args:
        encoder: makes the queries' codes.
        queries: with labels.
        indexes: collections with BIN_IVF_FLAT, which store different codes.
        nprobes: cells that are looked through.
        flat: collections of the same rows with BIN_FLAT, the line to beat.
        tasks: names; None: the usual ones.
        top_k: rows that a search asks for; the largest `settings.at_k` by default.
        settings: how is measured; `at_k` are the ranks of recall and mAP.
        progress: told of each task, and of the ways to search that are done.

    Raises:
        InputError: another index, an nprobe beyond nlist, a top-k below the largest rank, other rows in `flat`, or as
            `evaluate`.
        MismatchError, MilvusError: as `evaluate`.
    """
    settings = settings or EvaluationSettings(at_k=AT_K)
    top_k = _check(indexes, flat, nprobes, top_k, settings.at_k)
    exact = [ExactRetriever.read_back(index) for index in indexes]
    flats = [MilvusRetriever(index, top_k=top_k) for index in flat]
    home, flat_home = homes(exact), homes(flats)
    index_of = {code: index for index in indexes for code in index.codes}
    chosen = choose_tasks(encoder.manifest, home, tasks, masked=settings.query_pdr > 0)
    points: list[Point] = []
    notes = [
        not_indexed_note(i, rows) for i, e in zip(indexes, exact, strict=True) if (rows := e.about["rows_not_indexed"])
    ]
    tables = {}
    for place in exact:
        tables[place.name], remarks = prepare(encoder, queries, place, settings)
        notes += remarks
    for task in chosen:
        place, index = home[task.stored_code], index_of[task.stored_code]
        asked = queries_of_task(encoder, task, tables[place.name], place, settings.part)
        if asked.without_modality or asked.unlabelled or asked.without_relevant:
            notes.append(f"{left_out(task.name, task.asked, len(asked.codes), asked)}.")
        if not len(asked.codes):
            continue
        searches = [
            MilvusRetriever(index, top_k=top_k, nprobe=n, database=place.database) for n in _cells(nprobes, index)
        ]
        if task.stored_code in flat_home:
            searches.insert(0, _same_rows(flat_home[task.stored_code], place))
        with (progress or silent)(task.name, len(searches) + 2) as advance:
            points += _measure(task, asked, place, searches, settings, top_k, advance)
    if not points:
        raise InputError(f"no query is left in any task: {' '.join(notes)}")
    return SweepResult(
        tuple(points), _said(encoder, queries, exact, chosen, settings, nprobes, top_k, flat), tuple(notes)
    )


def _measure(
    task: Task,
    asked: TaskQueries,
    exact: ExactRetriever,
    searches: Sequence[MilvusRetriever],
    settings: EvaluationSettings,
    top_k: int,
    advance: Callable[[int], object],
) -> list[Point]:
    """One task, by the exact ranking and by each search."""
    code, bits = task.stored_code, asked.codes.shape[1] * 8
    truth = _Truth.of(exact, code, asked, settings)
    found = [_Found(truth.ranked, dict.fromkeys(settings.at_k, 1.0), min(top_k, asked.rows))]
    advance(1)
    for search in searches:
        lists = list(search.rankings(code, asked.codes, asked.required))
        distances = [some for _, some in lists]
        ranked = list(counted(lists, LabelSets(search.database.labels), asked.labels, truth.there, settings.ties, bits))
        recall = {k: float(recall_at(k, distances, reach, asked.rows).mean()) for k, reach in truth.reach.items()}
        found.append(_Found(ranked, recall, float(np.mean([len(some) for some in distances]))))
        advance(1)
    here = in_this_process(exact.database.codes[code][exact.part(asked.required)], top_k)
    ways = [here, *(by_client(search, code, asked.required, top_k) for search in searches)]
    places = [
        (exact.name, EXACT, None),
        *((some.name, some.about["index_kind"], some.about["nprobe"]) for some in searches),
    ]
    measured = zip(places, found, speeds(ways, asked.codes), strict=True)
    advance(1)
    return [
        Point(
            task.name,
            *place,
            len(asked.codes),
            asked.rows,
            some.returned,
            some.recall,
            some.mean_average_precision(settings),
            speed,
        )
        for place, some, speed in measured
    ]


@dataclass(frozen=True, eq=False)
class _Truth:
    """The exact ranking: itself, by k the distance of the k-th row of each query, and all rows by the labels they share."""

    ranked: list[Ranked]
    reach: dict[int, Counts]
    there: list[Counts]

    @classmethod
    def of(cls, exact: ExactRetriever, code: str, asked: TaskQueries, settings: EvaluationSettings) -> _Truth:
        tied = list(exact.ranked(code, asked.codes, asked.labels, asked.required, "expected"))
        within = np.concatenate([np.cumsum(block.groups.rows, axis=1) for block in tied])
        stable = settings.ties == "stable"
        return cls(
            ranked=list(exact.ranked(code, asked.codes, asked.labels, asked.required, "stable")) if stable else tied,
            reach={k: kth_distance(within, k) for k in settings.at_k},
            there=[there for block in tied for there in block.shared],
        )


@dataclass(frozen=True, eq=False)
class _Found:
    """What one way to search found."""

    ranked: Sequence[Ranked]
    recall: dict[int, float]
    returned: float

    def mean_average_precision(self, settings: EvaluationSettings) -> dict[int, float]:
        """By k."""
        values = [score(block, settings.at_k, settings.normalisation).values for block in self.ranked]
        return {k: float(np.concatenate([some[f"mAP@{k}"] for some in values]).mean()) for k in settings.at_k}


def _check(
    indexes: Sequence[HashIndex],
    flat: Sequence[HashIndex],
    nprobes: Sequence[int],
    top_k: int | None,
    at_k: Sequence[int],
) -> int:
    for index in indexes:
        if index.spec.kind != "BIN_IVF_FLAT":
            server = " on a Milvus server (Milvus Lite has none)" if index.connection.is_lite else ""
            raise InputError(
                f"a sweep over nprobe needs the index BIN_IVF_FLAT, and '{index.collection}' has {index.spec.kind}, which looks at every "
                f"code: build one{server} with `milvus-ichash index --collection {index.collection} --index BIN_IVF_FLAT`, or leave "
                "--sweep out."
            )
        for nprobe in nprobes:
            index.spec.check_nprobe(nprobe)
    for index in flat:
        if index.spec.kind != "BIN_FLAT":
            raise InputError(
                f"'{index.collection}' has the index {index.spec.kind}: --flat takes a collection with BIN_FLAT."
            )
    top_k = max(at_k) if top_k is None else top_k
    if top_k < max(at_k):
        raise InputError(
            f"top-k is {top_k}, and recall and mAP are asked for at rank {max(at_k)}: take --top-k {max(at_k)} or more."
        )
    rankings.check_reach(top_k, None, indexes[0].bits)
    return top_k


def _cells(nprobes: Sequence[int], index: HashIndex) -> list[int]:
    """Those to be measured: those asked for, and all cells."""
    return sorted({*nprobes, index.spec.nlist or 1})


def _same_rows(flat: MilvusRetriever, exact: ExactRetriever) -> MilvusRetriever:
    if flat.bits != exact.bits:
        raise InputError(
            f"'{flat.name}' holds codes of {flat.bits} bits and '{exact.name}' of {exact.bits}, so they cannot be compared: --flat takes a "
            "collection with the same codes."
        )
    if not np.array_equal(flat.database.ids, exact.database.ids):
        raise InputError(
            f"'{flat.name}' holds other rows ({len(flat.database)}) than '{exact.name}' ({len(exact.database)}), so they cannot be "
            "compared: --flat takes a collection with the same rows."
        )
    return flat


def _said(
    encoder: HashEncoder,
    queries: FeatureTable,
    exact: Sequence[ExactRetriever],
    chosen: Sequence[Task],
    settings: EvaluationSettings,
    nprobes: Sequence[int],
    top_k: int,
    flat: Sequence[HashIndex],
) -> dict[str, Any]:
    return {
        **measured_on(encoder, queries, exact, chosen, settings),
        "via": "sweep",
        "nprobes": sorted(set(nprobes)),
        "top_k": top_k,
        "flat": [index.collection for index in flat],
        "latency": f"MilvusClient.search, one query a call, Bounded consistency, the first {SAMPLE} queries, all ways in turns",
    }
