from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from milvus_ichash.bundle import Manifest
from milvus_ichash.errors import InputError
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.rankings import Hits


def test_searches_under_way_at_once_find_what_one_after_the_other_finds(
    connection: Connection, fused: Manifest, name: Callable[[], str]
) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (300, 2), np.uint8)
    index = HashIndex.create(connection, name(), fused)
    index.upsert(
        [f"i{n}" for n in range(300)], {"code": codes}, np.ones((300, 2), bool), payload={"n": list(range(300))}
    )

    async def all_of_them() -> list[Hits]:
        try:
            return await asyncio.gather(
                *(
                    index.search_async(codes[q : q + 2], top_k=20, radius=5, output_fields=["n"])
                    for q in range(0, 20, 2)
                )
            )
        finally:
            await connection.close_async()

    for turn in range(2):  # each asyncio.run has an event loop of its own
        for q, hits in zip(range(0, 20, 2), asyncio.run(all_of_them()), strict=True):
            expected = index.search(codes[q : q + 2], top_k=20, radius=5, output_fields=["n"])
            assert expected.counts.min() >= 1, turn
            np.testing.assert_array_equal(hits.ids, expected.ids)
            np.testing.assert_array_equal(hits.distances, expected.distances)
            assert hits.fields == expected.fields


def test_a_filter_that_names_an_unknown_field(connection: Connection, fused: Manifest, name: Callable[[], str]) -> None:
    index = HashIndex.create(connection, name(), fused)
    index.upsert(["a"], {"code": np.zeros((1, 2), np.uint8)}, np.ones((1, 2), bool))

    async def search() -> None:
        try:
            await index.search_async(np.zeros((1, 2), np.uint8), filter="colour == 'red'")
        finally:
            await connection.close_async()

    with pytest.raises(InputError, match="names 'colour'"):
        asyncio.run(search())
