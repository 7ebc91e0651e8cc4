"""Typer's classes for a program and its commands, with what this program does otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer import rich_utils
from typer.core import TyperCommand, TyperGroup

from milvus_ichash.addresses import shortened
from milvus_ichash.cli.option_values import COLOURS, with_commas
from milvus_ichash.errors import ExitCode, InputError
from milvus_ichash.printable import is_utf8, printable

# Typer has a copy of click in it, or uses the package, which depends on its release.
_UsageError: Any
_ClickException: Any
_UsageError, _ClickException = typer.BadParameter.__mro__[1:3]


class _UnseenError(Exception):
    """Carries an error past Typer, which would answer it in its own way."""


class Program(TyperGroup):
    """The commands. Interruptions and errors of the system go on to who runs the program."""

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Read the command line."""
        with _past_typer():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _past_typer():
            return super().invoke(ctx)


class Command(TyperCommand):
    """A command. Its words are text, apart from paths, which may be any bytes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of the command."""
        return super().parse_args(ctx, with_commas(args, COLOURS))

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            InputError: a word that is not UTF-8, where it is not a path.
        """
        for name, value in ctx.params.items():
            for word in value if isinstance(value, list | tuple) else [value]:
                if isinstance(word, str) and not is_utf8(word):
                    what = f"the value of --{name}" if name in ("token", "uri") else f"'{word}'"
                    raise InputError(f"{what} is not UTF-8: write it in UTF-8.")
        return super().invoke(ctx)


def run(program: typer.Typer, name: str) -> int:
    """Run a program with the command line of this process, and return its exit code.

    Raises:
        IchashError, KeyboardInterrupt, Exception: whatever the command raised.
    """
    try:
        return int(program(prog_name=name, standalone_mode=False) or ExitCode.SUCCESS)
    except _UnseenError as carrier:
        error: BaseException = carrier.args[0]
        raise error from error.__cause__
    except typer.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise abort.__context__ from None
        raise NoAnswerError("there was no answer: nothing was done.") from None
    except _ClickException as wrong:
        message = wrong.format_message()
        safe = printable(shortened(message))
        shown = wrong if safe == message else _UsageError(safe, ctx=getattr(wrong, "ctx", None))
        rich_utils.rich_format_error(shown)
        return int(wrong.exit_code)


class NoAnswerError(InputError):
    """A question to which nobody said yes."""

    exit_code = ExitCode.OTHER


@contextmanager
def _past_typer() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, EOFError, OSError) as error:
        raise _UnseenError(error) from error
