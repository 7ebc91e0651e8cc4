"""The program and its commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer import rich_utils
from typer.core import TyperGroup

from milvus_ichash.cli.commands.compare import compare
from milvus_ichash.cli.commands.create import create
from milvus_ichash.cli.commands.delete import delete
from milvus_ichash.cli.commands.doctor import doctor
from milvus_ichash.cli.commands.evaluate import evaluate
from milvus_ichash.cli.commands.export import export
from milvus_ichash.cli.commands.import_ import import_
from milvus_ichash.cli.commands.index import index
from milvus_ichash.cli.commands.ingest import ingest
from milvus_ichash.cli.commands.inspect import inspect
from milvus_ichash.cli.commands.knowledge_build import build
from milvus_ichash.cli.commands.methods import methods
from milvus_ichash.cli.commands.query import query
from milvus_ichash.cli.commands.reproduce import reproduce
from milvus_ichash.cli.commands.sweep import sweep
from milvus_ichash.cli.commands.train import train
from milvus_ichash.cli.option_groups import expanded
from milvus_ichash.cli.output import complain
from milvus_ichash.errors import ExitCode
from milvus_ichash.printable import printable
from milvus_ichash.version import __version__

# Typer has a copy of click in it, or uses the package, which depends on its release.
_UsageError: Any
_ClickException: Any
_UsageError, _ClickException = typer.BadParameter.__mro__[1:3]


NAME = "milvus-ichash"


class _UnseenError(Exception):
    """Carries an error past Typer, which would answer it in its own way."""


class _Program(TyperGroup):
    """The commands. Interruptions and errors of the system go on to who runs the program."""

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Read the command line."""
        with _past_typer():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _past_typer():
            return super().invoke(ctx)


@contextmanager
def _past_typer() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, EOFError, OSError) as error:
        raise _UnseenError(error) from error


app = typer.Typer(
    name=NAME,
    help="Hash codes for items with missing modalities, kept and searched in Milvus.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    cls=_Program,
)
knowledge = typer.Typer(help="Make the knowledge file that EGICH takes.", no_args_is_help=True)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"milvus-ichash {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Hash codes for items with missing modalities, kept and searched in Milvus."""


@knowledge.callback()
def _knowledge() -> None:
    """Make the knowledge file that EGICH takes."""


for command in (
    methods,
    train,
    compare,
    reproduce,
    export,
    create,
    ingest,
    import_,
    index,
    query,
    evaluate,
    sweep,
    delete,
    inspect,
    doctor,
):
    app.command(command.__name__.rstrip("_"))(expanded(command))
knowledge.command()(expanded(build))
app.add_typer(knowledge, name="knowledge")


def run() -> int:
    """Run the program with the command line of this process, and return its exit code.

    Raises:
        IchashError, KeyboardInterrupt, Exception: whatever the command raised.
    """
    try:
        return int(app(prog_name=NAME, standalone_mode=False) or ExitCode.SUCCESS)
    except _UnseenError as carrier:
        error: BaseException = carrier.args[0]
        raise error from error.__cause__
    except typer.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise abort.__context__ from None
        complain("there was no answer: nothing was done.")
        return ExitCode.OTHER
    except _ClickException as wrong:
        message = wrong.format_message()
        shown = wrong if printable(message) == message else _UsageError(printable(message), ctx=wrong.ctx)
        rich_utils.rich_format_error(shown)
        return int(wrong.exit_code)
