"""How to ingest, what came of it, and who is told meanwhile: the same for Milvus and for files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from milvus_ichash.errors import InputError
from milvus_ichash.index.retries import PATIENCE

BATCH_ROWS = 4096


@dataclass
class IngestReport:
    """What an ingest did, kept up to date while it runs.

    Attributes:
        rows: of the source that are done, those skipped included.
        written: acknowledged by Milvus (or checked, in a dry run).
        skipped: there already (`resume`).
        missing: by modality, how many of the rows written lack it; their codes were completed.
        seconds: from the first batch on, without the wait for the index.
    """

    rows: int = 0
    written: int = 0
    skipped: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def told(self) -> str:
        """How far it got, in words."""
        skipped = f" and {self.skipped:,} were there before" if self.skipped else ""
        return f"{self.written:,} rows were written{skipped}"


@dataclass(frozen=True)
class IngestOptions:
    """How to ingest.

    Attributes:
        codes: which codes a new collection stores; all by default.
        bits: cut the codes of a new collection to this length, one of those that the bundle was trained for; None: as
            the encoder makes them. A collection that is there keeps its own.
        fields: payload columns that go along; all by default.
        labels: whether labels go along.
        batch_size: rows that are encoded and written at a time.
        index: "BIN_FLAT" or "BIN_IVF_FLAT" for a new collection; `IndexSpec.of` has the defaults.
        nlist: cells of BIN_IVF_FLAT.
        wait: wait until all rows are indexed.
        patience: seconds for which a call is tried again while a server is busy or gone.
        resume: pass over rows whose ids are in the collection.
        recreate: delete the collection first (once the first batch proved to be usable).
        dry_run: read, check and encode everything, write nothing.
        resume_hint: how to go on, for the message of an ingest that broke off.
    """

    codes: Sequence[str] | None = None
    bits: int | None = None
    fields: Sequence[str] | None = None
    labels: bool = True
    batch_size: int = BATCH_ROWS
    index: str | None = None
    nlist: int | None = None
    wait: bool = True
    patience: float = PATIENCE
    resume: bool = False
    recreate: bool = False
    dry_run: bool = False
    resume_hint: str = "ingest again with resume=True"


@dataclass(frozen=True)
class Listeners:
    """Who is told what while an ingest runs; some of it in a thread of its own.

    Attributes:
        advance: the number of rows that were done.
        indexed: the rows that are indexed, and all.
        remark: a sentence, such as that Milvus is away and will be tried again.
    """

    advance: Callable[[int], object] = lambda rows: None
    indexed: Callable[[int, int], object] = lambda done, rows: None
    remark: Callable[[str], object] = lambda sentence: None


def check_options(options: IngestOptions) -> None:
    """Raise InputError for options that cannot be."""
    if options.batch_size < 1:
        raise InputError(f"a batch of {options.batch_size} rows cannot be written: take 1 or more.")
    if not 0 <= options.patience < float("inf"):
        raise InputError(f"a patience of {options.patience:g} s cannot be: take a number of seconds, 0 for none.")
    if options.resume and options.recreate:
        raise InputError("--resume goes on with a collection and --recreate deletes it: choose one of them.")
