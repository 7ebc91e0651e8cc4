"""Options that are declared once, as the fields of a dataclass, and given to commands as an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from milvus_ichash.cli.option_groups import expanded


@dataclass(frozen=True)
class Address:
    host: Annotated[str, typer.Option("--host", help="Where it is.", rich_help_panel="Address")]
    port: Annotated[int, typer.Option("--port", "-p", rich_help_panel="Address")] = 80


@dataclass(frozen=True)
class NamedAddress(Address):
    alias: Annotated[list[str] | None, typer.Option("--alias")] = None


def call(
    path: Annotated[str, typer.Argument()],
    times: Annotated[int, typer.Option("--times")] = 1,
    *,
    address: NamedAddress,
    quiet: Annotated[bool, typer.Option("--quiet")] = False,
) -> None:
    """Call an address."""
    print(path, times, address, quiet)


def run(*words: str) -> tuple[int, str]:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(expanded(call))
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.output


def test_a_command_gets_its_groups_as_objects() -> None:
    told = "NamedAddress(host='here', port={port}, alias={alias})"
    assert run("/", "--host", "here") == (0, f"/ 1 {told.format(port=80, alias=None)} False\n")
    words = ("/", "--host", "here", "-p", "8080", "--alias", "a", "--alias", "b", "--times", "3", "--quiet")
    assert run(*words) == (0, f"/ 3 {told.format(port=8080, alias=['a', 'b'])} True\n")


def test_the_options_of_a_group_stand_where_the_command_has_the_group() -> None:
    _, shown = run("--help")
    places = [shown.index(option) for option in ("--times", "--host", "--port", "--alias", "--quiet")]
    assert places == sorted(places) and "Call an address." in shown and "Where it is." in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [(("/",), "--host"), (("/", "--host", "here", "--port", "x"), "--port"), (("/", "--name"), "--name")],
)
def test_options_of_a_group_are_checked_as_others_are(words: tuple[str, ...], says: str) -> None:
    code, shown = run(*words)
    assert code == 2 and says in shown
