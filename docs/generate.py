"""Write the documents that are made from the code: docs/cli.md, README's tables, and ARCHITECTURE's exit codes.

    python docs/generate.py            write them
    python docs/generate.py --check    change nothing; exit with 1 where one of them is out of date

Tables in README and ARCHITECTURE stand between the lines `<!-- generated: NAME -->` and `<!-- end -->`. Neither torch
nor a terminal is needed, and the width of the terminal does not matter.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import typer
from typer.models import ArgumentInfo, OptionInfo

from ichash_export.methods import registry
from milvus_ichash.cli.app import app
from milvus_ichash.errors import ExitCode

CODES = {"fused": "one for each item", "cross-modal": "one for each modality"}
Commands = dict[str, Callable[..., Any]]

ROOT = Path(__file__).parents[1]
INTRODUCTION = """# The command line

This page is generated from the program by `python docs/generate.py`: do not edit it.
`milvus-ichash COMMAND --help` shows the same.

Results go to stdout, progress and notes to stderr. Control characters in them, and others that cannot be seen, are
shown as escapes such as `\\x1b`; CSV into a file or a pipe has them as they are. CSV and JSON keep every digit of a
number. A CSV cell that a spreadsheet would take for a formula (it begins with `=`, `+`, `-` or `@`, and is no number)
gets an apostrophe before it, unless there is `--csv-raw`.

"""


def main() -> None:
    """Write the documents, or check them."""
    commands = dict(named_commands(app))
    codes = table_of_exit_codes()
    parts = {
        "README.md": {"methods": table_of_methods(), "commands": table_of_commands(commands), "exit codes": codes},
        "ARCHITECTURE.md": {"exit codes": codes},
    }
    wanted = {ROOT / "docs" / "cli.md": reference(commands)}
    for document, tables in parts.items():
        text = (ROOT / document).read_text("utf-8")
        for name, table in tables.items():
            text = between_markers(text, name, table)
        wanted[ROOT / document] = text
    stale = [path for path, content in wanted.items() if not path.exists() or path.read_text("utf-8") != content]
    if "--check" not in sys.argv:
        for path in stale:
            path.write_text(wanted[path], "utf-8", newline="\n")
    elif stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        sys.exit(f"out of date: {names}. `python docs/generate.py` brings them up to date.")


def named_commands(program: typer.Typer, before: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the commands of a program by their names, "knowledge build" for a command of a group in it."""
    for command in program.registered_commands:
        if command.callback is not None:
            yield before + (command.name or command.callback.__name__), command.callback
    for group in program.registered_groups:
        if group.typer_instance is not None:
            yield from named_commands(group.typer_instance, f"{before}{group.name} ")


def table_of_methods() -> str:
    """Return README's table of methods."""
    methods = [registry.describe(name) for name in registry.method_names()]
    return markdown(
        ("method", "codes", "what it is"), [(f"`{m.name}`", CODES[m.family], m.description) for m in methods]
    )


def table_of_commands(commands: Commands) -> str:
    """Return README's table of commands: each with the first sentence of its help."""
    rows = [
        (f"[`{name}`](docs/cli.md#{name.replace(' ', '-')})", first_sentence(command))
        for name, command in commands.items()
    ]
    return markdown(("command", "what it does"), rows)


def table_of_exit_codes() -> str:
    """Return the table of exit codes."""
    return markdown(("exit code", "meaning"), [(f"{int(code)}", code.meaning) for code in ExitCode])


def reference(commands: Commands) -> str:
    """Return docs/cli.md."""
    return "\n".join(
        [INTRODUCTION + table_of_exit_codes(), *(section(name, command) for name, command in commands.items())]
    )


def section(name: str, command: Callable[..., Any]) -> str:
    """Return the part of docs/cli.md about one command: how it is used, what it does, and its options."""
    rows, needed = [], []
    for parameter in inspect.signature(command).parameters.values():
        kind, info = get_args(parameter.annotation)
        spelled = spelling(parameter.name, kind, info)
        rows.append((f"`{spelled}`", default(parameter.default, info), meaning(kind, info)))
        if parameter.default is inspect.Parameter.empty:
            needed.append(re.sub(r", -\w", "", spelled))
    usage = " ".join(["milvus-ichash", name, *needed, "[OPTIONS]"])
    table = markdown(("option", "default", "meaning"), rows)
    return f"## {name}\n\n```\n{usage}\n```\n\n{help_text(command)}\n\n{table}"


def help_text(command: Callable[..., Any]) -> str:
    """Return a command's help in Markdown, with its examples as one block of code, one example a line."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    prose = [p for p in paragraphs if not p.startswith("    ") and p not in ("Examples:", "Example:")]
    examples = [" ".join(p.split()) for p in paragraphs if p.startswith("    ")]
    return "\n\n".join([*prose, "```\n" + "\n".join(examples) + "\n```"])


def first_sentence(command: Callable[..., Any]) -> str:
    """Return the first sentence of a command's help."""
    return re.split(r"(?<=\.)\s", " ".join((command.__doc__ or "").split()), maxsplit=1)[0]


def spelling(name: str, kind: Any, info: ArgumentInfo | OptionInfo) -> str:
    """Return how a parameter is written, with the word for its value: "--collection, -c TEXT"."""
    if isinstance(info, ArgumentInfo):
        return info.metavar or name.upper()
    names = ", ".join(map(str, (info.default, *(info.param_decls or ()))))
    words = {int: "N", float: "X", Path: "PATH", bool: ""}
    return f"{names} {info.metavar or words.get(plain(kind), 'TEXT')}".rstrip()


def plain(kind: Any) -> Any:
    """Return the type of one value: `int` of `int | None`, `Path` of `list[Path] | None`."""
    if get_origin(kind) in (UnionType, list):
        return plain(get_args(kind)[0])
    return Literal if get_origin(kind) is Literal else kind


def default(value: Any, info: ArgumentInfo | OptionInfo) -> str:
    """Return a default in words."""
    if value is inspect.Parameter.empty:
        return "required"
    if isinstance(info.show_default, str):
        return info.show_default
    if value is True:
        return "on"
    return "" if value in (None, False, "") or not info.show_default else str(value)


def meaning(kind: Any, info: ArgumentInfo | OptionInfo) -> str:
    """Return a parameter's help, and the words that it takes where they are a fixed set."""
    choices = next((get_args(each) for each in (kind, *get_args(kind)) if get_origin(each) is Literal), ())
    return (info.help or "") + (f" One of: {', '.join(choices)}." if choices else "")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def between_markers(text: str, name: str, table: str) -> str:
    """Return the text with a table in place of what stands between the markers of that name.

    Raises:
        ValueError: the markers are not there.
    """
    start, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"there are no markers '{start.strip()}' and '{end}'.")
    return f"{before}{start}\n{table}\n{end}{after}"


if __name__ == "__main__":
    main()
