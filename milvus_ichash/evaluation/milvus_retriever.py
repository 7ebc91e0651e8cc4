"""Rankings out of Milvus searches: complete ones, or the first rows that one search returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from milvus_ichash.choices import Ties
from milvus_ichash.codes import Codes
from milvus_ichash.errors import MilvusError
from milvus_ichash.evaluation.collection_database import about, not_indexed_note, read_database
from milvus_ichash.evaluation.database import Database
from milvus_ichash.evaluation.histograms import LabelSets, max_shared
from milvus_ichash.evaluation.retriever import Distances, Ranked, Retriever, Rows, ranked_by_distance
from milvus_ichash.features import Ids, MultiHot
from milvus_ichash.index import rankings
from milvus_ichash.index.batch import code_bytes
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.stored_rows import LIMIT


class MilvusRetriever(Retriever):
    """Ranks by searching in Milvus.

    BIN_FLAT gives complete rankings, unless `top_k` is given. BIN_IVF_FLAT looks at some cells only, so its ranking is
    what one search returns, at most `top_k` rows; the others count as misses.

    Args:
        index: the collection.
        top_k: rows of one search; None: every row of a collection with BIN_FLAT, however many there are, and as many as
            Milvus gives (16,384) with BIN_IVF_FLAT.
        nprobe: cells of BIN_IVF_FLAT that are looked through; a default that follows nlist where None.
        database: the collection's rows, where they have been read already.

    Attributes:
        index: the collection.
        complete: whether rankings hold every row.
        hits: rows of one ranking, at most.

    Raises:
        InputError: the collection is empty or has no labels, a top-k beyond 16,384, an nprobe beyond nlist or for
            BIN_FLAT.
        MilvusError: Milvus was not reached in time, or refused.
    """

    via = "search"

    def __init__(
        self, index: HashIndex, *, top_k: int | None = None, nprobe: int | None = None, database: Database | None = None
    ) -> None:
        self.index = index
        self._nprobe = index.spec.check_nprobe(nprobe)
        if top_k is not None:
            rankings.check_reach(top_k, None, index.bits)
        self.database = read_database(index, ()) if database is None else database
        self.complete = top_k is None and index.spec.kind == "BIN_FLAT"
        self.hits = len(self.database) if self.complete else min(top_k or LIMIT, len(self.database))
        self._top_k = None if self.complete else top_k or min(LIMIT, len(self.database))
        self.codes = tuple(index.codes)
        self.bits = index.bits
        self.fingerprint = index.fingerprint
        self.about = {**about(index), "nprobe": self._nprobe, "top_k": self._top_k}
        pending = self.about["rows_not_indexed"]
        self.notes = (not_indexed_note(index, pending),) if pending else ()
        self._row_of_id = _row_lookup(self.database.ids)

    def rankings(self, code: str, query_codes: Codes, required: Sequence[str]) -> Iterator[tuple[Rows, Distances]]:
        """See `Retriever.rankings`. Lists that are cut hold the rows that Milvus returned."""
        if self._top_k is None:
            part = self.part(required)
            for distances in self._distances(code, query_codes, required):
                order = rankings.by_distance(distances)
                yield part[order], distances[order]
            return
        found = self.index.rank_first(
            query_codes, top_k=self._top_k, code=code, nprobe=self._nprobe, filter=having(required)
        )
        for ids, distances in found:
            yield self._row_of_id(ids), distances

    def ranked(
        self, code: str, query_codes: Codes, query_labels: MultiHot, required: Sequence[str], ties: Ties
    ) -> Iterator[Ranked]:
        """See `Retriever.ranked`. Nothing is sorted where rankings are complete and ties are in expectation."""
        if self._top_k is not None or ties == "stable":
            yield from super().ranked(code, query_codes, query_labels, required, ties)
            return
        part = self.part(required)
        sets = LabelSets(self.database.labels[part])
        levels = max_shared(query_labels, self.database.labels) + 1
        for labels, distances in zip(query_labels, self._distances(code, query_codes, required), strict=True):
            shared = sets.shared_with(labels).astype(np.intp)
            yield ranked_by_distance(distances, shared, np.bincount(shared, minlength=levels), self.index.bits)

    def _distances(self, code: str, query_codes: Codes, required: Sequence[str]) -> Iterator[Distances]:
        """For each query the distances of the rows that take part: (rows,)."""
        expression, keys = having(required), self.database.ids[self.part(required)]
        if self.index.count(expression) != len(keys):
            raise _changed(self.index.collection, f"it had {len(keys)} rows that take part, and has others")
        search = rankings.Search(self.index.collection, code, expression=expression)
        yield from rankings.complete_distances(
            self.index.connection, search, code_bytes(query_codes, self.index.bits), keys
        )


def having(required: Sequence[str]) -> str:
    """Filter for rows that have these modalities."""
    return " and ".join(f"has_{name} == true" for name in required)


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
        raise _changed("", f"id {strangers[0]!r} is new")


def _changed(collection: str, how: str) -> MilvusError:
    name = f"collection '{collection}'" if collection else "the collection"
    return MilvusError(f"{name} changed while it was measured: {how}. Evaluate again when nobody writes to it.")
