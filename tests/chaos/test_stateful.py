"""HashIndex on Milvus Lite beside a dict: any order of writing, deleting, searching, reopening and kills (hypothesis).

ICHASH_CHAOS_EXAMPLES sets how many orders are tried.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from chaos.items import BITS, Row, Versions, expected, key_of, make_bundle, number_of
from chaos.places import read_rows
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from milvus_ichash.bundle import Manifest, read_manifest
from milvus_ichash.codes import Codes
from milvus_ichash.errors import InputError, MilvusError
from milvus_ichash.index.connection import connect
from milvus_ichash.index.hash_index import HashIndex

NUMBERS = st.integers(0, 24)
VERSIONS = st.integers(0, 3)
CHANGES = st.dictionaries(NUMBERS, VERSIONS, min_size=1, max_size=12)
ITEMS = st.lists(NUMBERS, min_size=1, max_size=12, unique=True)


class Collection(RuleBasedStateMachine):
    """A collection, and what must be in it."""

    manifest: Manifest

    @initialize()
    def make(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.there: Versions = {}
        self.connection = self._connected()
        self.index = HashIndex.create(self.connection, "items", self.manifest)

    def teardown(self) -> None:
        self.connection.close()
        self.folder.cleanup()

    def _connected(self) -> Any:
        return connect(uri=str(Path(self.folder.name) / "x.db"), timeout=60)

    @rule(change=CHANGES)
    def upsert(self, change: Versions) -> None:
        assert self.index.upsert(*columns(change)) == len(change)
        self.there |= change

    @rule(change=CHANGES)
    def upsert_an_id_twice(self, change: Versions) -> None:
        ids, codes, present, _, payload = columns(change)
        twice = [np.concatenate([each, each]) for each in (codes["code"], present)]
        with pytest.raises(InputError):
            self.index.upsert(ids * 2, {"code": twice[0]}, twice[1], None, {k: v * 2 for k, v in payload.items()})

    @rule(items=ITEMS)
    def delete(self, items: list[int]) -> None:
        assert self.index.delete([key_of(number) for number in items]) == len(self.there.keys() & set(items))
        for number in items:
            self.there.pop(number, None)

    @precondition(lambda self: self.there)
    @rule(version=VERSIONS)
    def delete_a_version(self, version: int) -> None:
        gone = [number for number, of in self.there.items() if of == version]
        assert self.index.delete(filter=f"version == {version}") == len(gone)
        for number in gone:
            del self.there[number]

    @rule(items=ITEMS)
    def look_up(self, items: list[int]) -> None:
        found = self.index.existing([key_of(number) for number in items])
        assert found == {key_of(number) for number in items if number in self.there}

    @rule(number=NUMBERS, version=VERSIONS, top_k=st.integers(1, 30))
    def search(self, number: int, version: int, top_k: int) -> None:
        query = as_codes([expected(number, version)])
        hits = self.index.search(query, top_k=top_k, output_fields=["title"])
        found = [number_of(key) for key in hits.ids[0][: hits.counts[0]]]
        distances = dict(zip(self.there, hamming(query, as_codes(self._rows())), strict=True))
        nearest = sorted(distances.values())[:top_k]
        assert hits.distances[0][: hits.counts[0]].tolist() == nearest == [distances[number] for number in found]
        assert [row["title"] for row in hits.fields[0]] == [expected(n, self.there[n]).title for n in found]
        assert len(set(found)) == len(found)

    @rule()
    def reopen(self) -> None:
        self.connection.close()
        self.connection = self._connected()
        self.index = HashIndex.open(self.connection, "items")

    @rule()
    def kill(self) -> None:
        """kill -9 of Milvus Lite: what was acknowledged is in the file."""
        for child in psutil.Process().children():
            if child.name() == "milvus" and self.folder.name in " ".join(child.cmdline()):
                child.kill()
                child.wait()
        with pytest.raises(MilvusError, match="process of Milvus Lite ended"):
            self.index.count()
        self.reopen()

    @invariant()
    def all_is_there(self) -> None:
        back = self.index.read_back()
        rows = sorted(self._rows(), key=lambda row: key_of(row.number))
        assert back.ids.tolist() == [key_of(row.number) for row in rows]
        np.testing.assert_array_equal(back.codes["code"], as_codes(rows))
        assert back.present.tolist() == [[True, row.has_text] for row in rows]
        assert sorted(read_rows(self.connection, "items"), key=lambda row: key_of(row.number)) == rows
        assert self.index.count() == len(rows)

    def _rows(self) -> list[Row]:
        return [expected(number, version) for number, version in self.there.items()]


def columns(change: Versions) -> tuple[list[str], dict[str, Codes], np.ndarray, None, dict[str, list[Any]]]:
    """What `HashIndex.upsert` takes."""
    rows = [expected(number, version) for number, version in change.items()]
    payload = {"title": [row.title for row in rows], "version": [row.version for row in rows]}
    present = np.array([[True, row.has_text] for row in rows])
    return [key_of(row.number) for row in rows], {"code": as_codes(rows)}, present, None, payload


def as_codes(rows: list[Row]) -> Codes:
    return np.frombuffer(b"".join(row.code for row in rows), np.uint8).reshape(len(rows), BITS // 8)


def hamming(query: Codes, codes: Codes) -> list[int]:
    return [int(n) for n in np.unpackbits(query ^ codes, axis=1).sum(axis=1)]


@pytest.mark.slow
def test_a_collection_is_what_a_dict_says(tmp_path: Path) -> None:
    manifest = read_manifest(make_bundle(tmp_path / "bundle"))
    machine: Callable[[], Collection] = type("OfThisBundle", (Collection,), {"manifest": manifest})
    examples = int(os.environ.get("ICHASH_CHAOS_EXAMPLES", "10"))
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=25))
