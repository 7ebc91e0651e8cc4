"""The collection that an ingest or an import writes to: checked where it is there, made where it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count, repeat

from milvus_ichash.errors import InputError
from milvus_ichash.index.batch import Batch
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.index_spec import IndexSpec
from milvus_ichash.index.retries import Retries
from milvus_ichash.ingestion.ingest_options import CollectionOptions


@dataclass(frozen=True)
class WantedIndex:
    """The index that is wanted: for a new collection, or for one that was cut off before it had any.

    Attributes:
        kind: "BIN_FLAT", "BIN_IVF_FLAT", or None where any will do.
        nlist: number of cells, or None where any will do.
        spec: the index to build, with defaults for what was left open.
    """

    kind: str | None
    nlist: int | None
    spec: IndexSpec

    @classmethod
    def of(cls, options: CollectionOptions, rows: int | None, *, lite: bool) -> WantedIndex:
        """Return the index that options ask for. Arguments and errors as `IndexSpec.of`."""
        return cls(options.index, options.nlist, IndexSpec.of(options.index, options.nlist, rows, lite=lite))

    def check(self, index: HashIndex) -> None:
        """Raise InputError where a collection has another index than what was asked for, if anything was."""
        found, collection = index.spec, index.collection
        other_kind = (self.kind is not None or self.nlist is not None) and found.kind != self.spec.kind
        if other_kind or self.nlist not in (None, found.nlist):
            cells = "" if found.nlist is None else f" of nlist {found.nlist}"
            change = self.spec.kind + ("" if self.nlist is None else f" --nlist {self.nlist}")
            raise InputError(
                f"the collection '{collection}' has the index {found.kind}{cells}: leave --index and --nlist out, or "
                f"change it first with `milvus-ichash index --collection {collection} --index {change}`."
            )


class TargetCollection:
    """A collection to write to. Where it is not there, it is made when the first batch comes.

    A batch that goes into a collection which this run made is inserted, which saves the server to look for its ids.
    Everything else, and a batch that may be there after an error, is upserted: a server keeps both rows of an id that
    is inserted twice.

    Args:
        planned: the collection as it would be made.
        wanted_index: its index.
        check: raises where a collection that is there is not the one that is wanted.
        retries: for all calls to Milvus.
        recreate: delete the collection before the first batch is written.

    Attributes:
        index: the collection that is there, or the planned one.
        is_there: whether it is there.
    """

    def __init__(
        self,
        planned: HashIndex,
        wanted_index: WantedIndex,
        check: Callable[[HashIndex], None],
        retries: Retries,
        *,
        recreate: bool = False,
    ) -> None:
        self.index, self._wanted_index, self._check, self._retries = planned, wanted_index, check, retries
        self._recreate = recreate
        self._made_here = False
        self.is_there = not recreate and retries(self._exists)
        if self.is_there:
            retries(self._open)

    def make(self) -> None:
        """Make the collection where it is not there; delete it before, where that was asked for."""
        if self.is_there:
            return
        tries = count()

        def attempt() -> None:
            # A try that failed may have made it all the same.
            if next(tries) and not self._recreate and self._exists():
                self._open()
            else:
                self.index.make(self._wanted_index.spec, recreate=self._recreate)
                self._made_here = True

        self._retries(attempt)
        self.is_there = True

    def write(self, batch: Batch) -> None:
        """Write a batch into the collection, which `make` made."""
        new = chain([self._made_here], repeat(False))  # after an error, some of its rows may be there
        self._retries(lambda: self.index.write(batch, new=next(new)))

    def _exists(self) -> bool:
        return HashIndex.exists(self.index.connection, self.index.collection)

    def _open(self) -> None:
        found = HashIndex.find(self.index.connection, self.index.collection)
        self._check(found)
        found.load(self._wanted_index.spec)
        self._wanted_index.check(found)
        self.index = found
