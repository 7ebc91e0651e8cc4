"""How to ingest and how to import: what a caller can choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from milvus_ichash.errors import InputError
from milvus_ichash.index.retries import PATIENCE

BATCH_ROWS = 4096
MOST_BATCH_ROWS = 1_000_000


@dataclass(frozen=True)
class CollectionOptions:
    """What an ingest and a bulk import have in common.

    Attributes:
        index: "BIN_FLAT" or "BIN_IVF_FLAT" for a new collection; None: the default for its size (`IndexSpec.of`).
        nlist: number of cells of BIN_IVF_FLAT.
        wait: wait until all rows are indexed.
        patience: seconds for which a call is tried again while the server is busy or gone; 0 for one try.
        resume_hint: how to go on; it ends the message of a run that broke off.
    """

    index: str | None = None
    nlist: int | None = None
    wait: bool = True
    patience: float = PATIENCE
    resume_hint: str = "do it again"


@dataclass(frozen=True)
class IngestOptions(CollectionOptions):
    """How to ingest.

    Attributes:
        codes: names of the codes that a new collection stores; all by default.
        bits: length to which the codes of a new collection are cut, one of those that the bundle was trained for; None:
            as long as the encoder makes them. A collection that is there keeps its own length.
        fields: payload columns that go along; all by default.
        labels: whether labels go along.
        row_ids: items of a file without ids are stored under the numbers of their rows.
        batch_size: rows that are encoded and written at a time.
        resume: write only rows that are not in the collection exactly as this run would write them.
        insert: no id is in the collection, and nobody else writes into it: insert rows, which spares Milvus the
            search for those to replace. Only for a first load by one writer, into a collection that is new or empty.
        recreate: delete the collection first, once the first batch proved to be usable.
        dry_run: read, check and encode everything, and write nothing.
        repair_hint: how to write all rows again; it ends the message where an id has several rows.
    """

    codes: Sequence[str] | None = None
    bits: int | None = None
    fields: Sequence[str] | None = None
    labels: bool = True
    row_ids: bool = False
    batch_size: int = BATCH_ROWS
    resume: bool = False
    insert: bool = False
    recreate: bool = False
    dry_run: bool = False
    resume_hint: str = "ingest again with resume=True"
    repair_hint: str = "ingest again without insert and resume"

    def check(self) -> None:
        """Raise InputError for options that cannot be used, or not together."""
        if not 1 <= self.batch_size <= MOST_BATCH_ROWS:
            raise InputError(f"a batch of {self.batch_size} rows cannot be written: take 1 to {MOST_BATCH_ROWS:,}.")
        if not 0 <= self.patience < float("inf"):
            raise InputError(f"a patience of {self.patience:g} s cannot be: take a number of seconds, 0 for none.")
        if self.resume and self.recreate:
            raise InputError("--resume goes on with a collection and --recreate deletes it: choose one of them.")
        if self.insert and self.resume:
            raise InputError("--insert is for a first load, and --resume goes on with one: leave --insert out.")


@dataclass(frozen=True)
class ImportOptions(CollectionOptions):
    """How to have a server import files.

    Attributes:
        path: where the server finds the files: a folder on its machine, or a path in the bucket of its object storage.
            None: where they are here.
    """

    path: str | None = None
    resume_hint: str = "import again"
