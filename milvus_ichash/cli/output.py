"""What commands write: data to stdout, in the format asked for; progress, notes and errors to stderr."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from milvus_ichash.cli.progress import Advance, shown_progress
from milvus_ichash.errors import InputError
from milvus_ichash.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

Row = dict[str, Any]
Format = Literal["table", "json", "jsonl", "csv", "markdown"]

OUTPUT = "Output"
"""The panel of `--help` with the options about what is written."""


@dataclass(frozen=True)
class FormatOptions:
    """The option --format, and the writing of results in that format."""

    style: Annotated[
        Format, typer.Option("--format", "-f", help="Format of the results on stdout.", rich_help_panel=OUTPUT)
    ] = "table"

    @property
    def for_people(self) -> bool:
        """Whether people read the results, and not programs."""
        return self.style in ("table", "markdown")

    def emit(self, rows: Sequence[Row], *, title: str | None = None, columns: Sequence[str] = ()) -> None:
        """Write rows to stdout: a table, Markdown, JSON (one array), JSON lines or CSV. Only tables show the title.

        `columns` are the names at the head of CSV and Markdown where there are no rows to take them from.
        """
        out = sys.stdout
        if self.style == "json":
            _write_json(list(rows))
        elif self.style == "jsonl":
            for row in rows:
                out.write(json.dumps(row, ensure_ascii=False, default=_plain) + "\n")
        elif self.style == "csv":
            writer = csv.DictWriter(out, fieldnames=columns_of(rows) or list(columns), restval="")
            writer.writeheader()
            writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
        elif self.style == "markdown":
            write_markdown(rows, out, columns)
        else:
            _write_table(rows, title)

    def emit_document(self, document: Row) -> None:
        """Write one record to stdout: as two columns for people, as one JSON object for programs."""
        if self.style == "json":
            _write_json(document)
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
        raise typer.Exit(1)


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Return the names of all columns, in the order in which they first appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def filled(rows: Sequence[Row]) -> list[Row]:
    """Return the rows without the columns in which every row is empty."""
    names = [name for name in columns_of(rows) if any(row.get(name) not in (None, "") for row in rows)]
    return [{name: row[name] for name in names if name in row} for row in rows]


def write_markdown(rows: Sequence[Row], out: TextIO, columns: Sequence[str] = ()) -> None:
    """Write rows as a Markdown table; where there are none, its head alone, with these columns."""
    names = columns_of(rows) or list(columns)
    for cells in (names, ["---"] * len(names), *([_cell(row.get(name)) for name in names] for row in rows)):
        out.write("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n")


def _write_json(value: Any) -> None:
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2, default=_plain)
    sys.stdout.write("\n")


def _write_table(rows: Sequence[Row], title: str | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names = columns_of(rows)
    numeric = {n for n in names if all(isinstance(r.get(n), int | float) or r.get(n) is None for r in rows)}
    # Nine columns of figures fit into a terminal of 80 characters.
    table = Table(title=title, box=box.SIMPLE, title_justify="left", collapse_padding=True, pad_edge=False)
    for name in names:
        table.add_column(name, justify="right" if name in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in names))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # piped into a file, a table is not cut to 80 columns
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(v) for v in value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=_plain)
    return str(value)


def _plain(value: Any) -> Any:
    """Return what JSON can write in place of a value that it does not know: numpy's scalars and arrays, paths."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)
