"""Ingest into files instead of Milvus (`ingest --to-parquet`), for collections that go in by bulk import."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from milvus_ichash.errors import InputError, writing
from milvus_ichash.index.batch import Batch
from milvus_ichash.ingestion import bulk_files, resuming
from milvus_ichash.ingestion.background_writing import write_in_background
from milvus_ichash.ingestion.batch_maker import BatchMaker, description_of_rows
from milvus_ichash.ingestion.bulk_files import Content, PartWriter
from milvus_ichash.ingestion.first_pass import check_before
from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.ingestion.ingest_report import IngestReport, Listeners, Progress, partial_where_rows_are_there
from milvus_ichash.ingestion.payload import PayloadCleaner, notes_before
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.temporary import held


def to_parquet(
    source: FeatureSource,
    encoder: HashEncoder,
    folder: str | Path,
    options: IngestOptions = IngestOptions(),
    *,
    file_rows: int = bulk_files.FILE_ROWS,
    report: IngestReport | None = None,
    listeners: Listeners = Listeners(),
) -> IngestReport:
    """Encode a source into files for Milvus's bulk import (`bulk_files`); Milvus itself is not needed.

    Args:
        source: the items.
        encoder: the bundle.
        folder: made where it is not there; must be empty, or with `options.resume` hold the files of a run that broke
            off.
        options: those that concern the rows, and `resume`, which writes files anew from the first on that does not
            hold what this run would write; in a `dry_run` nothing is written.
        file_rows: number of rows of a file, at most.
        report: filled while it runs; `written` counts the rows of whole files.
        listeners: told of progress.

    Returns:
        The report: how many rows were written, were there before, and lack which modality.

    Raises:
        InputError: the folder, a column, an id or a class cannot be used, or another run is writing into the folder;
            nothing was written.
        PartialIngestError: one of these happened after some files were written.
    """
    report = IngestReport() if report is None else report
    folder = Path(folder)
    _check_options(options)
    description = description_of_rows(source, encoder, options)
    for note in notes_before(source.info, options):
        listeners.remark(note)
    content = Content(
        description=description,
        id_kind=source.info.id_kind,
        fields=None if options.fields is None else tuple(options.fields),
        labels=options.labels,
    )
    with ExitStack() as stack:
        there = folder.is_dir()
        if there:
            stack.enter_context(held(folder))
        parts = resuming.whole_files(folder, content, resume=options.resume)
        check_before(source, options, lite=False)
        make_batch = BatchMaker(encoder.cut(description.bits), description, content.id_kind, False, options)
        progress = Progress(report, listeners, description.modalities)
        resuming.check_ids_in_files(parts, source)
        kept = resuming.unchanged_files(parts, source, make_batch, content, options.batch_size)
        make_batch = replace(make_batch, clean=PayloadCleaner())  # its notes are of the rows that are written
        progress.skip(sum(map(bulk_files.rows_of, kept)))
        if not options.dry_run and not there:
            with writing(f"'{folder}'"):
                folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(folder))
        stack.enter_context(partial_where_rows_are_there(report, options.resume_hint))
        if not options.dry_run:
            with writing(f"'{folder}'"):
                changed = parts[len(kept) :]
                for stale in [folder / bulk_files.MANIFEST, *changed] if changed else ():
                    stale.unlink(missing_ok=True)
        writer = PartWriter(folder, content, len(kept), file_rows)

        def write(batch: Batch) -> None:
            progress.add(len(batch), batch, 0 if options.dry_run else writer.write(batch))

        tables = source.batches(options.batch_size, start=report.unchanged)
        try:
            write_in_background(map(make_batch, tables), write, threading.Event())
        finally:
            # The rows before an error or Ctrl-C are good.
            report.written += writer.close()
            report.sent = report.written > 0
        for note in make_batch.clean.notes():
            listeners.remark(note)
        if not options.dry_run:
            bulk_files.write_manifest(folder, content, bulk_files.parts_in(folder))
    return report


def _check_options(options: IngestOptions) -> None:
    """Raise InputError where an option is about a collection, of which there is none here."""
    if options.recreate:
        raise InputError("--recreate deletes a collection, and --to-parquet has none: take an empty folder.")
    if options.insert:
        raise InputError("--insert is for a collection, and --to-parquet has none: leave it out.")
