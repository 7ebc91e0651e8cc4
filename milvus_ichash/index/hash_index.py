"""HashIndex: a collection of hash codes that knows the bundle it was made with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from milvus_ichash.bundle import Manifest
from milvus_ichash.choices import IdKind
from milvus_ichash.codes import Codes, Distances
from milvus_ichash.errors import InputError, MilvusError, MismatchError
from milvus_ichash.features import Ids, Mask
from milvus_ichash.index import (
    collection_schema,
    filters,
    index_building,
    label_forms,
    lookups,
    rankings,
    stored_rows,
    writing,
)
from milvus_ichash.index.batch import Batch, Payload, build_batch, check_sizes, checked_ids, code_bytes
from milvus_ichash.index.client_errors import refused_expression
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.description import Description
from milvus_ichash.index.field_names import ID, LABELS, META, has
from milvus_ichash.index.index_spec import IndexSpec
from milvus_ichash.index.label_forms import LabelLists
from milvus_ichash.index.lookups import Lookup
from milvus_ichash.index.rankings import Hits
from milvus_ichash.index.search_request import LIMIT, SearchOptions, SearchRequest, check_reach
from milvus_ichash.index.stored_rows import ReadBack

if TYPE_CHECKING:
    from typing_extensions import Unpack


class HashIndex:
    """Hash codes in a Milvus collection, one row for each item.

    Open a collection with `HashIndex.open`, make one with `HashIndex.create`, do what is needed of the two with
    `HashIndex.ensure`. The constructor asks Milvus nothing: it is for a collection that `make` is to make.

    Attributes:
        connection: to Milvus.
        collection: its name.
        description: what the collection says of itself.
        id_kind: "str" or "int64".
        spec: how the codes are indexed.
        fingerprint, method: of the bundle that made its codes.
        bits: length of the stored codes; where they are cut, whole codes of the bundle are cut alike wherever they are
            given.
        codes: names of the stored codes.
        modalities: names, in the order of the columns of `present`.
        label_names: names of the classes, where they are known.
        labels_by_name: whether the items' labels are names; class numbers otherwise, as in old collections.
    """

    def __init__(self, connection: Connection, collection: str, description: Description, id_kind: IdKind) -> None:
        collection_schema.check_name(collection)
        self.connection = connection
        self.collection = collection
        self.description = description
        self.id_kind = id_kind
        self.spec = IndexSpec()
        self.fingerprint = description.fingerprint
        self.method = description.method
        self.bits = description.bits
        self.codes = tuple(description.codes)
        self.modalities = description.modalities
        self.label_names = description.label_names
        self.labels_by_name = description.labels_by_name

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

        Raises:
            InputError: the name is taken or cannot be one, or the bundle makes no such code, or none of this length.
            MismatchError: the collection that would be deleted was not made by this program.
            MilvusError: Milvus could not.
        """
        made = cls(connection, collection, Description.of(manifest, codes, bits), id_kind)
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
    ) -> HashIndex:
        """Open the collection for the codes of a bundle, or make it where it is not there.

        Several programs may call it at the same time: one of them makes the collection, the others open it.

        Args:
            connection, collection, manifest, id_kind: as `create`.
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

        planned = cls(connection, collection, Description.of(manifest, codes, bits), id_kind)
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

    def check(self, manifest: Manifest, bits: int | None = None) -> None:
        """Check that codes of this bundle belong with those of the collection.

        Raises:
            MismatchError: they do not.
            InputError: the collection's have another length than `bits`, where that is given.
        """
        if manifest.fingerprint != self.fingerprint:
            raise MismatchError(
                f"collection '{self.collection}' holds codes of the bundle {self.fingerprint} ({self.method}, "
                f"{self.bits} bits), and this bundle is {manifest.fingerprint} ({manifest.method}, {manifest.bits} "
                "bits): their distances mean nothing. Take the bundle it was made with, another collection, or make it "
                "anew with `ingest --recreate`."
            )
        if self.bits not in manifest.lengths:
            raise MismatchError(
                f"collection '{self.collection}' holds codes cut to {self.bits} bits, and this bundle's manifest says "
                f"that they can have {', '.join(map(str, manifest.lengths))}: take the bundle as it was when the "
                "collection was made, or make the collection anew with `ingest --recreate`."
            )
        if bits not in (None, self.bits):
            raise InputError(
                f"collection '{self.collection}' holds codes of {self.bits} bits, not {bits}: leave --bits out, "
                "or take another collection."
            )

    def check_kinds(self, id_kind: IdKind, codes: Sequence[str] | None, where: object = "the call") -> None:
        """Raise InputError where `where` (a file, say) has ids of another kind, or other codes were asked for."""
        if id_kind != self.id_kind:
            raise InputError(
                f"{where} has ids of type {id_kind}, and the collection '{self.collection}' of type {self.id_kind}."
            )
        if codes is not None and set(codes) != set(self.codes):
            raise InputError(
                f"the collection '{self.collection}' stores {', '.join(self.codes)}, not {', '.join(codes)}: "
                "leave --codes out."
            )

    def name_classes(self, names: Sequence[str] | None) -> None:
        """Take the names of a bundle's classes where the collection itself has none: they were too long to store."""
        if self.label_names is None and names is not None:
            self.label_names = tuple(names)

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

    def search(self, codes: Codes, **options: Unpack[SearchOptions]) -> Hits:
        """Return the nearest items of each query.

        It sees what was there when the collection was opened and what was written through this connection since; what
        others write is seen after five seconds at the latest.

        Args:
            codes: uint8 (Q, bits / 8), or whole ones.
            options: `code`: which stored code is searched; may be left out where there is one.
                `top_k`: at most so many items, 1 to 16,384, 10 by default. Of several at the last distance, an
                arbitrary few are taken.
                `radius`: the largest Hamming distance, itself included; no limit by default.
                `nprobe`: cells of BIN_IVF_FLAT that are looked through, 1 to nlist; a 64th of them, at least 8, by
                default.
                `filter`: Milvus expression over fields of the collection, such as `has_text == true` or
                `array_contains(labels, "red")`.
                `output_fields`: fields to return; "*" stands for labels, by name, and all of the payload.

        Raises:
            InputError: an argument cannot be used, or the filter cannot be evaluated or names a field that no item has.
            MilvusError: Milvus could not.

        Example:
            >>> hits = index.search(codes, top_k=2, filter="has_text == true", output_fields=["title"])
            >>> hits.ids[0], hits.distances[0], hits.fields[0][0]["title"]
            (array(['a7', 'b2'], dtype=object), array([0, 3], dtype=int32), 'A red bicycle')
        """
        request = self._request(**options)
        with self._using(request.filter):
            hits = rankings.nearest(self.connection, request, self._bytes(codes))
        return self._answer(hits, request, options.get("output_fields", ()))

    def search_within(
        self,
        codes: Codes,
        radius: int,
        *,
        code: str | None = None,
        nprobe: int | None = None,
        filter: str = "",
        output_fields: Sequence[str] = (),
    ) -> Hits:
        """Return all items of each query within a Hamming distance, itself included, sorted by (distance, id).

        `search` gives 16,384 items at most; here there is no limit but memory. BIN_IVF_FLAT finds those in the cells
        that it looks through. Arguments and errors as `search`.
        """
        request = self._request(
            code=code, top_k=LIMIT, radius=radius, nprobe=nprobe, filter=filter, output_fields=output_fields
        )

        def keys() -> Ids:
            return stored_rows.read_ids(self.connection, self.collection, filter, self.id_kind)

        with self._using(filter):
            hits = rankings.all_within(self.connection, request, self._bytes(codes), keys)
        return self._answer(hits, request, output_fields)

    async def search_async(self, codes: Codes, **options: Unpack[SearchOptions]) -> Hits:
        """Search as `search` does, but for an event loop: many searches can be under way at once.

        It goes through pymilvus's `AsyncMilvusClient`; close that with `await index.connection.close_async()`.
        """
        request = self._request(**options)
        with self._using(request.filter):
            hits = await rankings.nearest_async(self.connection, request, self._bytes(codes))
        return self._answer(hits, request, options.get("output_fields", ()))

    def plain_search(
        self, codes: Codes, *, top_k: int, code: str | None = None, nprobe: int | None = None, filter: str = ""
    ) -> Any:
        """Call `MilvusClient.search` once at Bounded consistency, as another program would: to be timed.

        At Strong consistency, a server lets every search wait for up to a fifth of a second, whatever it finds.
        Arguments and errors as `search`; returns what pymilvus returns.
        """
        request = self._request(code=code, top_k=top_k, nprobe=nprobe, filter=filter)
        return rankings.plain_search(self.connection, request, self._bytes(codes))

    def rank_first(
        self, codes: Codes, *, top_k: int, code: str | None = None, nprobe: int | None = None, filter: str = ""
    ) -> Iterator[tuple[Ids, Distances]]:
        """Yield for each query its nearest items, at most `top_k`, sorted by (distance, id).

        Ids are int64 or object (n,), distances int32 (n,). Arguments and errors as `search`; made for many queries with
        many items each.
        """
        request = self._request(code=code, top_k=top_k, nprobe=nprobe, filter=filter)
        with self._using(filter):
            yield from rankings.first_rankings(self.connection, request, self._bytes(codes))

    def rank_all(self, codes: Codes, *, code: str | None = None, filter: str = "") -> Iterator[tuple[Ids, Distances]]:
        """Yield for each query one complete ranking out of Milvus searches, sorted by (distance, id).

        Ids are int64 or object (N,), distances int32 (N,). Collections beyond 16,384 rows are searched slice by slice
        of the primary key, so that no row and no tie is left out.

        Raises:
            InputError: as `search`; or the index is BIN_IVF_FLAT, which does not look at every row.
            MilvusError: Milvus could not, or the collection changed meanwhile.
        """
        request, queries = self._complete_request(code, filter), self._bytes(codes)
        with self._using(filter):
            keys = stored_rows.read_ids(self.connection, self.collection, filter, self.id_kind)
            if filter and not len(keys):
                self._check_names(filter)
            yield from rankings.complete_rankings(self.connection, request, queries, keys)

    def distances_to(self, ids: Ids, codes: Codes, *, code: str | None = None, filter: str = "") -> Iterator[Distances]:
        """Yield for each query its distances to given items, in their order: int32 (N,), out of complete searches.

        Nothing is sorted; `rank_all` reads the ids itself, and sorts.

        Args:
            ids: of all the items that match the filter, sorted: (N,).
            codes: uint8 (Q, bits / 8), or whole ones.
            code: which stored code is searched; may be left out where there is one.
            filter: Milvus expression.

        Raises:
            InputError: as `rank_all`.
            MilvusError: Milvus could not, or other items than these match the filter.
        """
        request, queries = self._complete_request(code, filter), self._bytes(codes)
        with self._using(filter):
            stored_rows.check_count(self.connection, self.collection, filter, ids)
            yield from rankings.complete_distances(self.connection, request, queries, ids)

    def names_of(self, labels: Sequence[Any]) -> list[Any]:
        """Return an item's labels by name; class numbers of an old collection stay where their names are not known."""
        return list(labels) if self.labels_by_name else label_forms.names_of(labels, self.label_names or ())

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

    def check_top_k(self, top_k: int) -> None:
        """Raise InputError where one search cannot give so many items: Milvus gives 1 to 16,384."""
        check_reach(top_k, None, self.bits)

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

    def count(self, filter: str = "") -> int:
        """Return the number of rows, or of those that match a filter."""
        with self._using(filter):
            return lookups.count(self.connection, self.collection, filter)

    def field_names(self) -> list[str]:
        """Return the fields that filters and outputs can name.

        These are the fields of the schema without the codes, and those of the payload of the first 16,384 rows.
        """
        return stored_rows.field_names(self.connection, self.collection, self.description)

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

    def _request(self, **options: Unpack[SearchOptions]) -> SearchRequest:
        """Return a request that Milvus can be sent, with the defaults for what is left open."""
        wanted = options.get("output_fields", ())
        for name in wanted:
            if name in self.codes:
                raise InputError(f"the code '{name}' cannot be an output field of a search: read_back gives codes.")
        chosen: SearchOptions = {
            **options,
            "code": self._code(options.get("code")),
            "nprobe": self.spec.choose_nprobe(options.get("nprobe")),
            "output_fields": self._fields(wanted),
        }
        request = SearchRequest(self.collection, **chosen)
        check_reach(request.top_k, request.radius, self.bits)
        return request

    def _complete_request(self, code: str | None, filter: str) -> SearchRequest:
        if self.spec.kind != "BIN_FLAT":
            raise InputError(
                f"collection '{self.collection}' has the index {self.spec.kind}, which does not look at every row: "
                "rank the first rows (--top-k), or read the codes back (--via readback)."
            )
        return self._request(code=code, top_k=LIMIT, filter=filter)

    def _code(self, name: str | None) -> str:
        if name is None and len(self.codes) == 1:
            return self.codes[0]
        if name not in self.codes:
            wrong = "holds several codes, choose one" if name is None else f"holds no code '{name}'"
            raise InputError(f"collection '{self.collection}' {wrong}: {', '.join(self.codes)}.")
        return name

    def _bytes(self, codes: Codes) -> list[bytes]:
        return code_bytes(self.description.cut(codes), self.bits)

    def _answer(self, hits: Hits, request: SearchRequest, output_fields: Sequence[str]) -> Hits:
        """Return the hits with the fields that were asked for, and no others; labels by name where names are known."""
        if request.filter and not hits.counts.any():
            self._check_names(request.filter)
        if "*" not in output_fields:
            names = set(output_fields)
            for row in (row for rows in hits.fields for row in rows):
                for extra in row.keys() - names:
                    del row[extra]
        for row in (row for rows in hits.fields for row in rows if row.get(LABELS)):
            row[LABELS] = self.names_of(row[LABELS])
        return hits

    def _fields(self, output_fields: Sequence[str]) -> list[str]:
        # Milvus parses the names of dynamic fields: those with odd names come only with all the others.
        if all(name.isidentifier() for name in output_fields):
            return list(output_fields)
        own = (ID, *map(has, self.modalities))
        return [*(name for name in output_fields if name in own), META]

    @contextmanager
    def _using(self, expression: str) -> Iterator[None]:
        """Blame the filter where Milvus cannot parse or evaluate it, or where it asks for labels in the wrong form."""
        label_forms.check_filter(expression, self.collection, self.label_names or (), by_name=self.labels_by_name)
        try:
            yield
        except MilvusError as error:
            reason = refused_expression(error) if expression.strip() else None
            if reason is not None:
                raise InputError(
                    f"the filter `{expression}` cannot be used ({reason}). "
                    f"There are the fields {', '.join(self.field_names())}; "
                    f"write, for example, {has(self.modalities[0])} == true."
                ) from error
            raise

    def _check_names(self, expression: str) -> None:
        """Raise InputError where a filter that nothing matched names an unknown field: Milvus takes any name."""
        known = self.field_names()
        unknown = [name for name in filters.names_in(expression) if name not in known]
        if unknown:
            raise InputError(
                f"the filter `{expression}` names '{unknown[0]}', which no item has; there is {', '.join(known)}."
            )


def _listed(ids: Ids | Sequence[Any]) -> list[Any]:
    return ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
