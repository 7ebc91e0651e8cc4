"""What searches find, in a form that can be compared, and searches that are under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from milvus_ichash.codes import Codes
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.rankings import Hits

Pairs = list[tuple[int, str]]


def found(hits: Hits) -> list[Pairs]:
    """(distance, id) of what each query found."""
    columns = zip(hits.counts.tolist(), hits.distances.tolist(), hits.ids.tolist(), strict=True)
    return [list(zip(distances[:n], ids[:n], strict=True)) for n, distances, ids in columns]


def search_at_once(index: HashIndex, queries: Sequence[Codes], **options: Any) -> list[Hits]:
    """One search for each of these, all under way at once in an event loop of their own."""

    async def all_of_them() -> list[Hits]:
        try:
            return await asyncio.gather(*(index.search_async(codes, **options) for codes in queries))
        finally:
            await index.connection.close_async()

    return asyncio.run(all_of_them())
