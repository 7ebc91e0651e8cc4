"""Damage to files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def flip_a_bit(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def overwrite_pages(path: Path, first: int, number: int = 1, content: bytes = b"\0", size: int = 4096) -> None:
    """Overwrite pages of a database file with one byte, over and over."""
    with path.open("r+b") as file:
        file.seek(first * size)
        file.write(content * (number * size))


def cut_off_in_a_write(path: Path) -> None:
    """Leave an SQLite file as a power cut does: some pages are new, and the journal has what they were before."""
    whole, journal = path.read_bytes(), Path(f"{path}-journal")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        (table,) = database.execute("SELECT name FROM sqlite_master ORDER BY rootpage DESC LIMIT 1").fetchone()
        database.execute("PRAGMA cache_size = 1")
        database.execute("BEGIN")
        database.execute(f'UPDATE "{table}" SET data = zeroblob(length(data))')
        torn = path.read_bytes(), journal.read_bytes()
        database.execute("ROLLBACK")
    assert path.read_bytes() == whole != torn[0]
    path.write_bytes(torn[0])
    journal.write_bytes(torn[1])
