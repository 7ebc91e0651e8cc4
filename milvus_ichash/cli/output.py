"""What commands write: data to stdout, in the format asked for; progress, notes and errors to stderr."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from milvus_ichash.cli.options import Format
from milvus_ichash.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

Row = dict[str, Any]


class Advance(Protocol):
    """Moves a progress bar on; `said` is shown behind it."""

    def __call__(self, steps: int, said: str = "") -> None:
        """Go on by so many steps."""


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def complain(message: str) -> None:
    """An error, on stderr."""
    console = _stderr()
    console.print("[bold red]Error:[/] ", end="")
    console.print(message, markup=False)


def note(message: str, *, quiet: bool = False) -> None:
    """A remark for people, on stderr."""
    if not quiet:
        _stderr().print(message, markup=False)


def towards(advance: Advance) -> Callable[[int, int], None]:
    """From how many are done by now (of how many) to the steps of a progress bar, which never goes back."""
    before = 0

    def told(done: int, _: int) -> None:
        nonlocal before
        advance(max(0, done - before))
        before = max(before, done)

    return told


def confirm(what: str) -> None:
    """Ask before something is lost; `what` says what will be.

    Raises:
        InputError: nobody can be asked.
        typer.Exit: it is not wanted.
    """
    import typer

    if not sys.stdin.isatty():
        raise InputError(f"{what}: add --yes if that is meant.")
    if not typer.confirm(f"{what}. Go on?", err=True):
        raise typer.Exit(1)


def emit(rows: Sequence[Row], style: Format, *, title: str | None = None) -> None:
    """Write rows to stdout: a table for people, Markdown for documents, or JSON (one array), JSON lines or CSV for programs."""
    out = sys.stdout
    if style is Format.json:
        json.dump(list(rows), out, ensure_ascii=False, indent=2, default=_plain)
        out.write("\n")
    elif style is Format.jsonl:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False, default=_plain) + "\n")
    elif style is Format.csv:
        writer = csv.DictWriter(out, fieldnames=columns_of(rows), restval="")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    elif style is Format.markdown:
        _markdown(rows, out)
    else:
        _table(rows, title)


def emit_document(document: Row, style: Format) -> None:
    """Write one record: as two columns for people, as one JSON object for programs."""
    if style is Format.json:
        json.dump(document, sys.stdout, ensure_ascii=False, indent=2, default=_plain)
        sys.stdout.write("\n")
    elif style is Format.jsonl:
        emit([document], style)
    else:
        emit([{"name": name, "value": value} for name, value in document.items()], style)


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Names of all columns, in the order in which they first appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _markdown(rows: Sequence[Row], out: TextIO) -> None:
    names = columns_of(rows)
    for cells in (names, ["---"] * len(names), *([_cell(row.get(name)) for name in names] for row in rows)):
        out.write("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n")


def filled(rows: Sequence[Row]) -> list[Row]:
    """The rows without the columns that none of them has anything in."""
    names = [name for name in columns_of(rows) if any(row.get(name) not in (None, "") for row in rows)]
    return [{name: row[name] for name in names if name in row} for row in rows]


def _table(rows: Sequence[Row], title: str | None) -> None:
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
    """numpy scalars and arrays, paths: what json does not know."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


@contextmanager
def progress(description: str, total: int | None, *, quiet: bool = False) -> Iterator[Advance]:
    """A progress bar on stderr; nothing where stderr is no terminal or `quiet`. Yields `advance(steps, said)`."""
    console = _stderr()
    if quiet or not console.is_terminal:
        yield lambda steps, said="": None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    said = TextColumn("{task.fields[said]}", markup=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        said,
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total, said="")
        yield lambda steps, said="": bar.update(task, advance=steps, said=said)
