"""Rows as text: JSON and CSV keep every value exactly, tables and Markdown show it to people."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from typing import Any, TextIO

from milvus_ichash.printable import printable, printable_json

Row = dict[str, Any]

# What spreadsheets take for the beginning of a formula; the last four are wide forms of the first four.
_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Return the names of all columns, in the order in which they first appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def filled(rows: Sequence[Row]) -> list[Row]:
    """Return the rows without the columns in which every row is empty."""
    names = [name for name in columns_of(rows) if any(row.get(name) not in (None, "") for row in rows)]
    return [{name: row[name] for name in names if name in row} for row in rows]


def write_json(value: Any, out: TextIO, indent: int | None = 2) -> None:
    """Write a value as a JSON document and a new line. What a terminal would obey is escaped as JSON does it."""
    # Other encodings lack characters; their escapes in JSON are the same text.
    ascii_only = not (getattr(out, "encoding", None) or "utf-8").lower().startswith("utf")
    document = json.dumps(value, ensure_ascii=ascii_only, indent=indent, default=_plain)
    out.write(printable_json(document) + "\n")


def write_csv(rows: Sequence[Row], columns: Sequence[str], out: TextIO, *, formulas: bool) -> None:
    r"""Write rows as CSV, under a line with the names of the columns.

    Numbers have all their digits. On a terminal, control characters are escapes; files and pipes get them as they are.

    Args:
        rows: what to write.
        columns: the names at the head where there are no rows.
        out: where to write.
        formulas: whether text that begins with `=`, `+`, `-`, `@`, a tab or a new line stays as it is. Else it gets an
            apostrophe before it, unless it is a number: a spreadsheet would take it for a formula, and run it.
    """
    shown = printable if out.isatty() else str

    def cell(value: Any) -> str:
        text = shown(_exact(value))
        numbers = all(isinstance(each, int | float) for each in (value if isinstance(value, list | tuple) else [value]))
        harmless = formulas or numbers or not _FORMULA.match(text) or _NUMBER.fullmatch(text)
        return text if harmless else f"'{text}"

    names = columns_of(rows) or list(columns)
    writer = csv.writer(_Lines(out), lineterminator="\r\n")
    writer.writerow([cell(name) for name in names])
    writer.writerows([cell(row.get(name)) for name in names] for row in rows)


class _Lines:
    r"""Writes lines of CSV with `\n` at their end.

    A `csv.writer` that is told to write `\n` does not quote cells with `\r`, in Python before 3.13.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, line: str) -> int:
        """Write a line."""
        return self._out.write(line.removesuffix("\r\n") + "\n")


def write_markdown(rows: Sequence[Row], columns: Sequence[str], out: TextIO) -> None:
    """Write rows as a Markdown table; where there are none, its head alone, with these columns."""
    names = columns_of(rows) or list(columns)
    for cells in (names, ["---"] * len(names), *([for_people(row.get(name)) for name in names] for row in rows)):
        out.write("| " + " | ".join(printable(cell).replace("|", "\\|") for cell in cells) + " |\n")


def write_table(rows: Sequence[Row], columns: Sequence[str], title: str | None) -> None:
    """Write rows to stdout as a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names = columns_of(rows) or list(columns)
    numeric = {n for n in names if all(isinstance(r.get(n), int | float) or r.get(n) is None for r in rows)}
    # Nine columns of figures fit into a terminal of 80 characters.
    table = Table(box=box.SIMPLE, title_justify="left", collapse_padding=True, pad_edge=False)
    if title is not None:
        table.title = Text(printable(title), style="table.title")
    for name in names:
        table.add_column(Text(printable(name)), justify="right" if name in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(for_people(row.get(name)))) for name in names))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # piped into a file, a table is not cut to 80 columns
    console.print(table)


def for_people(value: Any) -> str:
    """Return a value as people read it: of a number, four places, or four digits where it is small or huge."""
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or 0.01 <= abs(value) < 1e12 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(for_people, value))
    return _exact(value)


def _exact(value: Any) -> str:
    """Return a value as text from which it can be read back; None as no text."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(_exact, value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=_plain)
    return str(value)


def _plain(value: Any) -> Any:
    """Return what JSON can write in place of a value that it does not know: numpy's scalars and arrays, paths."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
