"""Retrievers: what ranks a database, which is this process (over codes in memory) or Milvus.

All of them rank the rows of one `Database`, so that an evaluation needs not know which of them it measures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.choices import Ties
from milvus_ichash.codes import Codes, Distances
from milvus_ichash.evaluation.database import Database
from milvus_ichash.evaluation.histograms import Counts, max_shared
from milvus_ichash.evaluation.metrics import Groups
from milvus_ichash.features import MultiHot

Rows = npt.NDArray[np.intp]

NEAR = 2
"""Hamming radius of the lookup that "P@r<=2" measures."""


@dataclass(frozen=True)
class Ranked:
    """Rankings of Q queries, as far as the metrics look at them.

    Attributes:
        groups: the returned rows, in a group for each distance; or in one for each row where ties are broken by id.
        shared: int64 (Q, levels), all rows that count, returned or not, by the number of labels shared with the query.
        returned: int64 (Q, bits + 1), number of returned rows at each distance.
        near_relevant: int64 (Q,), number of relevant rows within radius 2.
    """

    groups: Groups
    shared: Counts
    returned: Counts
    near_relevant: Counts

    @classmethod
    def from_histograms(cls, counts: Counts, shared: Counts, groups: Groups | None = None) -> Ranked:
        """Return rankings in which the rows at the same distance are one group, unless other groups are given.

        Args:
            counts: int64 (Q, bits + 1, levels), returned rows by distance and shared labels (`joint_histograms`).
            shared: int64 (Q, levels), see `Ranked.shared`.
            groups: the same rows in other groups.
        """
        near_relevant = counts[:, : NEAR + 1, 1:].sum(axis=(1, 2))
        return cls(groups or Groups.from_histograms(counts), shared, counts.sum(axis=2), near_relevant)


class Retriever(ABC):
    """A base class for what ranks the rows of a database.

    Attributes:
        via: how it ranks: "exact", "readback" or "search".
        database: the rows; `database.codes` is empty where the codes stay in Milvus.
        codes: names of the codes that can be searched.
        bits: their length.
        fingerprint: fingerprint of the bundle that made the codes.
        about: what the result says about this database: collection, index, parameters, versions.
        notes: sentences for whoever reads the result.
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
    def found(self, code: str, query_codes: Codes, required: Sequence[str]) -> Iterator[tuple[Rows, Distances]]:
        """Yield for each query, in order, the rows that are found and their distances, with no order among distances.

        Args:
            code: name of the stored code.
            query_codes: uint8 (Q, bits / 8).
            required: modalities that a row must have to count.

        Yields:
            Row numbers of the database, intp (rows,), those at the same distance ascending; and int32 (rows,).
        """

    def rankings(self, code: str, query_codes: Codes, required: Sequence[str]) -> Iterator[tuple[Rows, Distances]]:
        """Yield for each query the rows that are found and their distances, sorted by (distance, id).

        Arguments and shapes are those of `found`.
        """
        for rows, distances in self.found(code, query_codes, required):
            # numpy sorts 16 bits by counting, several times faster than 32.
            order = np.argsort(distances.astype(np.uint16), kind="stable")
            yield rows[order], distances[order]

    def ranked(
        self, code: str, query_codes: Codes, query_labels: MultiHot, required: Sequence[str], ties: Ties
    ) -> Iterator[Ranked]:
        """Yield the rankings in blocks of queries, in order, with the rows counted by labels shared with the query.

        Args:
            code: name of the stored code.
            query_codes: uint8 (Q, bits / 8).
            query_labels: uint8 (Q, C), over the database's classes.
            required: modalities that a row must have to count.
            ties: "expected": rows at the same distance are one group; "stable": they are ordered by id.
        """
        levels = max_shared(query_labels, self.database.labels) + 1
        distinct = self.bits + 1
        stable = ties == "stable"
        lists = (self.rankings if stable else self.found)(code, query_codes, required)
        for (rows, distances), labels in zip(lists, query_labels, strict=True):
            shared = self.database.label_sets.shared_by(rows, labels)
            counts = np.bincount(distances * levels + shared, minlength=distinct * levels).reshape(1, distinct, levels)
            existing = self.database.count_by_shared_labels(labels, required, levels)
            groups = Groups.from_order(shared[None, :]) if stable else None
            yield Ranked.from_histograms(counts, existing[None, :], groups)
