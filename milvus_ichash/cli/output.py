"""What commands write: data to stdout, in the format asked for; progress, notes and errors to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from milvus_ichash.cli.progress import Advance, shown_progress
from milvus_ichash.cli.written_rows import Row, write_csv, write_json, write_markdown, write_table
from milvus_ichash.errors import ExitCode, InputError
from milvus_ichash.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

Format = Literal["table", "json", "jsonl", "csv", "markdown"]

OUTPUT = "Output"
"""The panel of `--help` with the options about what is written."""


@dataclass(frozen=True)
class FormatOptions:
    """The option --format, and the writing of results in that format."""

    style: Annotated[
        Format, typer.Option("--format", "-f", help="Format of the results on stdout.", rich_help_panel=OUTPUT)
    ] = "table"
    csv_raw: Annotated[
        bool,
        typer.Option(
            "--csv-raw",
            help="Leave CSV cells that begin with = + - @ as they are; else they get an apostrophe before them, since "
            "spreadsheets take them for formulas.",
            rich_help_panel=OUTPUT,
        ),
    ] = False

    def __post_init__(self) -> None:
        if self.csv_raw and self.style != "csv":
            raise InputError("--csv-raw goes with --format csv.")

    @property
    def for_people(self) -> bool:
        """Whether people read the results, and not programs."""
        return self.style in ("table", "markdown")

    def emit(self, rows: Sequence[Row], *, title: str | None = None, columns: Sequence[str] = ()) -> None:
        """Write rows to stdout: a table, Markdown, JSON (one array), JSON lines or CSV. Only tables show the title.

        `columns` are the names at the head where there are no rows to take them from.
        """
        if self.style == "json":
            write_json(list(rows), sys.stdout)
        elif self.style == "jsonl":
            for row in rows:
                write_json(row, sys.stdout, indent=None)
        elif self.style == "csv":
            write_csv(rows, columns, sys.stdout, formulas=self.csv_raw)
        elif self.style == "markdown":
            write_markdown(rows, columns, sys.stdout)
        else:
            write_table(rows, columns, title)

    def emit_document(self, document: Row) -> None:
        """Write one record to stdout: as two columns for people, as one JSON object for programs."""
        if self.style == "json":
            write_json(document, sys.stdout)
        elif self.style == "jsonl":
            self.emit([document])
        else:
            self.emit([{"name": name, "value": value} for name, value in document.items()])


@dataclass(frozen=True)
class OutputOptions(FormatOptions):
    """The options --format and --quiet; what is written to stderr is silent with --quiet."""

    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Write no progress and no notes to stderr.", rich_help_panel=OUTPUT)
    ] = False

    def note(self, message: str) -> None:
        """Write a remark for people to stderr."""
        if not self.quiet:
            _stderr().print(printable(message), markup=False)

    @contextmanager
    def progress(
        self, description: str, total: float | None, *, unit: str = "", start: int = 0, at_once: bool = False
    ) -> Iterator[Advance]:
        """Show on stderr how far the work inside is, as `shown_progress` does. Yields `advance(steps, said)`."""
        if self.quiet:
            yield lambda steps, said="": None
            return
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        with shown_progress(console, description, total, unit=unit, start=start, at_once=at_once) as advance:
            yield advance


def complain(message: str) -> None:
    """Write an error to stderr."""
    console = _stderr()
    console.print("[bold red]Error:[/] ", end="")
    console.print(printable(message), markup=False)


def confirm(what: str) -> None:
    """Ask before something is lost; `what` says what will be.

    Raises:
        InputError: nobody can be asked.
        typer.Exit: the answer is no.
    """
    if not sys.stdin.isatty():
        raise InputError(f"{what}: add --yes if that is meant.")
    if not typer.confirm(printable(f"{what}. Go on?"), err=True):
        raise typer.Exit(ExitCode.OTHER)


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)
