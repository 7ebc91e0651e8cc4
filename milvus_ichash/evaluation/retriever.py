"""Who ranks the database: this process, over codes in memory, or Milvus.

Both give the same thing, rankings of the rows of one `Database`, so that the harness does not know which it measures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.choices import Ties
from milvus_ichash.codes import Codes
from milvus_ichash.evaluation.database import Database
from milvus_ichash.evaluation.histograms import Counts, LabelSets, max_shared
from milvus_ichash.evaluation.metrics import Groups
from milvus_ichash.evaluation.tasks import has_all
from milvus_ichash.features import MultiHot

Rows = npt.NDArray[np.intp]
Distances = npt.NDArray[np.int32]

NEAR = 2
"""Hamming radius of the lookup that "P@r<=2" measures."""

_BLOCK = 512


@dataclass(frozen=True)
class Ranked:
    """Rankings of Q queries, as far as the metrics look at them.

    Attributes:
        groups: the rows returned: one group per distance, or one per row where ties are broken by id.
        shared: int64 (Q, levels), rows that take part by the number of labels shared with the query, returned or not.
        near: int64 (Q, 2), rows within radius 2, and the relevant ones of them.
    """

    groups: Groups
    shared: Counts
    near: Counts


class Retriever(ABC):
    """Ranks the rows of a database.

    Attributes:
        via: how: "exact", "readback" or "search".
        database: the rows; `database.codes` is empty where the codes stay in Milvus.
        codes: names of the codes that can be searched.
        bits: their length.
        fingerprint: of the bundle that made the codes.
        about: what was measured on, for the result: collection, index, parameters, versions.
        notes: sentences that a reader of the result should know.
    """

    via: str
    database: Database
    codes: tuple[str, ...]
    bits: int
    fingerprint: str
    about: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the collection or file that is searched; empty where there is none."""
        return str(self.about.get("collection") or Path(self.about.get("database_file", "")).name)

    @abstractmethod
    def rankings(self, code: str, query_codes: Codes, required: Sequence[str]) -> Iterator[tuple[Rows, Distances]]:
        """For each query, in order: row numbers of the database and their distances, sorted by (distance, id).

        Args:
            code: name of the stored code.
            query_codes: uint8 (Q, bits / 8).
            required: modalities that a row must have to take part.
        """

    def ranked(
        self, code: str, query_codes: Codes, query_labels: MultiHot, required: Sequence[str], ties: Ties
    ) -> Iterator[Ranked]:
        """The same as `rankings`, in blocks of queries in their order, with the rows counted by shared labels."""
        sets, part = LabelSets(self.database.labels), self.part(required)
        levels = max_shared(query_labels, self.database.labels) + 1
        there = _remembering(lambda labels: np.bincount(sets.shared_with(labels)[part], minlength=levels))
        found = self.rankings(code, query_codes, required)
        yield from counted(found, sets, query_labels, map(there, query_labels), ties, query_codes.shape[1] * 8)

    def part(self, required: Sequence[str]) -> Rows:
        """Numbers of the rows that have all of these modalities: (rows,)."""
        return np.flatnonzero(has_all(self.database.present, self.database.modalities, required))


def counted(
    rankings: Iterable[tuple[Rows, Distances]],
    sets: LabelSets,
    query_labels: MultiHot,
    there: Iterable[Counts],
    ties: Ties,
    bits: int,
) -> Iterator[Ranked]:
    """What the metrics look at of rankings.

    Args:
        rankings: as `Retriever.rankings` gives them.
        sets: labels of the database's rows.
        query_labels: multi-hot (Q, C).
        there: for each query int64 (levels,), rows that take part by the number of shared labels, returned or not.
        ties: what is done about rows at the same distance.
        bits: code length.
    """
    for (rows, distances), labels, all_rows in zip(rankings, query_labels, there, strict=True):
        shared = sets.shared_by(rows, labels)
        ranked = ranked_by_distance(distances, shared, all_rows, bits)
        yield replace(ranked, groups=Groups.from_order(shared[None, :])) if ties == "stable" else ranked


def _remembering(count: Callable[[MultiHot], Counts]) -> Callable[[MultiHot], Counts]:
    """The same function, called once for queries with the same labels."""
    known: dict[bytes, Counts] = {}

    def remembered(labels: MultiHot) -> Counts:
        key = labels.tobytes()
        if key not in known:
            known[key] = count(labels)
        return known[key]

    return remembered


def ranked_by_distance(distances: Distances, shared: Rows, there: Counts, bits: int) -> Ranked:
    """One query's rows in groups of the same distance.

    Args:
        distances: int (rows,) of the rows that were returned.
        shared: int (rows,), labels that they share with the query.
        there: int64 (levels,), rows that take part by the number of shared labels, returned or not.
        bits: code length.
    """
    levels, distinct = len(there), bits + 1
    counts = np.bincount(distances * levels + shared, minlength=distinct * levels).reshape(1, distinct, levels)
    return Ranked(Groups.from_histograms(counts), there[None, :], near_rows(counts))


def near_rows(counts: Counts) -> Counts:
    """Rows within radius 2 and the relevant ones of them, int64 (Q, 2), from joint histograms."""
    near = counts[:, : NEAR + 1]
    return np.stack([near.sum(axis=(1, 2)), near[:, :, 1:].sum(axis=(1, 2))], axis=1)
