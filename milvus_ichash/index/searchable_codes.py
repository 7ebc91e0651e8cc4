"""Searches and complete rankings of a collection of hash codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from milvus_ichash.codes import Codes, Distances
from milvus_ichash.errors import InputError
from milvus_ichash.features import Ids
from milvus_ichash.index import rankings, stored_rows
from milvus_ichash.index.code_collection import CodeCollection
from milvus_ichash.index.field_names import ID, LABELS, META, has
from milvus_ichash.index.rankings import Hits
from milvus_ichash.index.search_request import LIMIT, SearchOptions, SearchRequest, check_reach

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SearchableCodes(CodeCollection):
    """A collection of hash codes that can be searched."""

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

    def check_top_k(self, top_k: int) -> None:
        """Raise InputError where one search cannot give so many items: Milvus gives 1 to 16,384."""
        check_reach(top_k, None, self.bits)

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
