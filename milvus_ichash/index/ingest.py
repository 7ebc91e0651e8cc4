"""Ingest: a feature source, encoded batch by batch, into a collection. Memory holds one batch, however long the source is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from milvus_ichash.bundle import Manifest
from milvus_ichash.errors import IchashError, InputError, PartialIngestError
from milvus_ichash.features import FeatureTable, Ids, Mask
from milvus_ichash.index.client import Connection
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.rows import Batch
from milvus_ichash.io.duplicates import find_duplicate_ids
from milvus_ichash.io.source import FeatureSource
from milvus_ichash.runtime.encoder import HashEncoder

BATCH_ROWS = 4096


@dataclass
class IngestReport:
    """What an ingest did, kept up to date while it runs.

    Attributes:
        rows: of the source that were read, those skipped included.
        written: acknowledged by Milvus (or checked, in a dry run).
        skipped: there already (`resume`).
        completed: by modality, how many of the rows written lack it and got a completed code.
        seconds: from the first batch on.
    """

    rows: int = 0
    written: int = 0
    skipped: int = 0
    completed: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class IngestOptions:
    """How to ingest.

    Attributes:
        codes: which codes a new collection stores; all by default.
        fields: payload columns that go along; all by default.
        labels: whether labels go along.
        batch_size: rows that are encoded and written at a time.
        resume: pass over rows whose ids are in the collection.
        recreate: delete the collection first (once the first batch proved to be usable).
        dry_run: read, check and encode everything, write nothing.
        resume_hint: how to go on, for the message of an ingest that broke off.
    """

    codes: Sequence[str] | None = None
    fields: Sequence[str] | None = None
    labels: bool = True
    batch_size: int = BATCH_ROWS
    resume: bool = False
    recreate: bool = False
    dry_run: bool = False
    resume_hint: str = "ingest again with resume=True"


def ingest(
    source: FeatureSource,
    encoder: HashEncoder,
    connection: Connection,
    collection: str,
    options: IngestOptions = IngestOptions(),
    *,
    report: IngestReport | None = None,
    advance: Callable[[int], object] = lambda rows: None,
) -> IngestReport:
    """Encode a source and write it into a collection, which is made where it is not there.

    Rows are upserted by id, so ingesting the same source twice changes nothing.

    Args:
        source: the items.
        encoder: the bundle.
        connection: to Milvus.
        collection: name of the collection.
        options: how.
        report: filled while it runs, so that an interrupted ingest can be told about.
        advance: called with the number of rows that were done.

    Raises:
        InputError: before anything was written; also for a column, an id that comes twice, or a class that cannot be used.
        MismatchError: the collection was made with another bundle.
        MilvusError: Milvus was not reached or refused, before anything was written.
        PartialIngestError: some rows were written, then one of these happened.
    """
    report = IngestReport() if report is None else report
    _check_options(options, source, encoder)
    manifest = _with_names(encoder.manifest, source)
    index, there = _target(source, manifest, connection, collection, options)
    find_duplicate_ids(source)
    report.completed.update(dict.fromkeys(encoder.manifest.dims, 0))
    began = time.perf_counter()
    resuming = options.resume and there
    try:
        start = _first_missing(index, source, options.batch_size) if resuming else 0
        report.rows = report.skipped = start
        advance(start)
        for table in source.batches(options.batch_size, start=start):
            new = _not_there(index, table) if resuming else table
            batch, present = _encode(index, encoder, new, options)
            if batch is not None and not options.dry_run:
                if not there:
                    _create(index, manifest, options)
                    there = True
                index.write(batch)
            _count(report, table, present, began)
            advance(len(table))
    except IchashError as error:
        if report.skipped or (report.written and not options.dry_run):
            raise PartialIngestError(f"{error} {told(report)}; go on with: {options.resume_hint}") from error
        raise
    return report


def told(report: IngestReport) -> str:
    """How far it got, in words."""
    skipped = f" and {report.skipped:,} were there before" if report.skipped else ""
    return f"{report.written:,} rows were written{skipped}"


def _check_options(options: IngestOptions, source: FeatureSource, encoder: HashEncoder) -> None:
    if options.batch_size < 1:
        raise InputError(f"a batch of {options.batch_size} rows cannot be written: take 1 or more.")
    if options.resume and options.recreate:
        raise InputError("--resume goes on with a collection and --recreate deletes it: choose one of them.")
    unknown = [name for name in options.fields or () if name not in source.info.payload]
    if unknown:
        there = ", ".join(source.info.payload) or "none"
        raise InputError(f"{source.info.path} has no payload column '{unknown[0]}'; there is {there}.")
    strange = [name for name in source.info.dims if name not in encoder.manifest.dims]
    if strange:
        raise InputError(
            f"{source.info.path} has a modality '{strange[0]}' that the bundle does not know; it takes {', '.join(encoder.manifest.dims)}: "
            "say which column is which with --modality NAME=COLUMN."
        )


def _target(
    source: FeatureSource, manifest: Manifest, connection: Connection, collection: str, options: IngestOptions
) -> tuple[HashIndex, bool]:
    """The collection to write to, and whether it is there; where it is not, or is to be made anew, what it will be."""
    planned = HashIndex.planned(connection, collection, manifest, id_kind=source.info.id_kind, codes=options.codes)
    if options.recreate or not HashIndex.exists(connection, collection):
        return planned, False
    index = HashIndex.open(connection, collection)
    index.check(manifest)
    if index.id_kind != planned.id_kind:
        raise InputError(
            f"{source.info.path} has ids of type {planned.id_kind}, and the collection '{collection}' of type {index.id_kind}."
        )
    if options.codes is not None and set(options.codes) != set(index.codes):
        raise InputError(
            f"the collection '{collection}' stores {', '.join(index.codes)}, not {', '.join(options.codes)}: leave --codes out."
        )
    return index, True


def _create(planned: HashIndex, manifest: Manifest, options: IngestOptions) -> None:
    HashIndex.create(
        planned.connection, planned.collection, manifest, id_kind=planned.id_kind, codes=options.codes, recreate=options.recreate
    )


def _with_names(manifest: Manifest, source: FeatureSource) -> Manifest:
    """The manifest with names of the classes: its own, else those of the source."""
    return manifest if manifest.label_names is not None else manifest.model_copy(update={"label_names": source.info.label_names})


def _first_missing(index: HashIndex, source: FeatureSource, size: int) -> int:
    """Number of the first row that is not in the collection: those before it need not even be read."""
    first = 0
    for ids in source.ids():
        for begin in range(0, len(ids), size):
            missing = _absent(index, ids[begin : begin + size])
            if missing.any():
                return first + begin + int(missing.argmax())
        first += len(ids)
    return first


def _not_there(index: HashIndex, table: FeatureTable) -> FeatureTable:
    missing = _absent(index, table.ids)
    return table if missing.all() else table.take(missing)


def _absent(index: HashIndex, ids: Ids) -> Mask:
    """bool (n,): True for ids that are not in the collection."""
    there = index.existing(ids)
    return np.array([key not in there for key in ids.tolist()], np.bool_)


def _encode(index: HashIndex, encoder: HashEncoder, table: FeatureTable, options: IngestOptions) -> tuple[Batch | None, Mask]:
    """The items to write, and what they have of the bundle's modalities: bool (n, M)."""
    present = np.zeros((len(table), len(index.modalities)), np.bool_)
    for column, name in enumerate(index.modalities):
        if name in table.features:
            present[:, column] = table.present[:, table.modalities.index(name)]
    if not len(table):
        return None, present
    payload = {name: values for name, values in table.payload.items() if options.fields is None or name in options.fields}
    labels = list(_label_lists(_in_classes(index, table))) if options.labels and table.labels is not None else None
    return index.batch(table.ids, encoder.encode_table(table), present, labels, payload), present


def _in_classes(index: HashIndex, table: FeatureTable) -> FeatureTable:
    if index.label_names is None:
        return table
    try:
        return table.with_classes(index.label_names)
    except InputError as error:
        raise InputError(f"{error} Rename the classes, or leave the labels out with --no-labels.") from error


def _label_lists(table: FeatureTable) -> Iterator[list[int] | None]:
    """Class indices of each item; None where its labels are unknown."""
    if table.labels is None:
        return
    places, classes = np.nonzero(table.labels)
    ends = np.cumsum(np.bincount(places, minlength=len(table))).tolist()
    flat = classes.tolist()
    known = [True] * len(table) if table.labelled is None else table.labelled.tolist()
    for begin, end, labelled in zip([0, *ends], ends, known, strict=False):
        yield flat[begin:end] if labelled else None


def _count(report: IngestReport, table: FeatureTable, present: Mask, began: float) -> None:
    report.rows += len(table)
    report.written += len(present)
    report.skipped += len(table) - len(present)
    for name, lacking in zip(report.completed, (~present).sum(axis=0).tolist(), strict=True):
        report.completed[name] += lacking
    report.seconds = time.perf_counter() - began
