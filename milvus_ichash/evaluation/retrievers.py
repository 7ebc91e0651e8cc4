"""Who ranks the database: this process, over codes in memory, or Milvus.

Both give the same thing, rankings of the rows of one `Database`, so that the harness does not know which it measures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from milvus_ichash.codes import Codes, hamming_distance
from milvus_ichash.errors import InputError, MilvusError
from milvus_ichash.evaluation.database import Database, encode_database, labels_from_lists
from milvus_ichash.evaluation.histograms import Counts, Labels, LabelSets, joint_histograms, max_shared
from milvus_ichash.evaluation.metrics import Groups
from milvus_ichash.evaluation.tasks import has_all
from milvus_ichash.features import Ids

if TYPE_CHECKING:
    from milvus_ichash.index.hash_index import HashIndex
    from milvus_ichash.io.source import FeatureSource
    from milvus_ichash.runtime.encoder import HashEncoder

Ties = Literal["expected", "stable"]
Rows = npt.NDArray[np.intp]
Distances = npt.NDArray[np.int32]

NEAR = 2
"""Hamming radius of the lookup that "P@r<=2" measures."""

_BLOCK = 512
_SEARCH_BLOCK = 64


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
        fingerprint: of the bundle that made the codes.
        about: what was measured on, for the result: collection, index, parameters, versions.
    """

    via: str
    database: Database
    codes: tuple[str, ...]
    fingerprint: str
    about: Mapping[str, Any]

    @abstractmethod
    def rankings(self, code: str, query_codes: Codes, required: Sequence[str]) -> Iterator[tuple[Rows, Distances]]:
        """For each query, in order: row numbers of the database and their distances, sorted by (distance, id).

        Args:
            code: name of the stored code.
            query_codes: uint8 (Q, bits / 8).
            required: modalities that a row must have to take part.
        """

    def ranked(self, code: str, query_codes: Codes, query_labels: Labels, required: Sequence[str], ties: Ties) -> Iterator[Ranked]:
        """The same as `rankings`, in blocks of queries in their order, with the rows counted by shared labels."""
        sets, part = LabelSets(self.database.labels), self.part(required)
        levels = max_shared(query_labels, self.database.labels) + 1
        distinct = query_codes.shape[1] * 8 + 1
        for labels, (rows, distances) in zip(query_labels, self.rankings(code, query_codes, required), strict=True):
            shared = sets.shared_with(labels).astype(np.intp)
            found = shared[rows]
            counts = np.bincount(distances * levels + found, minlength=distinct * levels).reshape(1, distinct, levels)
            groups = Groups.from_order(found[None, :]) if ties == "stable" else Groups.from_histograms(counts)
            yield Ranked(groups, np.bincount(shared[part], minlength=levels)[None, :], _near(counts))

    def part(self, required: Sequence[str]) -> Rows:
        """Numbers of the rows that have all of these modalities: (rows,)."""
        return np.flatnonzero(has_all(self.database.present, self.database.modalities, required))


class ExactRetriever(Retriever):
    """Ranks codes in memory: those of a feature source, or those read out of a collection once."""

    def __init__(self, database: Database, fingerprint: str, *, via: str = "exact", about: Mapping[str, Any] | None = None) -> None:
        self.via = via
        self.database = database
        self.codes = tuple(database.codes)
        self.fingerprint = fingerprint
        self.about = about or {}

    @classmethod
    def encode(cls, encoder: HashEncoder, source: FeatureSource, alone: Sequence[str] = ()) -> ExactRetriever:
        """Codes of a feature source, made here: no Milvus is needed. `alone` as for `encode_database`.

        Raises:
            InputError: the source has no labels, or rows that cannot be encoded.
        """
        database = encode_database(encoder, source, alone)
        return cls(database, encoder.manifest.fingerprint, about={"database_file": str(source.info.path)})

    @classmethod
    def read_back(cls, index: HashIndex) -> ExactRetriever:
        """Codes as they are stored in a collection.

        Raises:
            InputError: the collection is empty, or has no labels.
            MilvusError: Milvus was not reached in time, or refused.
        """
        return cls(_database_of(index, tuple(index.codes)), index.fingerprint, via="readback", about=_about(index))

    def rankings(self, code: str, query_codes: Codes, required: Sequence[str]) -> Iterator[tuple[Rows, Distances]]:
        """See `Retriever.rankings`."""
        rows = self.part(required)
        codes = self.database.codes[code][rows]
        for query in query_codes:
            distances = hamming_distance(query[None, :], codes)[0]
            order = np.argsort(distances, kind="stable")
            yield rows[order], distances[order].astype(np.int32)

    def ranked(self, code: str, query_codes: Codes, query_labels: Labels, required: Sequence[str], ties: Ties) -> Iterator[Ranked]:
        """See `Retriever.ranked`. Nothing is sorted where ties are in expectation."""
        if ties == "stable":
            yield from super().ranked(code, query_codes, query_labels, required, ties)
            return
        rows = self.part(required)
        codes, labels = self.database.codes[code][rows], self.database.labels[rows]
        for first in range(0, len(query_codes), _BLOCK):
            block = slice(first, first + _BLOCK)
            counts = joint_histograms(query_codes[block], codes, query_labels[block], labels)
            yield Ranked(Groups.from_histograms(counts), counts.sum(axis=1), _near(counts))


