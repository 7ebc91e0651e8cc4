"""Ingest into files instead of Milvus: `ingest --to-parquet`, for collections that go in by bulk import."""

from __future__ import annotations

import threading
import time
from itertools import chain
from pathlib import Path

from milvus_ichash.errors import IchashError, InputError, PartialIngestError
from milvus_ichash.index.batch import Batch
from milvus_ichash.index.description import Description
from milvus_ichash.ingestion import bulk_files
from milvus_ichash.ingestion.batch_maker import BatchMaker, check_source, with_names
from milvus_ichash.ingestion.bulk_files import Content, PartWriter
from milvus_ichash.ingestion.options import IngestOptions, IngestReport, Listeners, check_options
from milvus_ichash.ingestion.overlap import overlapped
from milvus_ichash.io.duplicate_ids import find_duplicate_ids
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.runtime.encoder import HashEncoder


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
        folder: made where it is not there; must be empty, or hold the files of a run that is gone on with
            (`options.resume`).
        options: those that concern the rows, and `resume`; in `dry_run` nothing is written.
        file_rows: most rows of a file.
        report: filled while it runs; `written` counts the rows of whole files.
        listeners: told of progress.

    Raises:
        InputError: nothing was written: the folder, a column, an id or a class cannot be used.
        PartialIngestError: some files were written, then one of these happened.
    """
    report = IngestReport() if report is None else report
    folder = Path(folder)
    check_options(options)
    check_source(source, encoder, options.fields)
    encoder = encoder if options.bits is None else encoder.cut(options.bits)
    content = Content(
        description=Description.of(with_names(encoder.manifest, source), options.codes, encoder.bits),
        id_kind=source.info.id_kind,
        fields=None if options.fields is None else tuple(options.fields),
        labels=options.labels,
    )
    parts = _parts_there(folder, content, options)
    find_duplicate_ids(source)
    report.rows = report.skipped = _rows_there(parts, source)
    listeners.advance(report.skipped)
    maker = BatchMaker(encoder, content.description, content.id_kind, False, options.fields, options.labels)
    report.missing.update(dict.fromkeys(content.description.modalities, 0))
    if not options.dry_run:
        with bulk_files.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
    try:
        writer = PartWriter(folder, content, len(parts), file_rows)
        _write(source, maker, writer, options, report, listeners)
        if not options.dry_run:
            bulk_files.write_manifest(folder, content, bulk_files.parts_in(folder))
    except IchashError as error:
        if report.skipped or report.written:
            raise PartialIngestError(f"{error} {report.told()}; go on with: {options.resume_hint}") from error
        raise
    return report


def _write(
    source: FeatureSource,
    maker: BatchMaker,
    writer: PartWriter,
    options: IngestOptions,
    report: IngestReport,
    listeners: Listeners,
) -> None:
    began = time.perf_counter()

    def write(batch: Batch) -> None:
        if not options.dry_run:
            report.written += writer.write(batch)
        report.rows += len(batch)
        for name, lacking in maker.missing(batch).items():
            report.missing[name] += lacking
        report.seconds = time.perf_counter() - began
        listeners.advance(len(batch))

    try:
        overlapped(map(maker, source.batches(options.batch_size, start=report.skipped)), write, threading.Event())
    finally:
        # The rows before an error or Ctrl-C are good.
        report.written += writer.close()


def _parts_there(folder: Path, content: Content, options: IngestOptions) -> list[Path]:
    """The files that a run before this one left, where it is to go on with them."""
    if options.recreate:
        raise InputError("--recreate deletes a collection, and --to-parquet has none: take an empty folder.")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"'{folder}' is no folder: --to-parquet takes one, which is made where it is not there.")
    if not folder.exists() or not any(folder.iterdir()):
        return []
    if not options.resume:
        raise InputError(
            f"'{folder}' is not empty: take another folder, or go on with the files of a run that broke off (--resume)."
        )
    parts = bulk_files.parts_in(folder)
    for part in parts:
        if bulk_files.content_of(part) != content:
            raise InputError(
                f"'{part}' was made with another bundle, or with other --codes, --bits, --fields or labels: take another folder."
            )
    return parts


def _rows_there(parts: list[Path], source: FeatureSource) -> int:
    """Rows of the files, which must be the source's first."""
    wanted = chain.from_iterable(ids.tolist() for ids in source.ids())
    rows = 0
    for part in parts:
        for found in bulk_files.ids_of(part):
            if found != next(wanted, None):
                raise InputError(
                    f"'{part}' holds the id {found!r}, which is not that of row {rows} of {source.info.path}: take another folder."
                )
            rows += 1
    return rows
