"""What is asked of the database in each task: which queries are left, as which codes, and which rows take part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from milvus_ichash.choices import DatabasePart
from milvus_ichash.codes import Codes
from milvus_ichash.errors import InputError, MismatchError
from milvus_ichash.evaluation.database import align_labels
from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
from milvus_ichash.evaluation.result import TaskResult
from milvus_ichash.evaluation.retriever import Retriever
from milvus_ichash.evaluation.tasks import Task
from milvus_ichash.features import FeatureTable, Mask, MultiHot
from milvus_ichash.incomplete import pdr_mask
from milvus_ichash.io.column_rules import listing

if TYPE_CHECKING:
    from milvus_ichash.runtime.encoder import HashEncoder


AnyRetriever = TypeVar("AnyRetriever", bound=Retriever)


@dataclass(frozen=True, eq=False)
class TaskQueries:
    """The queries of one task.

    Attributes:
        codes: uint8 (Q, bits / 8), of the queries that are left.
        labels: multi-hot (Q, C), over the database's classes.
        required: modalities that a row must have to take part.
        rows: rows of the database that take part.
        without_modality, unlabelled, without_relevant: queries that were left out (`result.Cell`).
    """

    codes: Codes
    labels: MultiHot
    required: tuple[str, ...]
    rows: int
    without_modality: int
    unlabelled: int
    without_relevant: int


def homes(retrievers: Sequence[AnyRetriever]) -> dict[str, AnyRetriever]:
    """Where each code is stored.

    Raises:
        InputError: one is stored in two places.
    """
    home: dict[str, AnyRetriever] = {}
    for retriever in retrievers:
        for code in retriever.codes:
            if code in home:
                raise InputError(
                    f"'{code}' is stored in both {home[code].name or 'one database'} and {retriever.name or 'the other'}, so it is not "
                    "clear which is to be measured: name the one that you mean, and for other codes another."
                )
            home[code] = retriever
    return home


def prepare(
    encoder: HashEncoder, queries: FeatureTable, retriever: Retriever, settings: EvaluationSettings
) -> tuple[FeatureTable, list[str]]:
    """The queries as they are asked, with labels over the database's classes, and what is to be said about them."""
    manifest, database = encoder.manifest, retriever.database
    if manifest.fingerprint != retriever.fingerprint:
        raise MismatchError(
            f"the database's codes come from bundle {retriever.fingerprint}, the queries' encoder is {manifest.fingerprint}: "
            "they cannot be compared; take the bundle that the codes were made with."
        )
    if queries.labels is None:
        raise InputError(
            "the queries have no labels: what is relevant to them cannot be told. Name their column with --labels-column."
        )
    labels, unknown = align_labels(queries.labels, queries.label_names, database)
    notes = []
    if unknown:
        notes.append(
            f"classes of the queries that the database does not know, and that match nothing: {listing(unknown, 5)}."
        )
    overlap = len(set(queries.ids.tolist()) & set(database.ids.tolist()))
    if overlap:
        notes.append(
            f"{overlap} of {len(queries)} queries have the id of a row of the database: if they are the same items, they find themselves, "
            "which flatters the figures."
        )
    unlabelled = len(database) - int(np.count_nonzero(database.labels.any(axis=1)))
    if unlabelled:
        notes.append(
            f"{unlabelled} of {len(database)} rows of the database have no labels: they count as relevant to nothing."
        )
    table = replace(queries, labels=labels, label_names=None)
    return (
        table.hide(pdr_mask(table.present, settings.query_pdr, settings.seed)) if settings.query_pdr else table
    ), notes


def queries_of_task(
    encoder: HashEncoder, task: Task, table: FeatureTable, retriever: Retriever, part: DatabasePart
) -> TaskQueries:
    """The queries of a task that have what is asked with, labels, and something relevant to find, encoded.

    Args:
        encoder: makes their codes, which are cut to the length of the database's.
        task: what is asked with.
        table: queries that `prepare` gave.
        retriever: over the rows that they are held against.
        part: which of the rows take part.
    """
    required = task.required(part, retriever.database.modalities)
    rows = retriever.part(required)
    asked = task.queries(table)
    known = asked if asked.labelled is None else asked.take(asked.labelled)
    there = retriever.database.labels[rows].any(axis=0)
    findable: Mask = np.asarray(_labels(known)[:, there].any(axis=1))
    left = known.take(findable)
    return TaskQueries(
        codes=encoder.cut(retriever.bits).encode_table(left)[task.query_code],
        labels=_labels(left),
        required=required,
        rows=len(rows),
        without_modality=len(table) - len(asked),
        unlabelled=len(asked) - len(known),
        without_relevant=int((~findable).sum()),
    )


def left_out(name: str, asked: Sequence[str] | None, queries: int, counts: TaskQueries | TaskResult) -> str:
    """How many queries a task has, and why others were left out of it."""
    reasons = {
        f"lack {' and '.join(asked or ())}": counts.without_modality,
        "have no labels": counts.unlabelled,
        "have nothing relevant to find": counts.without_relevant,
    }
    return f"{name}: {queries} queries, left out: " + (
        ", ".join(f"{count} that {why}" for why, count in reasons.items() if count) or "none"
    )


def _labels(table: FeatureTable) -> MultiHot:
    if table.labels is None:
        raise InputError("the queries have no labels.")
    return table.labels
