"""The collection that an ingest or an import writes to: checked where it is there, made where it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, repeat

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
            change = self.spec.kind + ("" if self.nlist is None else f" --nlist {self.nlist}")
            raise InputError(
                f"the collection '{collection}' has the index {found}: leave --index and --nlist out, or "
                f"change it first with `milvus-ichash index --collection {collection} --index {change}`."
            )


class TargetCollection:
    """A collection to write to. Where it is not there, it is made when the first batch comes.

    Batches are upserted: another program may write the same ids at the same time, and a server keeps both rows of an id
    that is inserted twice. With `insert`, into an empty collection only, each batch is inserted in its first try.

    Args:
        planned: the collection as it would be made.
        wanted_index: its index.
        check: raises where a collection that is there is not the one that is wanted.
        retries: for all calls to Milvus.
        recreate: delete the collection before the first batch is written.
        insert: no id is there, and nobody else writes.

    Attributes:
        index: the collection that is there, or the planned one.
        is_there: whether it is there.

    Raises:
        InputError: `insert`, and the collection that is there has rows.
    """

    def __init__(
        self,
        planned: HashIndex,
        wanted_index: WantedIndex,
        check: Callable[[HashIndex], None],
        retries: Retries,
        *,
        recreate: bool = False,
        insert: bool = False,
    ) -> None:
        self.index, self._wanted_index, self._check, self._retries = planned, wanted_index, check, retries
        self._recreate, self._insert = recreate, insert
        self.is_there = not recreate and retries(self._exists)
        if self.is_there:
            retries(self._make_or_open)

    def make(self) -> None:
        """Make the collection where it is not there; delete it before, where that was asked for.

        Where another program makes it meanwhile, it is opened. Errors as the class, or what `check` raises.
        """
        if self.is_there:
            return
        self._retries(self._make_anew if self._recreate else self._make_or_open)
        self.is_there = True

    def write(self, batch: Batch) -> None:
        """Write a batch into the collection, which `make` made."""
        insert = chain([self._insert], repeat(False))  # after an error, some of its rows may be there
        self._retries(lambda: self.index.write(batch, insert=next(insert)))

    def _exists(self) -> bool:
        return HashIndex.exists(self.index.connection, self.index.collection)

    def _make_anew(self) -> None:
        self.index.make(self._wanted_index.spec, recreate=True)

    def _make_or_open(self) -> None:
        found = self.index.make_or_open(self._check, self._wanted_index.spec)
        self._wanted_index.check(found)
        rows = found.count() if self._insert and found is not self.index else 0
        if rows:
            raise InputError(
                f"the collection '{found.collection}' holds {rows:,} rows: --insert is for a first load, and would "
                "make ids that are there already be there twice. Leave it out."
            )
        self.index = found
