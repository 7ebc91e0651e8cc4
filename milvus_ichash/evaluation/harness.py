"""The harness: queries through the encoder, rankings from a retriever, figures out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

from milvus_ichash import __version__
from milvus_ichash.errors import InputError, MismatchError
from milvus_ichash.evaluation.database import align_labels
from milvus_ichash.evaluation.histograms import Labels
from milvus_ichash.evaluation.metrics import RECALL_LEVELS, Normalisation
from milvus_ichash.evaluation.result import Cell, EvaluationResult
from milvus_ichash.evaluation.retrievers import Retriever, Ties
from milvus_ichash.evaluation.scores import Scores, score
from milvus_ichash.evaluation.tasks import Part, Task, choose_tasks
from milvus_ichash.features import FeatureTable, Mask
from milvus_ichash.incomplete import pdr_mask
from milvus_ichash.io.columns import listing

if TYPE_CHECKING:
    from milvus_ichash.runtime.encoder import HashEncoder

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""`progress(description, total)` as a context manager that gives `advance(steps)`, such as a progress bar."""


@dataclass(frozen=True)
class Settings:
    """How is measured.

    Attributes:
        part: rows of the database that take part (`tasks.Part`).
        ties: "expected": the expected value over the order of rows at the same distance; "stable": distance, then id.
        at_k: ranks at which mAP@k, P@k and NDCG@k are taken.
        normalisation: mAP@k divides by min(R, k), or by the relevant rows among the first k ("hits").
        query_pdr: share of the queries from which one modality is hidden (`incomplete.pdr_mask`).
        seed: of that mask.
    """

    part: Part = "observed"
    ties: Ties = "expected"
    at_k: tuple[int, ...] = (50,)
    normalisation: Normalisation = "min(R,k)"
    query_pdr: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for k in self.at_k:
            if k < 1:
                raise InputError(f"metrics at rank {k} do not exist: ranks count from 1.")


