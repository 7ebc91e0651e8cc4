"""The errors that a user can do something about, each with the exit code of the command line.

A message is one sentence or two that say what is wrong, where (file, row, column), and what to do next. The command
line prints it without a traceback; in Python code it is an ordinary exception.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class ExitCode(IntEnum):
    """What the program ends with. README, docs/cli.md and ARCHITECTURE.md list these from here.

    Attributes:
        meaning: what the code says, for people.
    """

    meaning: str

    SUCCESS = 0, "success"
    OTHER = 1, "a question was answered with no; with a traceback: a fault of the program, please report it"
    BAD_INPUT = 2, "bad input or usage"
    MILVUS = 3, "Milvus was not reached or refused"
    MISMATCH = 4, "bundle and collection do not belong together"
    PARTLY_WRITTEN = 5, "an ingest was partly written, or its ids are missing or there twice afterwards"
    NOT_INSTALLED = 6, "something is not installed"
    NO_OUTPUT = 7, "the results cannot be written to stdout: it is closed, or its disk is full"
    INTERRUPTED = 130, "interrupted by Ctrl-C"
    READER_GONE = 141, "the reader of stdout has ended, as in `| head -1`; nothing is said"
    TERMINATED = 143, "stopped by SIGTERM"

    def __new__(cls, number: int, meaning: str) -> ExitCode:
        """Return the member with this number."""
        member = int.__new__(cls, number)
        member._value_ = number
        member.meaning = meaning
        return member


class IchashError(Exception):
    """Base of all errors that this package raises on purpose; `exit_code` is what the command line ends with."""

    exit_code: int = ExitCode.BAD_INPUT


class InputError(IchashError, ValueError):
    """A file, a column, a value or a setting that cannot be used as it is."""


class WriteError(InputError):
    """A file that cannot be written: its disk is full, say, or its folder may not be written to."""


class MilvusError(IchashError):
    """Milvus was not reached in time, or refused.

    Attributes:
        may_pass: True where the same call may succeed later: the connection was lost, the server is busy or starting,
            or it has a rate limit or quota. False for what does not go away by itself.
    """

    exit_code = ExitCode.MILVUS

    def __init__(self, *args: object, may_pass: bool = False) -> None:
        super().__init__(*args)
        self.may_pass = may_pass


class MismatchError(IchashError):
    """The bundle and the collection do not belong together."""

    exit_code = ExitCode.MISMATCH


class PartialIngestError(IchashError):
    """Some rows were written and some were not; the message has the command that goes on."""

    exit_code = ExitCode.PARTLY_WRITTEN


class BackendMissingError(IchashError, ImportError):
    """An optional backend (onnxruntime, CUDA, torch, Milvus Lite) is needed and is not there."""

    exit_code = ExitCode.NOT_INSTALLED


class OutputError(IchashError):
    """The results cannot be written to stdout."""

    exit_code = ExitCode.NO_OUTPUT


class ReaderGoneError(OutputError):
    """The reader of stdout (head, less) has ended: nothing is wrong, and nobody reads the rest."""

    exit_code = ExitCode.READER_GONE


class Terminated(KeyboardInterrupt):
    """Somebody sent SIGTERM: everything stops as it does after Ctrl-C."""


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Return the place (with dots, empty for the whole) and the message of the first problem that pydantic found."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'NAME'?" with the known name that is nearest to this one, or "" where none is near."""
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" Did you mean '{by_lower[close[0]]}'?" if close else ""


def check_known(name: str, known: Collection[str], what: str) -> None:
    """Raise InputError, with all names and the nearest one, where there is no `what` of this name."""
    if name not in known:
        raise InputError(f"there is no {what} '{name}'; there are: {', '.join(known)}.{did_you_mean(name, known)}")


def check_once(name: str, known: Collection[str], option: str) -> None:
    """Raise InputError where an option gives a value to a name that has one already: one of the two would be lost."""
    if name in known:
        raise InputError(f"{option} gives '{name}' twice: give it once, since only one value can count.")


def check_can_be_folder(folder: str | Path, what: str) -> None:
    """Raise InputError where a file is in the place of this folder, or of one above it; `what` names the folder."""
    for place in (Path(folder), *Path(folder).parents):
        if place.is_dir():
            return
        if place.exists() or place.is_symlink():
            raise InputError(f"{what} '{folder}' cannot be a folder: '{place}' is there, and is none; choose another.")


@contextmanager
def writing(what: object) -> Iterator[None]:
    """Raise WriteError, which says that `what` cannot be written and why, where the disk refuses inside."""
    try:
        yield
    except OSError as error:
        file = f" ('{error.filename}')" if error.filename and str(error.filename) not in str(what) else ""
        raise WriteError(f"{what} cannot be written: {error.strerror or error}{file}.") from error
