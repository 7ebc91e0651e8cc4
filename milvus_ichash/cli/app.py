"""The program and its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from milvus_ichash.cli.command_line import Command, Program
from milvus_ichash.cli.command_line import run as run_program
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
from milvus_ichash.version import __version__

NAME = "milvus-ichash"

app = typer.Typer(
    name=NAME,
    help="Hash codes for items with missing modalities, kept and searched in Milvus.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    cls=Program,
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
    app.command(command.__name__.rstrip("_"), cls=Command)(expanded(command))
knowledge.command(cls=Command)(expanded(build))
app.add_typer(knowledge, name="knowledge")


def run() -> int:
    """Run the program with the command line of this process, and return its exit code.

    Raises:
        IchashError, KeyboardInterrupt, Exception: whatever the command raised.
    """
    return run_program(app, NAME)
