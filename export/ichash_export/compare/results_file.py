"""Results as JSON lines: one a run, appended as it ends, shared by several processes, whole whatever is killed when."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ichash_export.compare.case import KEY, MADE_WITH, UNSAID, Line, changes, key
from milvus_ichash.errors import InputError

_NEEDED = {*KEY, *MADE_WITH, "map"}


class ResultsFile:
    """The results file. A last line that a kill left torn is no line, and the next one takes its place."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[tuple[object, ...], Line]:
        """The lines by what names their cell; empty where there is no file.

        Raises:
            InputError: names a line that is no result.
        """
        if not self.path.exists():
            return {}
        return self._parsed(self.path.read_bytes())

    def add(self, line: Line, *, replace: bool = False) -> None:
        """Append a line, in one write, on the disk when this returns. A run that is there already is not added again.

        Args:
            line: what `Case.identity` gives, and the figures.
            replace: where the cell is there with other settings, put this line in its place, atomically; else both
                would be there, so it is refused.

        Raises:
            InputError: the file cannot be written; or the cell came to be there with other settings.
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

    def _rewrite(self, lines: list[Line]) -> None:
        new = self.path.with_name(f".{self.path.name}.new")
        with new.open("wb") as stream:
            stream.write(b"".join(map(_written, lines)))
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(self.path)

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The file, made where it is not there, with this process alone writing to it."""
        while True:
            try:
                stream = self.path.open("a+b")
            except OSError as error:
                raise InputError(f"'{self.path}' cannot be written: {error.strerror}.") from error
            with stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                # While it waited, another process may have put a new file in the place of the one that was opened.
                if self.path.exists() and os.path.samestat(os.fstat(stream.fileno()), self.path.stat()):
                    stream.seek(0)
                    yield stream
                    return

    def _parsed(self, content: bytes) -> dict[tuple[object, ...], Line]:
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
                    f"{self.path}, line {number}, is not a result of `milvus-ichash compare`: take another file for --results."
                )
            line = UNSAID | line
            lines[key(line)] = line
        return lines


def refusal(path: Path, changed: list[tuple[Line, list[str]]]) -> str:
    """What is said where cells are there that were made with something else."""
    line, what = changed[0]
    others = f" (and {len(changed) - 1} more cells)" if len(changed) > 1 else ""
    shown = "; ".join(what[:5]) + (f" and {len(what) - 5} more" if len(what) > 5 else "")
    return (
        f"'{path}' holds {line['method']}, {line['variant']}, {line['bits']} bits, seed {line['seed']}{others} made with something else: "
        f"{shown}. Take another --results file, or run these cells again with --replace, which drops their old lines."
    )


def _written(line: Line) -> bytes:
    return (json.dumps(line, ensure_ascii=False) + "\n").encode()


def _whole_lines(content: bytes) -> bytes:
    """Without a torn last line: one that has neither an end nor is JSON."""
    end = content.rfind(b"\n") + 1
    try:
        json.loads(content[end:])
    except ValueError:
        return content[:end]
    return content
