"""The results file: one JSON line for each run, appended as the run ends.

Several processes can write to it, and it stays whole whichever of them is killed at any moment.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ichash_export.compare.case import KEY, MADE_WITH, UNSAID, ResultLine, changes, key
from milvus_ichash.errors import InputError, writing

_NEEDED = {*KEY, *MADE_WITH, "map"}


class ResultsFile:
    """The file with the results. A last line that was torn by a kill does not count, and the next line takes its
    place."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[tuple[object, ...], ResultLine]:
        """Return the lines by what names their case (`case.key`); nothing where there is no file.

        Raises:
            InputError: a line is no result; the message gives its number.
        """
        if not self.path.exists():
            return {}
        return self._parsed(self.path.read_bytes())

    def add(self, line: ResultLine, *, replace: bool = False) -> None:
        """Append a line in one write, so that it is on the disk when this returns. A run is never added twice.

        Args:
            line: what `Case.identity` returns, and the figures.
            replace: whether this line takes the place of one of the same case that was made with other settings; else
                such a line is refused.

        Raises:
            WriteError: the file cannot be written. It is then as it was, but for a torn last line.
            InputError: it has a line of the case that was made with other settings.
        """
        with self._locked() as stream:
            content = stream.read()
            there = self._parsed(content)
            old = there.get(key(line))
            if old is not None and not changes(old, line):
                return
            if old is None:
                whole = _whole_lines(content)
                stream.truncate(len(whole))
                stream.seek(len(whole))
                stream.write(b"\n" * (not whole.endswith(b"\n") and bool(whole)) + _written(line))
                stream.flush()
                os.fsync(stream.fileno())
            elif replace:
                kept = [other for name, other in there.items() if name != key(line)]
                self._rewrite([*kept, line])
            else:
                raise InputError(refusal(self.path, [(line, changes(old, line))]))

    def _rewrite(self, lines: list[ResultLine]) -> None:
        new = self.path.with_name(f".{self.path.name}.new")
        try:
            with new.open("wb") as stream:
                stream.write(b"".join(map(_written, lines)))
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(self.path)
        except OSError:
            new.unlink(missing_ok=True)
            raise

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """Open the file, which is made where it does not exist, with this process alone writing to it."""
        while True:
            # Closing the stream writes what is left of a line, so the disk may refuse then too.
            with writing(f"'{self.path}'"), self.path.open("a+b") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                # While it waited, another process may have put a new file in the place of the one that was opened.
                if self.path.exists() and os.path.samestat(os.fstat(stream.fileno()), self.path.stat()):
                    stream.seek(0)
                    yield stream
                    return

    def _parsed(self, content: bytes) -> dict[tuple[object, ...], ResultLine]:
        lines = {}
        for number, text in enumerate(_whole_lines(content).splitlines(), 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except ValueError as error:
                raise InputError(f"{self.path}, line {number}, is no JSON ({error}): mend it or take it out.") from None
            if not isinstance(line, dict) or not UNSAID.keys() | line.keys() >= _NEEDED:
                raise InputError(
                    f"{self.path}, line {number}, is not a result of `milvus-ichash compare`: take another file for "
                    "--results."
                )
            line = UNSAID | line
            lines[key(line)] = line
        return lines


def refusal(path: Path, changed: list[tuple[ResultLine, list[str]]]) -> str:
    """Return the message for lines that were made with something else."""
    line, what = changed[0]
    others = f" (and {len(changed) - 1} more cells)" if len(changed) > 1 else ""
    shown = "; ".join(what[:5]) + (f" and {len(what) - 5} more" if len(what) > 5 else "")
    return (
        f"'{path}' holds {line['method']}, {line['variant']}, {line['bits']} bits, seed {line['seed']}{others} made "
        "with something else: "
        f"{shown}. Take another --results file, or run these cells again with --replace, which drops their old lines."
    )


def _written(line: ResultLine) -> bytes:
    return (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _whole_lines(content: bytes) -> bytes:
    """Return the content without a torn last line, which has no line end and is no JSON."""
    end = content.rfind(b"\n") + 1
    try:
        json.loads(content[end:])
    except ValueError:
        return content[:end]
    return content
