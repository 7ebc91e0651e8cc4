"""HashIndex: a collection of hash codes that knows the bundle it was made with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from milvus_ichash.bundle import Manifest
from milvus_ichash.choices import IdKind
from milvus_ichash.codes import Codes
from milvus_ichash.errors import InputError, MilvusError, MismatchError
from milvus_ichash.features import Ids, Mask
from milvus_ichash.index import collection_schema, index_building, lookups, stored_rows, writing
from milvus_ichash.index.batch import Batch, Payload, build_batch, check_sizes
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.description import Description
from milvus_ichash.index.field_names import has
from milvus_ichash.index.index_spec import IndexSpec
from milvus_ichash.index.label_forms import LabelLists
from milvus_ichash.index.lookups import Lookup
from milvus_ichash.index.searchable_codes import SearchableCodes
from milvus_ichash.index.stored_ids import checked_ids
from milvus_ichash.index.stored_rows import ReadBack


class HashIndex(SearchableCodes):
    """Hash codes in a Milvus collection, one row for each item.

    Open a collection with `HashIndex.open`, make one with `HashIndex.create`, do what is needed of the two with
    `HashIndex.ensure`. The constructor asks Milvus nothing: it is for a collection that `make` is to make. The
    attributes are those of `CodeCollection`, the searches those of `SearchableCodes`.
    """

    @classmethod
    def create(
        cls,
        connection: Connection,
        collection: str,
        manifest: Manifest,
        *,
        id_kind: IdKind = "str",
        codes: Sequence[str] | None = None,
        bits: int | None = None,
        recreate: bool = False,
        index: IndexSpec | None = None,
        labels_by_name: bool | None = None,
    ) -> HashIndex:
        """Make a collection for the codes of a bundle.

        Args:
            connection: to Milvus.
            collection: name of the collection.
            manifest: of the bundle.
            id_kind: kind of the ids.
            codes: which codes are stored; all by default (servers before 2.4 hold one vector field in a collection).
            bits: cut the codes to this length, one of those that the bundle was trained for; whole codes by default.
            recreate: delete a collection of this name first, with all its rows.
            index: how the codes are indexed; BIN_FLAT by default.
            labels_by_name: whether the items' labels will be names of classes, or class numbers; by default they are
                names if the bundle has names.

        Raises:
            InputError: the name is taken or cannot be one, or the bundle makes no such code, or none of this length.
            MismatchError: the collection that would be deleted was not made by this program.
            MilvusError: Milvus could not.
        """
        description = Description.of(manifest, codes, bits, labels_by_name=labels_by_name)
        made = cls(connection, collection, description, id_kind)
        made.make(index or IndexSpec(), recreate=recreate)
        return made

    @classmethod
    def ensure(
        cls,
        connection: Connection,
        collection: str,
        manifest: Manifest,
        *,
        id_kind: IdKind = "str",
        codes: Sequence[str] | None = None,
        bits: int | None = None,
        index: IndexSpec | None = None,
        labels_by_name: bool | None = None,
    ) -> HashIndex:
        """Open the collection for the codes of a bundle, or make it where it is not there.

        Several programs may call it at the same time: one of them makes the collection, the others open it.

        Args:
            connection, collection, manifest, id_kind, labels_by_name: as `create`.
            codes, bits, index: as `create`, for a collection that is not there. One that is there must agree with
                those that are given.

        Raises:
            InputError: as `create`; or the collection has other ids, codes, bits or another index than those asked for.
            MismatchError: the collection was made with another bundle or by another program, or lacks a field.
            MilvusError: Milvus could not.
        """

        def check(found: HashIndex) -> None:
            found.check(manifest, bits)
            found.check_kinds(id_kind, codes)

        description = Description.of(manifest, codes, bits, labels_by_name=labels_by_name)
        planned = cls(connection, collection, description, id_kind)
        ensured = planned.make_or_open(check, index or IndexSpec())
        if index is not None and ensured.spec != index:
            raise InputError(
                f"the collection '{collection}' has the index {ensured.spec}, not {index}: change it first with "
                f"`milvus-ichash index --collection {collection}`, or leave it as it is."
            )
        return ensured

    @classmethod
    def open(cls, connection: Connection, collection: str) -> HashIndex:
        """Open a collection that is there, ready to be searched.

        Raises:
            InputError: it is not there.
            MismatchError: it was not made by this program, or is not as its description says.
            MilvusError: Milvus could not be asked.
        """
        found = cls.find(connection, collection)
        found.load()
        return found

    @classmethod
    def find(cls, connection: Connection, collection: str) -> HashIndex:
        """Return a collection that is there, as it describes itself; `load` or `reindex` it before it is searched.

        Raises:
            InputError, MismatchError, MilvusError: as `open`.
        """
        description, found = collection_schema.read(connection, collection)
        id_kind = collection_schema.id_kind_of(collection, description, found)
        return cls(connection, collection, description, id_kind)

    @staticmethod
    def exists(connection: Connection, collection: str) -> bool:
        """Return True where there is a collection of this name, whoever made it."""
        return collection_schema.exists(connection, collection)

    def make(self, index: IndexSpec = IndexSpec(), *, recreate: bool = False) -> None:
        """Make the collection. Arguments and errors as `create`."""
        IndexSpec.of(index.kind, index.nlist, None, lite=self.connection.is_lite)
        if self.exists(self.connection, self.collection):
            if not recreate:
                raise InputError(
                    f"the collection '{self.collection}' is there already: open it, "
                    "or make it anew (--recreate) and lose its rows."
                )
            collection_schema.read(self.connection, self.collection)  # that it is one of ours
            collection_schema.drop(self.connection, self.collection)
        collection_schema.create(self.connection, self.collection, self.description, self.id_kind)
        self.load(index)

    def make_or_open(self, check: Callable[[HashIndex], None], index: IndexSpec = IndexSpec()) -> HashIndex:
        """Make the collection, or open the one that is there, also where another program makes it at the same time.

        Args:
            check: raises where the collection that is there is not the one that is wanted.
            index: how the codes are indexed where they have no index.

        Returns:
            This index where it was made, or another one for the collection that is there.
        """
        if not self.exists(self.connection, self.collection):
            try:
                self.make(index)
            except (InputError, MilvusError, MismatchError):
                # Of two programs that make it in the same moment, Milvus may refuse one.
                if not self.exists(self.connection, self.collection):
                    raise
            else:
                return self
        found = self.find(self.connection, self.collection)
        check(found)
        found.load(index)
        return found

    def load(self, default: IndexSpec = IndexSpec()) -> None:
        """Have Milvus load the collection; codes that have no index get the `default` one.

        Raises:
            MismatchError: its codes have an index that this program does not make.
            MilvusError: Milvus could not.
        """
        self.spec = collection_schema.make_searchable(self.connection, self.collection, self.description, default)

    def batch(
        self,
        ids: Ids | Sequence[Any],
        codes: Mapping[str, Codes],
        present: Mask,
        labels: LabelLists | None = None,
        payload: Payload | None = None,
    ) -> Batch:
        """Return items for `write`, checked. Arguments and errors as `upsert`."""
        keys = checked_ids(ids, self.id_kind, lite=self.connection.is_lite)
        batch = build_batch(self.description, keys, codes, present, labels, payload)
        if not self.connection.is_lite:
            check_sizes(batch, lambda row: f"the item {batch.ids[row]!r}")
        return batch

    def write(self, batch: Batch, *, insert: bool = False) -> int:
        """Write items that `batch` made; return how many.

        Args:
            batch: the items.
            insert: for a first load by one writer only: none of the ids may be in the collection, which saves the
                server to look for them. If one is, if another program writes it at the same time, or if the same call
                is made again after an error, it will be there twice.

        Raises:
            MilvusError: Milvus could not; some items may have been written. Write them again without `insert`.
        """
        return writing.write(self.connection, self.collection, batch, insert=insert)

    def upsert(
        self,
        ids: Ids | Sequence[Any],
        codes: Mapping[str, Codes],
        present: Mask,
        labels: LabelLists | None = None,
        payload: Payload | None = None,
    ) -> int:
        """Write items; those that are there under the same id are replaced.

        Args:
            ids: n different ids of the collection's kind.
            codes: uint8 (n, bits / 8) for each stored code, or whole ones.
            present: bool (n, M), False where the item lacks the modality.
            labels: class names of each item, or class numbers in a collection that holds those; None where they are
                unknown.
            payload: further columns, n values each.

        Returns:
            n, as acknowledged by Milvus.

        Raises:
            InputError: nothing of the call was written; names what cannot be stored.
            MilvusError: Milvus could not; some rows may have been written.
        """
        return self.write(self.batch(ids, codes, present, labels, payload))

    def delete(self, ids: Ids | Sequence[Any] = (), *, filter: str = "") -> int:
        """Delete items by id, or those that match a filter; return how many there were.

        Args:
            ids: of the items; those that are not there are passed over.
            filter: Milvus expression, as in `search`; not empty where there are no ids.

        Raises:
            InputError: ids and filter, neither of them, or a filter that cannot be used.
            MilvusError: Milvus could not; some items may have been deleted.
        """
        given = _listed(ids)
        if bool(given) == bool(filter.strip()):
            raise InputError("say which items to delete, by ids or by a filter (one of them).")
        if given:
            checked_ids(given, self.id_kind, lite=self.connection.is_lite)
            keys = sorted(self.existing(given))
        else:
            with self._using(filter):
                keys = stored_rows.read_ids(self.connection, self.collection, filter, self.id_kind).tolist()
            if not keys:
                self._check_names(filter)
        writing.delete(self.connection, self.collection, keys)
        return len(keys)

    def existing(self, ids: Ids | Sequence[Any]) -> set[Any]:
        """Return those of these ids that are in the collection."""
        return lookups.existing(self.connection, self.collection, _listed(ids))

    def look_up(self, ids: Ids | Sequence[Any]) -> Lookup:
        """Return which of these ids, a few thousand at most, are missing, and whether one has several rows.

        A server keeps both rows of an id that was inserted twice. What is read shows one of them.
        """
        return lookups.look_up(self.connection, self.collection, _listed(ids))

    def unchanged(self, batch: Batch) -> Mask:
        """Return which items are stored exactly as they are in a batch of `batch`: bool (n,).

        Codes, `has_<modality>`, labels and payload are compared.
        """
        return lookups.unchanged(self.connection, self.collection, batch)

    def read_back(self, codes: Sequence[str] | None = None, filter: str = "") -> ReadBack:
        """Return all rows that match, sorted by id: these codes (all by default), what is present, and labels.

        Raises:
            InputError: no such code, or a filter that cannot be used.
            MilvusError: Milvus could not, or the collection changed meanwhile.
        """
        names = self.codes if codes is None else tuple(map(self._code, codes))
        with self._using(filter):
            return stored_rows.read_back(
                self.connection, self.collection, self.description, self.id_kind, names, filter
            )

    def label_counts(self) -> dict[str, int]:
        """Return how many items have each label, by name; all rows are read for it."""
        counts = stored_rows.label_counts(self.connection, self.collection)
        found = Counter({str(self.names_of([label])[0]): number for label, number in counts.items()})
        known = self.label_names or ()
        return {name: found[name] for name in (*known, *sorted(found.keys() - set(known)))}

    def index_states(self) -> dict[str, dict[str, Any]]:
        """Return by code what Milvus says of its index: `index_type`, `metric_type`, `nlist` and `state`.

        On a server also `indexed_rows` and `pending_index_rows`.
        """
        return index_building.states(self.connection, self.collection)

    def rows_without_index(self) -> int:
        """Return the number of rows that a search looks through one by one, since Milvus has not indexed them yet.

        It is 0 for BIN_FLAT, which always looks at every row. Where rows were replaced a moment ago, it is too small by
        at most as many.
        """
        if self.spec.kind == "BIN_FLAT":
            return 0
        pending = [int(state.get("pending_index_rows", 0)) for state in self.index_states().values()]
        return max([*pending, index_building.rows_without_index(self.connection, self.collection, self.count())])

    def reindex(self, spec: IndexSpec) -> None:
        """Give the codes this index, in place of another one, and load the collection.

        Until Milvus has built it (`wait_until_indexed`), searches are slow.

        Raises:
            InputError: an index that this Milvus does not take.
            MilvusError: Milvus could not; `reindex` again.
        """
        index_building.rebuild(self.connection, self.collection, self.codes, spec)
        self.spec = spec

    def wait_until_indexed(
        self, patience: float = 3600.0, advance: Callable[[int, int], object] = lambda done, rows: None
    ) -> None:
        """Wait until all rows are indexed, and searched through the index.

        Before that, searches are slow, and their recall is not that of the index.

        Args:
            patience: seconds after which to give up.
            advance: called with the number of rows that are indexed, and of all rows.

        Raises:
            MilvusError: it was not done in time, or failed.
        """
        index_building.wait_until_indexed(self.connection, self.collection, patience=patience, advance=advance)

    def summary(self) -> dict[str, Any]:
        """Return what `inspect` shows: where the codes come from, how many rows there are, and how they are indexed."""
        rows, whole = self.count(), self.description.cut_from
        return {
            "collection": self.collection,
            "rows": rows,
            "method": self.method,
            "bits": self.bits,
            **({} if whole is None else {"cut": f"{self.bits} of the bundle's {whole}"}),
            "fingerprint": self.fingerprint,
            "id": self.id_kind,
            "codes": {name: modality or "fused" for name, modality in self.description.codes.items()},
            "missing": {m: self.count(f"{has(m)} == false") for m in self.modalities},
            "classes": None if self.label_names is None else len(self.label_names),
            "index": self.index_states(),
            "nprobe": self.spec.choose_nprobe(None),
            **index_building.segments_in_memory(self.connection, self.collection),
            "code bytes": rows * self.bits // 8 * len(self.codes),
        }


def _listed(ids: Ids | Sequence[Any]) -> list[Any]:
    return ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
