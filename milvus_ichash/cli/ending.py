"""How the program ends: whatever happens becomes one sentence on stderr and an exit code."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from milvus_ichash.addresses import shortened
from milvus_ichash.cli.command_again import without_secrets
from milvus_ichash.cli.standard_streams import standard_streams
from milvus_ichash.cli.stopping import Stop, stopped_by_signals
from milvus_ichash.errors import ExitCode, IchashError, ReaderGoneError, Terminated
from milvus_ichash.printable import is_utf8, printable


def ended(program: Callable[[], int]) -> int:
    """Run a program, say on stderr why it failed where it did, and return its exit code."""
    with standard_streams(), _log_on_stderr(), stopped_by_signals() as stop:
        try:
            try:
                return program()
            finally:
                sys.stdout.flush()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException as error:
            stop.next_one_kills()
            return _explained(error, stop)


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Have warnings that the library logs written to stderr inside, as they may stand on a terminal."""
    log, handler = logging.getLogger("milvus_ichash"), _LogLines(logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _LogLines(logging.Handler):
    """Writes messages as lines; without it, Python would write them as they are."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message."""
        sys.stderr.write(printable(record.getMessage()) + "\n")


def _explained(error: BaseException, stop: Stop) -> int:
    """Say what went wrong, and return the exit code."""
    from milvus_ichash.cli.output import complain

    if isinstance(error, ReaderGoneError):
        return error.exit_code
    message, code = _sentence(error), int(getattr(error, "exit_code", ExitCode.BAD_INPUT))
    if stop.exit_code is not None or isinstance(error, KeyboardInterrupt):
        # What is stopped in the middle of an import, or of a call, may end with any other error.
        said = str(error) if isinstance(error, IchashError | KeyboardInterrupt) else ""
        code = ExitCode.TERMINATED if isinstance(error, Terminated) else stop.exit_code or ExitCode.INTERRUPTED
        message = said or "interrupted."
    if message is None:
        for line in "".join(traceback.format_exception(error)).splitlines():
            sys.stderr.write(printable(shortened(line)) + "\n")
        message, code = "this is a fault of the program: please report it, with the lines above.", ExitCode.OTHER
    complain(message)
    return code


def _sentence(error: BaseException) -> str | None:
    """Return what an error means, or None where nobody thought of it."""
    if isinstance(error, IchashError):
        return str(error)
    if isinstance(error, OSError):
        file = f"'{error.filename}': " if error.filename else ""
        return f"{file}{error.strerror or error}."
    if isinstance(error, MemoryError):
        return "there is not enough memory for this: give it less at a time (--batch-size, fewer rows), or more memory."
    if isinstance(error, RecursionError):
        return "the input is nested too deeply."
    if isinstance(error, UnicodeError):
        return _not_text(error)
    return None


def _not_text(error: UnicodeError) -> str | None:
    """Return where bytes that are not UTF-8 came from; text of the environment is not shown: it may be a secret."""
    wrong = [f"'{word}'" for word in without_secrets(sys.argv[1:]) if not is_utf8(word)]
    if wrong:
        return f"names that are not UTF-8 cannot be used here: give {' and '.join(wrong)} other names."
    if isinstance(error, UnicodeDecodeError):
        return f"a file that should be text is not UTF-8 (byte {error.start}): save it as UTF-8."
    return None
