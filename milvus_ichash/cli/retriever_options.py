"""Options of `evaluate` that say what ranks the rows, and the retrievers that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from milvus_ichash.cli.measuring_options import MEASURE, check_named_once
from milvus_ichash.cli.options import MILVUS
from milvus_ichash.cli.output import OutputOptions
from milvus_ichash.errors import InputError

if TYPE_CHECKING:
    from milvus_ichash.evaluation.retriever import Retriever
    from milvus_ichash.index.connection import Connection
    from milvus_ichash.index.hash_index import HashIndex
    from milvus_ichash.io import FeatureSource
    from milvus_ichash.runtime.encoder import HashEncoder
    from milvus_ichash.settings import MilvusSettings

Via = Literal["search", "readback", "exact"]

_SECONDS_PER_HIT = {True: 0.25e-6, False: 1.7e-6}
"""Time for one row of one ranking: by columnar calls, and through MilvusClient (two cores for Milvus and client)."""
_LONG = 20


@dataclass(frozen=True)
class RetrieverOptions:
    """What ranks the rows: searches in collections, codes read out of them, or codes made from a file."""

    collection: Annotated[
        list[str] | None,
        typer.Option(
            "--collection",
            "-c",
            help="Collection to search in; may be given several times, where the codes are in several collections.",
            rich_help_panel=MILVUS,
            show_default=False,
        ),
    ] = None
    via: Annotated[
        Via | None,
        typer.Option(
            "--via",
            help="search: rank by searches in Milvus. readback: read the codes out of the collection once and rank "
            "them here; gives the figures of BIN_FLAT, much faster. exact: rank the codes of a file, without Milvus.",
            rich_help_panel=MEASURE,
            show_default="search; exact with --against",
        ),
    ] = None
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            help="File with the database for --via exact: its retrieval split, or all rows of a file without splits.",
            rich_help_panel=MEASURE,
            show_default="QUERIES",
        ),
    ] = None
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            help="With --via search: find this many rows for each query by one search; other rows count as missed.",
            rich_help_panel=MEASURE,
            show_default="all rows; 16384 of BIN_IVF_FLAT",
        ),
    ] = None
    nprobe: Annotated[
        int | None,
        typer.Option(
            "--nprobe",
            help="With --via search: number of cells of a BIN_IVF_FLAT index to search in.",
            rich_help_panel=MEASURE,
            show_default="nlist / 64, at least 8",
        ),
    ] = None
    bits: Annotated[
        int | None,
        typer.Option(
            "--bits",
            help="With --via exact: length to which the codes are cut, one that the bundle was trained for. A "
            "collection has a length of its own.",
            rich_help_panel=MEASURE,
            show_default="the bundle's",
        ),
    ] = None

    @property
    def collections(self) -> list[str]:
        """The collections to search in."""
        return self.collection or []

    @property
    def way(self) -> Via:
        """The way to rank, where --via does not say it too."""
        return self.via or ("exact" if self.against else "search")

    def check(self) -> None:
        """Raise InputError where options do not go with each other."""
        way = self.way
        if way == "exact" and self.collections:
            raise InputError(
                "--via exact ranks a file, not a collection: leave --collection out, or take --via readback."
            )
        if way != "exact" and self.against:
            raise InputError(f"--against goes with --via exact; --via {way} ranks a collection.")
        if way != "exact" and not self.collections:
            raise InputError(f"--via {way} needs a --collection; --via exact ranks a file without Milvus.")
        if self.top_k is not None and way != "search":
            raise InputError("--top-k goes with --via search: the other ways rank every row.")
        if self.nprobe is not None and way != "search":
            raise InputError(
                f"--nprobe goes with --via search: --via {way} compares with every code, without an index."
            )
        check_named_once("--collection", self.collections)


def open_indexes(
    connection: Connection, collections: Sequence[str], encoder: HashEncoder, bits: int | None
) -> list[HashIndex]:
    """Open collections that were made with the bundle of the encoder, with codes of this length where one is given.

    Raises:
        InputError, MismatchError, MilvusError: as `HashIndex.open` and `HashIndex.check`.
    """
    from milvus_ichash.index.hash_index import HashIndex

    indexes = [HashIndex.open(connection, name) for name in collections]
    for index in indexes:
        index.check(encoder.manifest, bits)
        index.name_classes(encoder.manifest.label_names)
    return indexes


@contextmanager
def open_retrievers(
    options: RetrieverOptions,
    database: Callable[[], FeatureSource],
    encoder: HashEncoder,
    milvus: MilvusSettings | None,
    queries: int,
    *,
    tasks: Sequence[str],
    masked: bool,
    output: OutputOptions,
) -> Iterator[list[Retriever]]:
    """Open the retrievers that these options and tasks ask for, and say how long they will take where that is long.

    `database` opens the rows that --via exact ranks, without `milvus`; the other ways rank collections. `masked` says
    whether modalities are hidden from the queries.
    """
    from milvus_ichash.evaluation.exact_retriever import ExactRetriever
    from milvus_ichash.evaluation.tasks import available_tasks, single_modality_targets

    manifest = encoder.manifest
    if milvus is None:
        source = database()
        targets = single_modality_targets(manifest, tasks, source.info.dims, masked=masked)
        yield [ExactRetriever.encode(encoder, source, targets)]
        return
    if not tasks and (targets := single_modality_targets(manifest, (), manifest.dims, masked=masked)):
        names = ", ".join(task.name for task in available_tasks(manifest).values() if task.single_modality)
        output.note(
            f"{names} search codes made from {' or '.join(sorted(targets))} alone, which no collection holds: "
            "--via exact measures them on a file."
        )
    from milvus_ichash.evaluation.milvus_retriever import MilvusRetriever
    from milvus_ichash.index.connection import connect

    with connect(milvus, create=False) as connection:
        indexes = open_indexes(connection, options.collections, encoder, options.bits)
        if options.way == "readback":
            yield [ExactRetriever.read_back(index) for index in indexes]
            return
        searches = [MilvusRetriever(index, top_k=options.top_k, nprobe=options.nprobe) for index in indexes]
        for search in searches:
            if search.complete:
                warn_of_time(queries, len(search.database), output, columnar=connection.columnar is not None)
        yield list(searches)


def warn_of_time(queries: int, rows: int, output: OutputOptions, *, columnar: bool) -> None:
    """Say how long complete rankings will take, where that is long."""
    seconds = queries * rows * _SECONDS_PER_HIT[columnar]
    if seconds > _LONG:
        slow = "" if columnar else " (this pymilvus has no columnar calls, so every row comes as an object of its own)"
        output.note(
            f"{queries} queries rank all {rows} rows by searches in Milvus, about {max(1, round(seconds / 60))} min "
            f"for each task{slow}; --via readback gives the same figures in seconds."
        )
