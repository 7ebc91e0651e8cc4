"""Ingest: a feature source, encoded batch by batch, into a collection. Memory holds a few batches, however long the source is.

A batch is written while the next ones are encoded (`pipeline`), and again where Milvus was busy or gone (`retrying`). Into a
collection that this run made, batches go by Insert, which saves the server to look for their ids; everything else, and a batch
that may be there after an error, goes by Upsert, since a server keeps both rows of an id that is inserted twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np

from milvus_ichash.errors import IchashError, InputError, MilvusError, PartialIngestError
from milvus_ichash.features import FeatureTable, Ids, Mask
from milvus_ichash.index.batch import Batch
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.description import Description
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.index_spec import IndexSpec
from milvus_ichash.index.retries import Retries
from milvus_ichash.ingestion.batch_maker import BatchMaker, check_source, with_names
from milvus_ichash.ingestion.options import IngestOptions, IngestReport, Listeners, check_options
from milvus_ichash.ingestion.overlap import overlapped
from milvus_ichash.io.duplicate_ids import find_duplicate_ids
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.runtime.encoder import HashEncoder

__all__ = ["IngestOptions", "IngestReport", "Listeners", "ingest"]


def ingest(
    source: FeatureSource,
    encoder: HashEncoder,
    connection: Connection,
    collection: str,
    options: IngestOptions = IngestOptions(),
    *,
    report: IngestReport | None = None,
    listeners: Listeners = Listeners(),
) -> IngestReport:
    """Encode a source and write it into a collection, which is made where it is not there.

    Rows are written by id, so ingesting the same source twice changes nothing.

    Args:
        source: the items.
        encoder: the bundle.
        connection: to Milvus.
        collection: name of the collection.
        options: how.
        report: filled while it runs, so that an interrupted ingest can be told about.
        listeners: told of progress.

    Raises:
        InputError: before anything was written; also for a column, an id that comes twice, a class or an index that
            cannot be used.
        MismatchError: the collection was made with another bundle.
        MilvusError: Milvus was not reached or refused, before anything was written; or all is written, but not yet
            indexed.
        PartialIngestError: rows may have been written, then one of these happened.
    """
    report = IngestReport() if report is None else report
    check_options(options)
    check_source(source, encoder, options.fields)
    load = _Load(source, encoder, connection, collection, options, report, listeners)
    find_duplicate_ids(source)
    try:
        overlapped(load.batches(), load.write, load.stopping)
    except IchashError as error:
        if load.begun or report.skipped:
            raise PartialIngestError(f"{error} {report.told()}; go on with: {options.resume_hint}") from error
        raise
    if options.wait and not options.dry_run:
        load.wait_until_indexed()
    return report


def check_index(collection: str, found: IndexSpec, kind: str | None, nlist: int | None, wanted: IndexSpec) -> None:
    """Raise InputError where a collection that is there has another index than what was asked for, if anything was."""
    if (kind is not None or nlist is not None) and (found.kind != wanted.kind or nlist not in (None, found.nlist)):
        cells = "" if found.nlist is None else f" of nlist {found.nlist}"
        change = wanted.kind + ("" if nlist is None else f" --nlist {nlist}")
        raise InputError(
            f"the collection '{collection}' has the index {found.kind}{cells}: leave --index and --nlist out, or change it first with "
            f"`milvus-ichash index --collection {collection} --index {change}`."
        )


class _Load:
    """One run: batches are drawn out of the source in one thread (`batches`), and written in another (`write`)."""

    def __init__(
        self,
        source: FeatureSource,
        encoder: HashEncoder,
        connection: Connection,
        collection: str,
        options: IngestOptions,
        report: IngestReport,
        listeners: Listeners,
    ) -> None:
        self.source, self.options, self.report, self.listeners = source, options, report, listeners
        self.manifest = with_names(encoder.manifest, source)
        self.spec = IndexSpec.of(options.index, options.nlist, source.info.rows, lite=connection.is_lite)
        self.stopping = threading.Event()
        # A Milvus Lite that is gone does not come back.
        self.retries = Retries(0.0 if connection.is_lite else options.patience, self.stopping, listeners.remark)
        bits = encoder.bits if options.bits is None else options.bits
        description = Description.of(self.manifest, options.codes, bits)
        self.index = HashIndex(connection, collection, description, source.info.id_kind)
        self.there = not options.recreate and self.retries(lambda: HashIndex.exists(connection, collection))
        if self.there:
            self.index = self.retries(self._open)
        self.maker = BatchMaker(
            encoder.cut(self.index.bits),
            self.index.description,
            self.index.id_kind,
            connection.is_lite,
            options.fields,
            options.labels,
        )
        self.made = False
        """Whether the collection was made by this run, so that it holds nothing else."""
        self.begun = False
        """Whether a batch was sent, so that rows may be there."""
        self.began = 0.0

    def batches(self) -> Iterator[tuple[int, Batch | None]]:
        """Batches to write, each with the number of the source's rows that are done with it."""
        report, size = self.report, self.options.batch_size
        report.missing.update(dict.fromkeys(self.index.modalities, 0))
        self.began = time.perf_counter()
        resuming = self.options.resume and self.there
        start = self._first_missing() if resuming else 0
        report.rows = report.skipped = start
        self.listeners.advance(start)
        for table in self.source.batches(size, start=start):
            new = self._not_there(table) if resuming else table
            yield len(table), self.maker(new) if len(new) else None

    def write(self, item: tuple[int, Batch | None]) -> None:
        """Write a batch, and count it."""
        rows, batch = item
        report = self.report
        if batch is not None and not self.options.dry_run:
            if not self.there:
                self._create()
            self._write(batch)
        written = 0 if batch is None else len(batch)
        report.rows += rows
        report.written += written
        report.skipped += rows - written
        for name, number in ({} if batch is None else self.maker.missing(batch)).items():
            report.missing[name] += number
        report.seconds = time.perf_counter() - self.began
        self.listeners.advance(rows)

    def wait_until_indexed(self) -> None:
        """Wait until Milvus has indexed what was written."""
        try:
            self.retries(lambda: self.index.wait_until_indexed(advance=self.listeners.indexed))
        except MilvusError as error:
            raise MilvusError(
                f"{error} All {self.report.rows:,} rows are written; it is the index that is not done."
            ) from error

    def _write(self, batch: Batch) -> None:
        new = self.made
        self.begun = True

        def attempt() -> None:
            nonlocal new
            first, new = new, False  # after an error, some of it may be there
            self.index.write(batch, new=first)

        self.retries(attempt)

    def _create(self) -> None:
        planned, options, again = self.index, self.options, False

        def attempt() -> None:
            nonlocal again
            tried, again = again, True
            if tried and not options.recreate and HashIndex.exists(planned.connection, planned.collection):
                self.index = self._open()
                return
            planned.make(self.spec, recreate=options.recreate)
            self.made = True

        self.retries(attempt)
        self.there = True

    def _open(self) -> HashIndex:
        """The collection that is there; where a run was cut off before it was indexed, it gets the index that was asked for."""
        planned, options = self.index, self.options
        collection = planned.collection
        index = HashIndex.find(planned.connection, collection)
        index.check(self.manifest, options.bits)
        if index.id_kind != planned.id_kind:
            raise InputError(
                f"{self.source.info.path} has ids of type {planned.id_kind}, and the collection '{collection}' of type {index.id_kind}."
            )
        if options.codes is not None and set(options.codes) != set(index.codes):
            raise InputError(
                f"the collection '{collection}' stores {', '.join(index.codes)}, not {', '.join(options.codes)}: leave --codes out."
            )
        index.load(self.spec)
        check_index(collection, index.spec, options.index, options.nlist, self.spec)
        return index

    def _first_missing(self) -> int:
        """Number of the first row that is not in the collection: those before it need not even be read."""
        first, size = 0, self.options.batch_size
        for ids in self.source.ids():
            for begin in range(0, len(ids), size):
                missing = self._absent(ids[begin : begin + size])
                if missing.any():
                    return first + begin + int(missing.argmax())
            first += len(ids)
        return first

    def _not_there(self, table: FeatureTable) -> FeatureTable:
        missing = self._absent(table.ids)
        return table if missing.all() else table.take(missing)

    def _absent(self, ids: Ids) -> Mask:
        """bool (n,): True for ids that are not in the collection."""
        there = self.retries(lambda: self.index.existing(ids))
        return np.array([key not in there for key in ids.tolist()], np.bool_)
