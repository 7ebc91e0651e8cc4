"""Where a round keeps its rows: in a file of Milvus Lite, or on a server; each can be killed and read back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psutil
from chaos.items import Row, number_of
from support.milvus_server import MilvusServer

from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.settings import MilvusSettings

_LIMIT = 16_384


class Place(Protocol):
    """Attributes: its address; whether several processes may write at once."""

    uri: str
    shared: bool

    def kill(self, client: psutil.Popen) -> bool:
        """kill -9 of what keeps the rows for this client; False where there is nothing to kill just now."""

    def revive(self) -> None:
        """Have it back."""


class LitePlace:
    """A file of Milvus Lite, whose process belongs to the client."""

    shared = False

    def __init__(self, folder: Path) -> None:
        self.file = folder / "x.db"
        self.uri = str(self.file)

    def kill(self, client: psutil.Popen) -> bool:
        try:
            children = [child for child in client.children() if child.name() == "milvus"]
        except psutil.NoSuchProcess:
            return False
        for child in children:
            child.kill()
        return bool(children)

    def revive(self) -> None:
        """The next client starts another."""


class ServerPlace:
    """A server; `server` is None where it is not ours to be killed."""

    shared = True

    def __init__(self, uri: str, server: MilvusServer | None) -> None:
        self.uri, self._server = uri, server

    def kill(self, client: psutil.Popen) -> bool:
        if self._server is None:
            return False
        self._server.kill()
        return True

    def revive(self) -> None:
        if self._server is not None:
            self._server.start()


@contextmanager
def connected(place: Place) -> Iterator[Connection]:
    """A connection that waits long: servers that were killed take their time."""
    with connect(MilvusSettings(uri=place.uri, timeout=90)) as connection:
        yield connection


def read_rows(connection: Connection, collection: str) -> list[Row]:
    """All rows, by pymilvus alone, in as many pages as it takes; a row that is there twice comes twice."""
    HashIndex.open(connection, collection)
    rows: list[Row] = []
    reached = ""
    while page := _page(connection, collection, reached):
        ends = len(page) == _LIMIT
        # Both rows of a doubled id must be on one page.
        last = page[-1]["id"]
        whole = [row for row in page if not ends or row["id"] < last]
        rows += map(_row, whole)
        if not ends:
            break
        reached = whole[-1]["id"]
    return rows


def _page(connection: Connection, collection: str, reached: str) -> list[dict[str, Any]]:
    found = connection.client.query(
        collection,
        filter=f'id > "{reached}"' if reached else "",
        output_fields=["*"],
        limit=_LIMIT,
        consistency_level="Strong",
        timeout=90,
        iterator="True",
        reduce_stop_for_best="True",
    )
    return sorted(found, key=lambda row: row["id"])


def _row(row: dict[str, Any]) -> Row:
    return Row(number_of(row["id"]), row["version"], row["code"][0], row["title"], row["has_text"])
