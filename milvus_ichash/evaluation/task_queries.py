"""The queries of each task: which of them are left, their codes, and the retriever that they go to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from milvus_ichash.choices import DatabasePart
from milvus_ichash.codes import Codes
from milvus_ichash.errors import InputError, MismatchError
from milvus_ichash.evaluation.database import align_labels
from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
from milvus_ichash.evaluation.retriever import Ranked, Retriever
from milvus_ichash.evaluation.tasks import Task, choose_tasks
from milvus_ichash.features import FeatureTable, MultiHot
from milvus_ichash.incomplete import pdr_mask
from milvus_ichash.io.column_rules import listing
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.trained_items import note_on_queries

AnyRetriever = TypeVar("AnyRetriever", bound=Retriever)


@dataclass(frozen=True, eq=False)
class TaskQueries:
    """The Q queries of one task that can be measured.

    Attributes:
        task: the task.
        retriever: searches the task's stored code.
        codes: uint8 (Q, bits / 8).
        labels: uint8 (Q, C), over the database's classes.
        required: modalities that a row must have to count.
        rows: number of database rows that count.
        without_modality: queries left out because they lack a modality that is asked with.
        unlabelled: queries left out because their labels are unknown.
        without_relevant: queries left out because no row that counts is relevant to them.
    """

    task: Task
    retriever: Retriever
    codes: Codes
    labels: MultiHot
    required: tuple[str, ...]
    rows: int
    without_modality: int
    unlabelled: int
    without_relevant: int

    def __len__(self) -> int:
        return len(self.codes)

    def ranked_by(self, retriever: Retriever, settings: EvaluationSettings) -> Iterator[Ranked]:
        """Yield the rankings of the queries, in blocks; nothing where there is no query."""
        if len(self):
            yield from retriever.ranked(self.task.stored_code, self.codes, self.labels, self.required, settings.ties)

    def left_out(self) -> str:
        """Return how many queries there are, and how many were left out for which reason ("none" where none was)."""
        reasons = {
            f"lack {' and '.join(self.task.asked or ())}": self.without_modality,
            "have no labels": self.unlabelled,
            "have nothing relevant to find": self.without_relevant,
        }
        counts = ", ".join(f"{count} that {why}" for why, count in reasons.items() if count)
        return f"{self.task.name}: {len(self)} queries, left out: {counts or 'none'}"


def retriever_by_code(retrievers: Sequence[AnyRetriever]) -> dict[str, AnyRetriever]:
    """Return for each stored code the retriever that searches it.

    Raises:
        InputError: a code is stored in two places.
    """
    by_code: dict[str, AnyRetriever] = {}
    for retriever in retrievers:
        for code in retriever.codes:
            if code in by_code:
                raise InputError(
                    f"'{code}' is stored in both {by_code[code].name or 'one database'} and "
                    f"{retriever.name or 'the other'}, so it is not clear which is to be measured: name the one that "
                    "you mean, and for other codes another."
                )
            by_code[code] = retriever
    return by_code


def queries_by_task(
    encoder: HashEncoder,
    queries: FeatureTable,
    retrievers: Sequence[Retriever],
    tasks: Sequence[str] | None,
    settings: EvaluationSettings,
) -> tuple[list[TaskQueries], list[str]]:
    """Return the queries of each task, encoded, and notes on databases and queries for whoever reads the result.

    Args:
        encoder: makes the queries' codes, cut to the length of the database's; from the bundle that made those.
        queries: with labels.
        retrievers: they search different codes.
        tasks: names; None: the usual ones that the stored codes allow (`tasks.choose_tasks`).
        settings: how to measure.

    Raises:
        MismatchError: the codes of encoder and database come from different bundles.
        InputError: no labels, classes that do not fit, an unknown task, a code that is stored in two places, or no
            query left in any task.
    """
    by_code = retriever_by_code(retrievers)
    chosen = choose_tasks(encoder.manifest, by_code, tasks, masked=settings.query_pdr > 0)
    notes = note_on_queries(encoder.manifest.training, queries)
    if settings.query_pdr:
        queries = queries.hide(pdr_mask(queries.present, settings.query_pdr, settings.seed))
    tables = {}
    for retriever in retrievers:
        tables[id(retriever)], found = _with_database_labels(encoder, queries, retriever)
        notes += [f"{retriever.name}: {note}" if len(retrievers) > 1 else note for note in (*retriever.notes, *found)]
    asked = {id(by_code[task.stored_code]) for task in chosen}
    notes += [
        f"{retriever.name} is not searched: no task asks for its codes."
        for retriever in retrievers
        if id(retriever) not in asked
    ]
    by_task = []
    for task in chosen:
        retriever = by_code[task.stored_code]
        by_task.append(_queries_of_task(encoder, task, tables[id(retriever)], retriever, settings.part))
    if not any(map(len, by_task)):
        raise InputError(f"no query is left in any task: {'; '.join(each.left_out() for each in by_task)}.")
    notes += [
        f"{each.left_out()}." for each in by_task if each.without_modality or each.unlabelled or each.without_relevant
    ]
    return by_task, notes


def _with_database_labels(
    encoder: HashEncoder, queries: FeatureTable, retriever: Retriever
) -> tuple[FeatureTable, list[str]]:
    """Return the queries with labels over the database's classes, and notes on what does not match."""
    manifest, database = encoder.manifest, retriever.database
    if manifest.fingerprint != retriever.fingerprint:
        raise MismatchError(
            f"the database's codes come from bundle {retriever.fingerprint}, the queries' encoder is "
            f"{manifest.fingerprint}: they cannot be compared; take the bundle that the codes were made with."
        )
    labels, unknown = align_labels(queries.known_labels("the queries"), queries.label_names, database)
    notes = []
    if unknown:
        notes.append(
            f"classes of the queries that the database does not know, and that match nothing: {listing(unknown, 5)}."
        )
    overlap = len(set(queries.ids.tolist()) & set(database.ids.tolist()))
    if overlap:
        notes.append(
            f"{overlap} of {len(queries)} queries have the id of a row of the database: if they are the same items, "
            "they find themselves, which flatters the figures."
        )
    unlabelled = len(database) - int(np.count_nonzero(database.labels.any(axis=1)))
    if unlabelled:
        notes.append(
            f"{unlabelled} of {len(database)} rows of the database have no labels: they count as relevant to nothing."
        )
    return replace(queries, labels=labels, label_names=None), notes


def _queries_of_task(
    encoder: HashEncoder, task: Task, table: FeatureTable, retriever: Retriever, part: DatabasePart
) -> TaskQueries:
    """Encode the queries that have what is asked with, known labels, and something relevant to find."""
    database = retriever.database
    required = task.required(part, database.modalities)
    rows = database.rows_with(required)
    asked = task.queries(table)
    known = asked if asked.labelled is None else asked.take(asked.labelled)
    there = database.labels[rows].any(axis=0)
    findable = np.asarray(known.known_labels()[:, there].any(axis=1))
    left = known.take(findable)
    return TaskQueries(
        task=task,
        retriever=retriever,
        codes=encoder.cut(retriever.bits).encode_table(left)[task.query_code],
        labels=left.known_labels(),
        required=required,
        rows=len(rows),
        without_modality=len(table) - len(asked),
        unlabelled=len(asked) - len(known),
        without_relevant=len(known) - len(left),
    )
