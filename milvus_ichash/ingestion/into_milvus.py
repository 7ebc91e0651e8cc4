"""Ingest: a feature source, encoded batch by batch, into a collection; memory holds a few batches, not the source.

A batch is written while the next ones are made (`background_writing`), and written again where Milvus was busy or gone
(`index.retries`). Where a killed ingest goes on is said in `resuming`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

from milvus_ichash.errors import InputError, MilvusError
from milvus_ichash.index.batch import Batch
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.retries import Retries
from milvus_ichash.ingestion.background_writing import write_in_background
from milvus_ichash.ingestion.batch_maker import BatchMaker, description_of_rows
from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.ingestion.ingest_report import IngestReport, Listeners, Progress, partial_where_rows_are_there
from milvus_ichash.ingestion.payload import notes_before
from milvus_ichash.ingestion.resuming import absent_ids, first_absent_row, without_rows_there
from milvus_ichash.ingestion.target_collection import TargetCollection, WantedIndex
from milvus_ichash.io.duplicate_ids import find_duplicate_ids
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

    Rows are written by id: ingesting the same source twice changes nothing.

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
        The report: how many rows were written, were there before, and lack which modality.

    Raises:
        InputError: options, a column, a class or an index that cannot be used, or an id that comes twice; nothing was
            written.
        MismatchError: the collection was made with another bundle.
        MilvusError: Milvus was not reached or refused, and nothing was written; or all is written, but not yet indexed.
        PartialIngestError: one of these happened after rows may have been written. Do it again with `resume=True`.
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
        _check_kinds(found, source, options)

    target = TargetCollection(
        HashIndex(connection, collection, description, source.info.id_kind),
        WantedIndex.of(options, source.info.rows, lite=connection.is_lite),
        check,
        retries,
        recreate=options.recreate,
    )
    index = target.index
    make_batch = BatchMaker(encoder.cut(index.bits), index.description, index.id_kind, connection.is_lite, options)
    find_duplicate_ids(source)
    progress = Progress(report, listeners, index.modalities)
    resuming = options.resume and target.is_there

    absent = partial(absent_ids, index, retries)

    def batches() -> Iterator[tuple[int, Batch | None]]:
        progress.skip(first_absent_row(source, options.batch_size, absent) if resuming else 0)
        for table in source.batches(options.batch_size, start=report.skipped):
            new = without_rows_there(table, absent) if resuming else table
            yield len(table), make_batch(new) if len(new) else None

    def write(rows_and_batch: tuple[int, Batch | None]) -> None:
        rows, batch = rows_and_batch
        if batch is not None and not options.dry_run:
            target.make()
            report.sent = True
            target.write(batch)
        progress.add(rows, batch, 0 if batch is None else len(batch))

    with partial_where_rows_are_there(report, options.resume_hint):
        write_in_background(batches(), write, stopping)
    for note in make_batch.clean.notes():
        listeners.remark(note)
    if options.wait and not options.dry_run:
        _wait_until_indexed(target.index, retries, report, listeners)
    return report


def _check_kinds(found: HashIndex, source: FeatureSource, options: IngestOptions) -> None:
    """Raise InputError where a collection that is there has ids of another kind, or other codes than were asked for."""
    if found.id_kind != source.info.id_kind:
        raise InputError(
            f"{source.info.path} has ids of type {source.info.id_kind}, and the collection '{found.collection}' of "
            f"type {found.id_kind}."
        )
    if options.codes is not None and set(options.codes) != set(found.codes):
        raise InputError(
            f"the collection '{found.collection}' stores {', '.join(found.codes)}, not {', '.join(options.codes)}: "
            "leave --codes out."
        )


def _wait_until_indexed(index: HashIndex, retries: Retries, report: IngestReport, listeners: Listeners) -> None:
    try:
        retries(lambda: index.wait_until_indexed(advance=listeners.indexed))
    except MilvusError as error:
        raise MilvusError(f"{error} All {report.rows:,} rows are written; it is the index that is not done.") from error