class SearchRetriever(Retriever):
    """Ranks by searching in Milvus: complete rankings, or the first rows that one search returns.

    Args:
        index: the collection.
        top_k: rows of one search; None: every row of the collection, however many there are.

    Raises:
        InputError: the collection is empty, or has no labels.
        MilvusError: Milvus was not reached in time, or refused.
    """

    via = "search"

    def __init__(self, index: HashIndex, *, top_k: int | None = None) -> None:
        self._index = index
        self._top_k = top_k
        self.database = _database_of(index, ())
        self.codes = tuple(index.codes)
        self.fingerprint = index.fingerprint
        self.about = {**_about(index), "top_k": top_k}
        self._row_of_id = _row_lookup(self.database.ids)

    def rankings(self, code: str, query_codes: Codes, required: Sequence[str]) -> Iterator[tuple[Rows, Distances]]:
        """See `Retriever.rankings`. Lists that are cut hold the rows that Milvus returned."""
        expression = " and ".join(f"has_{name} == true" for name in required)
        if self._top_k is None:
            found = self._index.rank_all(query_codes, code=code, filter=expression)
        else:
            found = self._first(code, query_codes, expression, self._top_k)
        for ids, distances in found:
            yield self._row_of_id(ids), distances

    def _first(self, code: str, query_codes: Codes, expression: str, top_k: int) -> Iterator[tuple[Ids, Distances]]:
        for first in range(0, len(query_codes), _SEARCH_BLOCK):
            hits = self._index.search(query_codes[first : first + _SEARCH_BLOCK], code=code, top_k=top_k, filter=expression)
            for ids, distances, count in zip(hits.ids, hits.distances, hits.counts, strict=True):
                yield ids[:count], distances[:count]


def _database_of(index: HashIndex, codes: tuple[str, ...]) -> Database:
    """All rows of a collection; `codes` are read along."""
    rows = index.read_back(codes=codes)
    if not len(rows.ids):
        raise InputError(f"collection '{index.collection}' is empty: ingest something into it first.")
    if rows.labels is None:
        raise InputError(
            f"collection '{index.collection}' has no labels, so what is relevant cannot be told: ingest its items again from a file with "
            "labels (--labels-column); that replaces the rows by their ids."
        )
    names = index.label_names
    return Database(
        ids=rows.ids,
        labels=labels_from_lists([labels or () for labels in rows.labels], len(names) if names else None),
        label_names=names,
        present=rows.present,
        modalities=tuple(index.modalities),
        codes=rows.codes,
        all_classes=bool(names),
    )


def _about(index: HashIndex) -> dict[str, Any]:
    """What the result says of a collection and of the Milvus that holds it."""
    connection = index.connection
    return {
        "collection": index.collection,
        "index": index.describe()["index"],
        "milvus": f"Milvus Lite {connection.server_version}" if connection.is_lite else connection.server_version,
        "address": connection.address,
        "pymilvus": version("pymilvus"),
    }


def _row_lookup(ids: Ids) -> Callable[[Ids], Rows]:
    """From ids to row numbers; `ids` are sorted and differ from each other."""
    if ids.dtype != object:

        def rows(found: Ids) -> Rows:
            found = found.astype(ids.dtype)
            at = np.minimum(np.searchsorted(ids, found), len(ids) - 1)
            _check_known(found[ids[at] != found])
            return at

        return rows
    row_of = {name: row for row, name in enumerate(ids)}

    def rows_of_names(found: Ids) -> Rows:
        at = np.fromiter((row_of.get(name, -1) for name in found), np.intp, len(found))
        _check_known(found[at < 0])
        return at

    return rows_of_names


def _check_known(strangers: Ids) -> None:
    if len(strangers):
        raise MilvusError(
            f"the collection changed while it was measured: id {strangers[0]!r} is new. Evaluate again when nobody writes to it."
        )


def _near(counts: Counts) -> Counts:
    """Rows within radius 2 and the relevant ones of them, int64 (Q, 2), from joint histograms."""
    near = counts[:, : NEAR + 1]
    return np.stack([near.sum(axis=(1, 2)), near[:, :, 1:].sum(axis=(1, 2))], axis=1)
