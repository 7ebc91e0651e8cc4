"""How far an ingest or an import got, and who is told of it: the same for a collection and for files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from milvus_ichash.errors import IchashError, PartialIngestError
from milvus_ichash.index.batch import Batch
from milvus_ichash.index.field_names import has


@dataclass
class IngestReport:
    """What an ingest did, kept up to date while it runs.

    Attributes:
        rows: rows of the source that are done, those unchanged included.
        written: rows that Milvus acknowledged, or that are in whole files (in a dry run: that were checked).
        unchanged: rows that were there already, just so (`IngestOptions.resume`).
        missing: by modality, how many of the written rows lack it; their codes were completed.
        seconds: since the first batch, without the wait for the index.
        sent: whether rows were sent to Milvus, or are in whole files: then some may be there whatever happens.
    """

    rows: int = 0
    written: int = 0
    unchanged: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    sent: bool = False

    @property
    def rows_may_be_there(self) -> bool:
        """Whether this run, or one before it, may have left rows."""
        return self.sent or self.unchanged > 0

    def in_words(self) -> str:
        """Return how far it got, such as "30 rows were written and 10 were there already"."""
        unchanged = f" and {self.unchanged:,} were there already" if self.unchanged else ""
        return f"{self.written:,} rows were written{unchanged}"


@dataclass
class ImportReport:
    """What an import did, kept up to date while it runs.

    Attributes:
        files: number of files in the folder.
        rows: number of rows in them.
        imported: rows that Milvus has imported.
        skipped: rows that were there before.
        seconds: without the wait for the index.
    """

    files: int = 0
    rows: int = 0
    imported: int = 0
    skipped: int = 0
    seconds: float = 0.0

    @property
    def rows_may_be_there(self) -> bool:
        """Whether this import, or one before it, left rows."""
        return self.imported + self.skipped > 0

    def in_words(self) -> str:
        """Return how far it got, such as "60 of 100 rows are there"."""
        return f"{self.imported + self.skipped:,} of {self.rows:,} rows are there"


@dataclass(frozen=True)
class Listeners:
    """Functions that are told of progress while an ingest runs, some of them in another thread.

    Attributes:
        advance: gets the number of rows that were done since the last call.
        indexed: gets the number of rows that are indexed, and of all.
        remark: gets a sentence, such as that Milvus is away and will be tried again.
    """

    advance: Callable[[int], object] = lambda rows: None
    indexed: Callable[[int, int], object] = lambda done, rows: None
    remark: Callable[[str], object] = lambda sentence: None


class Progress:
    """Keeps the report of an ingest up to date, and tells of it; the clock runs from its making."""

    def __init__(self, report: IngestReport, listeners: Listeners, modalities: Sequence[str]) -> None:
        self._report, self._listeners, self._began = report, listeners, time.perf_counter()
        report.missing.update(dict.fromkeys(modalities, 0))

    def skip(self, rows: int) -> None:
        """Count the source's first rows, which are there already."""
        self._report.rows = self._report.unchanged = rows
        self._listeners.advance(rows)

    def add(self, rows: int, batch: Batch | None, written: int) -> None:
        """Count rows of the source that are done.

        Args:
            rows: how many.
            batch: those of them that were not there just so; None where there are none.
            written: rows that are written now and were not before.
        """
        report = self._report
        report.rows += rows
        report.written += written
        if batch is not None:
            for modality in report.missing:
                report.missing[modality] += batch.present[has(modality)].count(False)
        report.unchanged += rows - (0 if batch is None else len(batch))
        report.seconds = time.perf_counter() - self._began
        self._listeners.advance(rows)


@contextmanager
def partial_where_rows_are_there(report: IngestReport | ImportReport, resume_hint: str) -> Iterator[None]:
    """Turn an error inside into a PartialIngestError that says how to go on, where rows may be there already."""
    try:
        yield
    except IchashError as error:
        if report.rows_may_be_there:
            raise PartialIngestError(f"{error} {report.in_words()}; go on with: {resume_hint}") from error
        raise
