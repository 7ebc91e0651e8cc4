"""The errors that a user can do something about, each with the exit code of the command line.

A message is one sentence or two that say what is wrong, where (file, row, column), and what to do next. The command
line prints it without a traceback; in Python code it is an ordinary exception.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class IchashError(Exception):
    """Base of all errors that this package raises on purpose; `exit_code` is what the command line ends with."""

    exit_code = 2


class InputError(IchashError, ValueError):
    """A file, a column, a value or a setting that cannot be used as it is."""


class MilvusError(IchashError):
    """Milvus was not reached in time, or refused.

    Attributes:
        may_pass: True where the same call may succeed later: the connection was lost, the server is busy or starting,
            or it has a rate limit or quota. False for what does not go away by itself.
    """

    exit_code = 3

    def __init__(self, *args: object, may_pass: bool = False) -> None:
        super().__init__(*args)
        self.may_pass = may_pass


class MismatchError(IchashError):
    """The bundle and the collection do not belong together."""

    exit_code = 4


class PartialIngestError(IchashError):
    """Some rows were written and some were not; the message has the command that goes on."""

    exit_code = 5


class BackendMissingError(IchashError, ImportError):
    """An optional backend (onnxruntime, CUDA, torch, Milvus Lite) is needed and is not there."""

    exit_code = 6


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Return the place (with dots, empty for the whole) and the message of the first problem that pydantic found."""
    first = error.errors()[0]
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


@contextmanager
def writing(what: object) -> Iterator[None]:
    """Raise InputError, which says that `what` cannot be written and why, where the disk refuses inside."""
    try:
        yield
    except OSError as error:
        file = f" ('{error.filename}')" if error.filename and str(error.filename) not in str(what) else ""
        raise InputError(f"{what} cannot be written: {error.strerror or error}{file}.") from error