def evaluate(
    encoder: HashEncoder,
    queries: FeatureTable,
    retriever: Retriever | Sequence[Retriever],
    *,
    tasks: Sequence[str] | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Measure how well queries find the rows that share a label with them.

    Args:
        encoder: makes the queries' codes; from the bundle that made the database's.
        queries: with labels. One that is also a row of the database is left as it is; the result says how many there are.
        retriever: ranks the database; several where the codes are stored in several places (a collection for each, say): every
            task is measured on the one that stores its code.
        tasks: names; None: the usual ones (`tasks.choose_tasks`) that the stored codes allow.
        settings: how is measured.
        progress: told of each task and of the queries done.

    Raises:
        MismatchError: the codes of encoder and database come from different bundles.
        InputError: no labels, classes that do not fit, an unknown task, a code that is stored in two places, or no query left in
            any task.
        MilvusError: Milvus was not reached in time, or refused.
    """
    settings = settings or Settings()
    retrievers = (retriever,) if isinstance(retriever, Retriever) else tuple(retriever)
    home = _homes(retrievers)
    chosen = choose_tasks(encoder.manifest, home, tasks, masked=settings.query_pdr > 0)
    tables, notes = [], []
    for place in retrievers:
        table, remarks = _prepare(encoder, queries, place, settings)
        tables.append(table)
        notes += [f"{place.name}: {remark}" if len(retrievers) > 1 else remark for remark in (*place.notes, *remarks)]
    cells = {}
    for task in chosen:
        place = home[task.stored_code]
        cells[task.name] = _measure(encoder, task, tables[retrievers.index(place)], place, settings, progress or _silent)
    if not any(cell.queries for cell in cells.values()):
        raise InputError(f"no query is left in any task: {'; '.join(map(_left_out, cells.values()))}.")
    notes += [note for cell in cells.values() for note in _remarks(cell)]
    return EvaluationResult(cells, _measured_on(encoder, queries, retrievers, cells, settings), tuple(notes))


def _homes(retrievers: Sequence[Retriever]) -> dict[str, Retriever]:
    """Where each code is stored."""
    home: dict[str, Retriever] = {}
    for retriever in retrievers:
        for code in retriever.codes:
            if code in home:
                raise InputError(
                    f"'{code}' is stored in both {home[code].name or 'one database'} and {retriever.name or 'the other'}, so it is not "
                    "clear which is to be measured: name the one that you mean, and for other codes another."
                )
            home[code] = retriever
    return home


def _prepare(encoder: HashEncoder, queries: FeatureTable, retriever: Retriever, settings: Settings) -> tuple[FeatureTable, list[str]]:
    """The queries as they are asked, with labels over the database's classes, and what is to be said about them."""
    manifest, database = encoder.manifest, retriever.database
    if manifest.fingerprint != retriever.fingerprint:
        raise MismatchError(
            f"the database's codes come from bundle {retriever.fingerprint}, the queries' encoder is {manifest.fingerprint}: "
            "they cannot be compared; take the bundle that the codes were made with."
        )
    if queries.labels is None:
        raise InputError("the queries have no labels: what is relevant to them cannot be told. Name their column with --labels-column.")
    labels, unknown = align_labels(queries.labels, queries.label_names, database)
    notes = []
    if unknown:
        notes.append(f"classes of the queries that the database does not know, and that match nothing: {listing(unknown, 5)}.")
    overlap = len(set(queries.ids.tolist()) & set(database.ids.tolist()))
    if overlap:
        notes.append(
            f"{overlap} of {len(queries)} queries have the id of a row of the database: if they are the same items, they find themselves, "
            "which flatters the figures."
        )
    unlabelled = len(database) - int(np.count_nonzero(database.labels.any(axis=1)))
    if unlabelled:
        notes.append(f"{unlabelled} of {len(database)} rows of the database have no labels: they count as relevant to nothing.")
    table = replace(queries, labels=labels, label_names=None)
    return (table.hide(pdr_mask(table.present, settings.query_pdr, settings.seed)) if settings.query_pdr else table), notes


def _measure(encoder: HashEncoder, task: Task, table: FeatureTable, retriever: Retriever, settings: Settings, progress: Progress) -> Cell:
    database = retriever.database
    required = task.rows(settings.part, database.modalities)
    part = retriever.part(required)
    asked = task.queries(table)
    known = asked if asked.labelled is None else asked.take(asked.labelled)
    there = database.labels[part].any(axis=0)
    findable: Mask = np.asarray(_labels(known)[:, there].any(axis=1))
    left = known.take(findable)
    codes = encoder.encode_table(left)[task.query_code]
    blocks: list[Scores] = []
    with progress(task.name, len(left)) as advance:
        for ranked in retriever.ranked(task.stored_code, codes, _labels(left), required, settings.ties) if len(left) else ():
            blocks.append(score(ranked, settings.at_k, settings.normalisation))
            advance(len(ranked.near))
    return Cell(
        task=task.name,
        asked=task.asked,
        code=task.stored_code,
        rows=len(part),
        queries=len(left),
        without_modality=len(table) - len(asked),
        unlabelled=len(asked) - len(known),
        without_relevant=int((~findable).sum()),
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


def _measured_on(
    encoder: HashEncoder, queries: FeatureTable, retrievers: Sequence[Retriever], cells: Mapping[str, Cell], settings: Settings
) -> dict[str, Any]:
    manifest = encoder.manifest
    places = [{"via": retriever.via, "rows": len(retriever.database), **retriever.about} for retriever in retrievers]
    for place, retriever in zip(places, retrievers, strict=True):
        place["codes"] = list(retriever.codes)
        place["tasks"] = [name for name, cell in cells.items() if cell.code in retriever.codes]
    return {
        "bundle": manifest.fingerprint,
        "method": manifest.method,
        "bits": manifest.bits,
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


def _remarks(cell: Cell) -> list[str]:
    remarks = []
    if cell.without_modality or cell.unlabelled or cell.without_relevant:
        remarks.append(f"{_left_out(cell)}.")
    if cell.rows_missing:
        remarks.append(
            f"{cell.task}: {cell.rows_missing:g} of {cell.rows} rows were not returned for a query, "
            f"{cell.relevant_missing:g} of them relevant (means); they count as misses."
        )
    return remarks


def _left_out(cell: Cell) -> str:
    asked = " and ".join(cell.asked or ())
    reasons = {
        f"lack {asked}": cell.without_modality,
        "have no labels": cell.unlabelled,
        "have nothing relevant to find": cell.without_relevant,
    }
    return f"{cell.task}: {cell.queries} queries, left out: " + (
        ", ".join(f"{count} that {why}" for why, count in reasons.items() if count) or "none"
    )


def _labels(table: FeatureTable) -> Labels:
    if table.labels is None:
        raise InputError("the queries have no labels.")
    return table.labels


def _silent(description: str, total: int) -> AbstractContextManager[Callable[[int], object]]:
    return nullcontext(lambda steps: None)
