"""Standard streams that fail in one way: stdout with errors of ours, and stderr without a word.

All that writes to stdout (rich, typer, csv, json) goes through here, so a full disk or a reader that has gone is
noticed in one place, and no command has to think of it.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

from milvus_ichash.errors import OutputError, ReaderGoneError


@contextmanager
def standard_streams() -> Iterator[None]:
    """Replace the standard streams of this process inside.

    Writing to stdout raises `OutputError`, or `ReaderGoneError`, where it fails, and ever after. What cannot be written
    to stderr is dropped. Characters that the encoding lacks are escapes, and lines end in a new line on every platform.
    Streams that are not those of a process (in tests, notebooks) stay as they are.
    """
    _open_closed()
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin = sys.stdin or io.StringIO()
    sys.stdout = _guarded(sys.stdout, 1, _Results)
    sys.stderr = _guarded(sys.stderr, 2, _Messages)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, _Guarded):
                with suppress(OutputError):
                    stream.detach()
        sys.stdin, sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Open null devices where the shell closed a stream (`>&-`): else, the next file opened would be in its place."""
    for number in range(3):
        if not _is_open(number):
            # Not for writing: results that go nowhere are an error.
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _guarded(stream: TextIO | None, number: int, kind: type[_Guarded]) -> TextIO:
    if stream is None:
        return kind(io.BufferedWriter(io.FileIO(number, "w", closefd=False)), "utf-8", newline="\n")
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(stream.buffer, io.BufferedWriter | io.FileIO):
        return stream
    stream.flush()
    return kind(
        cast(io.BufferedWriter, stream.buffer),
        encoding=stream.encoding,
        errors="backslashreplace",
        newline="\n",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Guarded(io.TextIOWrapper):
    """A stream of text that leads nowhere once it has failed."""

    _error: OSError | None = None

    def write(self, text: str) -> int:
        """Write, and return the number of characters."""
        with self._failing():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write what was not written yet."""
        with self._failing():
            super().flush()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._error = error
            # What is left in the buffer goes there too: else Python would complain of it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
        if self._error is not None:
            self.failed(self._error)

    def failed(self, error: OSError) -> None:
        """Do what is to be done where the stream cannot be written, which is nothing."""


class _Results(_Guarded):
    """The stream of stdout."""

    def failed(self, error: OSError) -> None:
        """Raise an error that says why.

        Raises:
            ReaderGoneError: nobody reads any more.
            OutputError: any other reason.
        """
        if isinstance(error, BrokenPipeError):
            raise ReaderGoneError("the reader of stdout has ended.") from error
        why = "it is closed" if error.errno == errno.EBADF else error.strerror or str(error)
        raise OutputError(f"the results cannot be written to stdout: {why}.") from error


class _Messages(_Guarded):
    """The stream of stderr."""
