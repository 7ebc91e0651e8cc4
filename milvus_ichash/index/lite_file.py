"""The file of Milvus Lite: whether it may be one, whether it is whole, and why it cannot be written.

Milvus Lite 2.5.1 keeps everything in one SQLite file: a table for each collection, with a row for each item, and one of
what the collections are. Nothing lies beside it but SQLite's journal, while something is written. All rows are read
when a collection is loaded, up to the first page that SQLite cannot read; Milvus Lite does not tell that it stopped
there, so a damaged file would just have fewer rows. SQLite's `quick_check` looks at every page and finds pages that are
something else than they were. It takes some 3 % of the time of loading: 0.3 s for 1,000,000 rows in 230 MB.

What it does not find are other bytes within a row, since SQLite keeps no checksums. Where they break the row's form,
loading fails, and the error says that the file is damaged (`trouble`). Where they do not, as in the bits of a code,
nobody finds them.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from milvus_ichash.addresses import address_of
from milvus_ichash.errors import InputError, MilvusError

CHECKED_BYTES = 1 << 30
"""The size up to which a file is checked whenever it is opened: that takes about a second."""
UNEXPECTED = "Unexpected error in RPC handling"
"""What gRPC says of an exception within Milvus Lite: SQLite's errors are such, but for those of some calls."""
_LITTLE_SPACE = 64 << 20
"""Bytes: a call writes at most 24 MiB, and SQLite keeps a copy of the pages that it changes."""
_LOCK_GRACE = 1.0
"""Seconds in which another program may let go of the file."""
_SQLITE = re.compile(r"errs?: (.+)")
"""What SQLite said, in a line of Milvus Lite's log."""
_BAD_ROWS = re.compile(r"failed to parse insert data|Entities_raw count not equal|malformed")


def database_path(uri: str) -> Path:
    """Return the path of a database file.

    Raises:
        InputError: an address or a name that Milvus Lite does not take.
        MilvusError: a place where it cannot open a database.
    """
    path = Path(uri).expanduser().resolve()
    if path.suffix != ".db":
        raise InputError(
            f"'{address_of(uri).shown}' is no address: write http://HOST:19530 for a server, "
            "or a file that ends in .db for Milvus Lite."
        )
    # The rule of milvus_lite: under another name, no other client could open the file.
    if len(path.name) > 36 or not re.fullmatch(r"[a-zA-Z0-9._-]+", path.name):
        raise InputError(f"Milvus Lite takes no file named '{path.name}': at most 36 letters, digits and '._-'.")
    for wrong, reason in (
        (not path.parent.is_dir(), f"there is no folder '{path.parent}'"),
        (path.is_dir(), "it is a folder"),
        (not path.exists() and not may_write(path), "it is not there, and its folder cannot be written to"),
        (path.exists() and not os.access(path, os.R_OK), "it cannot be read"),
    ):
        if wrong:
            raise MilvusError(f"Milvus Lite cannot open '{uri}': {reason}.")
    return path


def may_write(path: Path) -> bool:
    """Return True where this file, and files beside it, can be written."""
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def check_made_by_lite(path: Path) -> None:
    """Raise MilvusError for a file that Milvus Lite did not make: it would add its tables to any SQLite file."""
    if not path.exists() or not path.stat().st_size:
        return
    with _reading(path) as database:
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'collection_meta'").fetchone() is None:
            raise MilvusError(f"'{path}' is a database, but not one of Milvus Lite: choose another file.")


def check_whole(path: Path, *, largest: int | None = CHECKED_BYTES) -> None:
    """Raise MilvusError for a damaged file; one that is larger than `largest` bytes is not looked at."""
    size = path.stat().st_size if path.exists() else 0
    if not size or (largest is not None and size > largest):
        return
    with _reading(path) as database:
        (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        # The first line names the database within SQLite: "*** in database main ***".
        raise MilvusError(f"{_damaged(path, said.splitlines()[-1])}.")


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file in SQLite, and turn its errors into sentences."""
    # Where a write was cut off, the journal is there still, and SQLite takes the write back first: that is one, too.
    mode = "rw" if may_write(path) else "ro"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=_LOCK_GRACE)) as database:
            yield database
    except sqlite3.Error as error:
        said = str(error)
        if "not a database" in said:
            raise MilvusError(f"'{path}' is not a Milvus Lite database: choose another file.") from error
        if "locked" in said:
            raise MilvusError(f"{_locked(path)}.") from error
        if mode == "ro" and Path(f"{path}-journal").exists():
            raise MilvusError(
                f"'{path}' was cut off in the middle of a write, which cannot be taken back where nothing can be "
                f"written: copy it and '{path.name}-journal' to another folder, and open the copy."
            ) from error
        raise MilvusError(f"{_damaged(path, said)}.") from error


def trouble(path: Path, said: str, *, writes: bool = False) -> str | None:
    """Return why Milvus Lite failed, in a sentence without its end; None where it is not the file.

    Args:
        path: its file.
        said: what Milvus Lite said, in its answer and in its log.
        writes: it was to write.
    """
    bad, errors = _BAD_ROWS.search(said), _SQLITE.findall(said)
    if bad:
        return _damaged(path, bad[0])
    if "database is locked" in said:
        return _locked(path)
    if "disk is full" in said:
        return _full(path)
    if "readonly database" in said:
        return _read_only(path)
    if writes and (UNEXPECTED in said or "internal error" in said):
        return _why_not_written(path, errors[-1] if errors else "nothing of why")
    return None


def _why_not_written(path: Path, said: str) -> str:
    """Find out why the file cannot be written: of many errors, Milvus Lite says only that there is one."""
    if not may_write(path):
        return _read_only(path)
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=0)) as database:
            database.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        return _locked(path) if "locked" in str(error) else f"SQLite cannot write to '{path}' ({error})"
    if shutil.disk_usage(path.parent).free < _LITTLE_SPACE:
        return _full(path)
    return f"Milvus Lite cannot write to '{path}', and says {said}: see whether its disk is well, and run it again"


def _damaged(path: Path, said: str) -> str:
    return (
        f"'{path}' is damaged ({said.strip()}): rows of it may be gone or wrong. Bring it back from a copy, or ingest "
        "the data again into a new file"
    )


def _locked(path: Path) -> str:
    return f"another program has locked '{path}': close it, and run the command again"


def _read_only(path: Path) -> str:
    return f"'{path}' can only be read: it, or its folder, is write-protected"


def _full(path: Path) -> str:
    free = shutil.disk_usage(path.parent).free
    return f"the disk of '{path}' is full ({free / 2**20:.1f} MiB are free): make room, and run the command again"
