"""Ingest: a feature source, encoded batch by batch, into a collection; memory holds a few batches, not the source.

A batch is written while the next ones are made (`background_writing`), and written again where Milvus was busy or gone
(`index.retries`). Where a killed ingest goes on is said in `resuming`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from milvus_ichash.errors import MilvusError
from milvus_ichash.features import FeatureTable
from milvus_ichash.index.batch import Batch
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.retries import Retries
from milvus_ichash.ingestion.background_writing import write_in_background
from milvus_ichash.ingestion.batch_maker import BatchMaker, description_of_rows
from milvus_ichash.ingestion.first_pass import check_before
from milvus_ichash.ingestion.id_sample import IdSample
from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.ingestion.ingest_report import IngestReport, Listeners, Progress, partial_where_rows_are_there
from milvus_ichash.ingestion.payload import notes_before
from milvus_ichash.ingestion.resuming import changed_part
from milvus_ichash.ingestion.target_collection import TargetCollection, WantedIndex
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.runtime.encoder import HashEncoder


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

    Rows are written by id: an item that is there is replaced, so ingesting the same source twice changes nothing.
    Several ingests may write into one collection at the same time, unless one of them has `IngestOptions.insert`. In
    the end, some of the ids are looked up again.

        with connect(uri="./items.db") as connection:
            report = ingest(open_source("items.parquet"), HashEncoder.load("bundle"), connection, "items")
            print(report.written, report.missing)

    Args:
        source: the items.
        encoder: the bundle.
        connection: to Milvus.
        collection: name of the collection.
        options: which codes, fields and index, how many rows at a time, whether to go on with a run that broke off.
        report: filled while it runs, so that the caller can tell of an interrupted ingest.
        listeners: told of progress.

    Returns:
        The report: how many rows were written, were there already just so, and lack which modality.

    Raises:
        InputError: options, a column, a class or an index that cannot be used, an id that comes twice or cannot be
            stored, or an item with more payload than a server stores; nothing was written.
        MismatchError: the collection was made with another bundle.
        MilvusError: Milvus was not reached or refused, and nothing was written; or all is written, but not yet indexed.
        PartialIngestError: one of these happened after rows may have been written. Do it again with `resume=True`. Or
            all were written, but ids of this run are missing, or have several rows.
    """
    report = IngestReport() if report is None else report
    description = description_of_rows(source, encoder, options)
    for note in notes_before(source.info, options):
        listeners.remark(note)
    stopping = threading.Event()
    # A Milvus Lite that is gone does not come back.
    retries = Retries(0.0 if connection.is_lite else options.patience, stopping, listeners.remark)

    def check(found: HashIndex) -> None:
        found.check(encoder.manifest, options.bits)
        found.check_kinds(source.info.id_kind, options.codes, source.info.path)

    target = TargetCollection(
        HashIndex(connection, collection, description, source.info.id_kind),
        WantedIndex.of(options, source.info.rows, lite=connection.is_lite),
        check,
        retries,
        recreate=options.recreate,
        insert=options.insert,
    )
    check_before(source, options, lite=connection.is_lite)
    progress = Progress(report, listeners, target.index.modalities)
    batches = _Batches(source, encoder, target, options, retries)

    def write(rows_and_batch: tuple[int, Batch | None]) -> None:
        rows, batch = rows_and_batch
        if batch is not None and not options.dry_run:
            report.sent = True
            target.write(batch)
        progress.add(rows, batch, 0 if batch is None else len(batch))

    with partial_where_rows_are_there(report, options.resume_hint):
        write_in_background(batches, write, stopping)
    for note in batches.make_batch.clean.notes():
        listeners.remark(note)
    if not options.dry_run:
        batches.sample.check(target.index, retries, options)
        if options.wait:
            _wait_until_indexed(target.index, retries, report, listeners)
    return report


class _Batches:
    """The number of rows of each batch of a source, and what of it is to be written; None where nothing is.

    Attributes:
        make_batch: makes them.
        sample: some of the ids that went by.
    """

    def __init__(
        self,
        source: FeatureSource,
        encoder: HashEncoder,
        target: TargetCollection,
        options: IngestOptions,
        retries: Retries,
    ) -> None:
        self._source, self._encoder, self._target = source, encoder, target
        self._options, self._retries = options, retries
        self.make_batch = self._batch_maker()
        self.sample = IdSample(source.info.rows)

    def __iter__(self) -> Iterator[tuple[int, Batch | None]]:
        comparing = self._options.resume and self._target.is_there
        for table in self._source.batches(self._options.batch_size):
            batch = self._checked(table)
            self.sample.add(table.first_row, batch.ids)
            yield len(table), changed_part(self._target.index, batch, self._retries) if comparing else batch

    def _checked(self, table: FeatureTable) -> Batch:
        """Return the items of a table as a batch. The collection is not made before its first batch proved usable."""
        batch, planned = self.make_batch(table), self._target.index
        if self._target.is_there or self._options.dry_run:
            return batch
        self._target.make()
        if self._target.index is planned:
            return batch
        # Another program made it meanwhile, perhaps with other codes, or with classes in another order.
        self.make_batch = self._batch_maker()
        return self.make_batch(table)

    def _batch_maker(self) -> BatchMaker:
        index = self._target.index
        encoder = self._encoder.cut(index.bits)
        return BatchMaker(encoder, index.description, index.id_kind, index.connection.is_lite, self._options)


def _wait_until_indexed(index: HashIndex, retries: Retries, report: IngestReport, listeners: Listeners) -> None:
    try:
        retries(lambda: index.wait_until_indexed(advance=listeners.indexed))
    except MilvusError as error:
        raise MilvusError(f"{error} All {report.rows:,} rows are written; it is the index that is not done.") from error
