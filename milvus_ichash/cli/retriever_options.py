"""Who ranks, in `milvus-ichash evaluate`: from its options to retrievers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from milvus_ichash.cli.output import note
from milvus_ichash.errors import InputError

if TYPE_CHECKING:
    from milvus_ichash.evaluation.retriever import Retriever
    from milvus_ichash.index.connection import Connection
    from milvus_ichash.index.hash_index import HashIndex
    from milvus_ichash.io import FeatureSource
    from milvus_ichash.runtime.encoder import HashEncoder
    from milvus_ichash.settings import MilvusSettings

_SECONDS_PER_HIT = {True: 0.25e-6, False: 1.7e-6}
"""What one row of one ranking takes: by columnar calls, and through MilvusClient (two cores for Milvus and client)."""
_LONG = 20


class Via(str, Enum):
    """Who ranks."""

    search = "search"
    readback = "readback"
    exact = "exact"


@dataclass(frozen=True)
class Ranking:
    """The options that say who ranks what, as they were given.

    Attributes:
        via, against, collections, top_k, nprobe, sweep, flat, bits: of `milvus-ichash evaluate`.
    """

    via: Via | None
    against: Path | None
    collections: tuple[str, ...]
    top_k: int | None
    nprobe: int | None
    sweep: str | None
    flat: tuple[str, ...]
    bits: int | None = None

    @property
    def way(self) -> Via:
        """Who ranks, where it is not said."""
        return self.via or (Via.exact if self.against else Via.search)

    def check(self) -> None:
        """Raise InputError where options do not go with each other."""
        way, collections = self.way, self.collections
        if way is Via.exact and collections:
            raise InputError(
                "--via exact ranks a file, not a collection: leave --collection out, or take --via readback."
            )
        if way is not Via.exact and self.against:
            raise InputError(f"--against goes with --via exact; --via {way.value} ranks a collection.")
        if way is not Via.exact and not collections:
            raise InputError(f"--via {way.value} needs a --collection; --via exact ranks a file without Milvus.")
        if self.top_k is not None and way is not Via.search:
            raise InputError("--top-k goes with --via search: the other ways rank every row.")
        if self.nprobe is not None and way is not Via.search:
            raise InputError(
                f"--nprobe goes with --via search: --via {way.value} compares with every code, without an index."
            )
        for name, given in (("--collection", collections), ("--flat", self.flat)):
            if len(set(given)) < len(given):
                raise InputError(f"{name} names '{max(given, key=given.count)}' twice: once is enough.")
        if self.flat and self.sweep is None:
            raise InputError(
                "--flat goes with --sweep: it is the collection with BIN_FLAT that the others are held against."
            )
        if self.sweep is not None and way is not Via.search:
            raise InputError(f"--sweep measures searches in a collection: leave --via {way.value} out.")
        if self.sweep is not None and self.nprobe is not None:
            raise InputError("--sweep names the nprobe to measure: leave --nprobe out.")


def open_indexes(
    connection: Connection, collections: Sequence[str], encoder: HashEncoder, bits: int | None
) -> list[HashIndex]:
    """These collections, made with the bundle of the encoder, with codes of this length where one is asked for.

    Raises:
        InputError, MismatchError, MilvusError: as `HashIndex.open` and `HashIndex.check`.
    """
    from milvus_ichash.index.hash_index import HashIndex

    indexes = [HashIndex.open(connection, name) for name in collections]
    for index in indexes:
        index.check(encoder.manifest, bits)
    return indexes


@contextmanager
def open_retrievers(
    ranking: Ranking,
    database: Callable[[], FeatureSource],
    encoder: HashEncoder,
    milvus: MilvusSettings | None,
    queries: int,
    *,
    tasks: Sequence[str] = (),
    quiet: bool,
) -> Iterator[list[Retriever]]:
    """Open the retrievers that these options and tasks ask for, and say how long they will take where that is long.

    `database` opens the rows that --via exact ranks, without `milvus`; the other ways rank collections.
    """
    from milvus_ichash.evaluation.exact_retriever import ExactRetriever
    from milvus_ichash.evaluation.tasks import single_modality_targets

    if milvus is None:
        yield [ExactRetriever.encode(encoder, database(), single_modality_targets(encoder.manifest, tasks))]
        return
    from milvus_ichash.evaluation.milvus_retriever import MilvusRetriever
    from milvus_ichash.index.connection import connect

    with connect(milvus, create=False) as connection:
        indexes = open_indexes(connection, ranking.collections, encoder, ranking.bits)
        if ranking.way is Via.readback:
            yield [ExactRetriever.read_back(index) for index in indexes]
            return
        searches = [MilvusRetriever(index, top_k=ranking.top_k, nprobe=ranking.nprobe) for index in indexes]
        for search in searches:
            if search.complete:
                warn_of_time(queries, len(search.database), columnar=connection.columnar is not None, quiet=quiet)
        yield list(searches)


def warn_of_time(queries: int, rows: int, *, columnar: bool, quiet: bool) -> None:
    """Say how long complete rankings will take, where that is long."""
    seconds = queries * rows * _SECONDS_PER_HIT[columnar]
    if seconds > _LONG:
        slow = "" if columnar else " (this pymilvus has no columnar calls, so every row comes as an object of its own)"
        note(
            f"{queries} queries rank all {rows} rows by searches in Milvus, about {max(1, round(seconds / 60))} min for each task{slow}; "
            "--via readback gives the same figures in seconds.",
            quiet=quiet,
        )
