"""Rankings out of Milvus searches: complete ones, or the first rows that one search returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy

from milvus_ichash.codes import Codes, Distances
from milvus_ichash.errors import MilvusError
from milvus_ichash.evaluation.database import Database, about_collection, not_indexed_note, read_database
from milvus_ichash.evaluation.retriever import Retriever, Rows
from milvus_ichash.index.filters import having
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.id_rows import rows_of
from milvus_ichash.index.search_request import LIMIT


class MilvusRetriever(Retriever):
    """A retriever that searches in Milvus.

    With BIN_FLAT its rankings hold every row, unless `top_k` is given. BIN_IVF_FLAT looks through some of its cells
    only, so a ranking is what one search returns, at most `top_k` rows; the others count as misses.

    Args:
        index: the collection.
        top_k: rows that one search returns, 1 to 16,384. None: with BIN_FLAT every row of the collection, however many
            there are; with BIN_IVF_FLAT as many as Milvus gives, 16,384.
        nprobe: cells of BIN_IVF_FLAT that are looked through, 1 to nlist. None: a default that depends on nlist.
        database: the collection's rows, where they have been read already.

    Attributes:
        index: the collection.
        complete: whether rankings hold every row.

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
        self._nprobe = index.spec.choose_nprobe(nprobe)
        if top_k is not None:
            index.check_top_k(top_k)
        self.database = read_database(index, ()) if database is None else database
        self.complete = top_k is None and index.spec.kind == "BIN_FLAT"
        self._top_k = None if self.complete else top_k or min(LIMIT, len(self.database))
        self.codes = tuple(index.codes)
        self.bits = index.bits
        self.fingerprint = index.fingerprint
        self.about = {**about_collection(index), "nprobe": self._nprobe, "top_k": self._top_k}
        pending = self.about["rows_not_indexed"]
        self.notes = (not_indexed_note(index, pending),) if pending else ()
        self._rows_of = rows_of(self.database.ids)

    def probing(self, nprobe: int) -> MilvusRetriever:
        """Return a retriever over the same rows that looks through so many cells.

        Raises:
            InputError: an nprobe beyond nlist, or for BIN_FLAT.
        """
        other = copy(self)
        other._nprobe = self.index.spec.choose_nprobe(nprobe)
        other.about = {**self.about, "nprobe": other._nprobe}
        return other

    def found(self, code: str, query_codes: Codes, required: Sequence[str]) -> Iterator[tuple[Rows, Distances]]:
        """Yield for each query the rows that Milvus returned and their distances. See `Retriever.found`."""
        expression = having(required)
        if self._top_k is None:
            rows = self.database.rows_with(required)
            for distances in self.index.distances_to(
                self.database.ids[rows], query_codes, code=code, filter=expression
            ):
                yield rows, distances
            return
        for ids, distances in self.index.rank_first(
            query_codes, top_k=self._top_k, code=code, nprobe=self._nprobe, filter=expression
        ):
            rows = self._rows_of(ids)
            if (rows < 0).any():
                raise MilvusError(
                    f"collection '{self.index.collection}' changed while it was measured: id {ids[rows < 0][0]!r} is "
                    "new. Evaluate again when nobody writes to it."
                )
            yield rows, distances
