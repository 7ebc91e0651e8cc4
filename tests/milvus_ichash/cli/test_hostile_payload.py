"""Payload that attacks a terminal or a spreadsheet, through the whole program; and stdout that takes nothing."""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import PROGRAM, CommandLine, environment, refused
from support.gappy_parquet import gappy_columns, write_parquet
from support.terminal import on_a_terminal

N = 60
TITLE = "a\nb\x1b]52;c;eA==\x07\x9b31m\u202e[red] |"
QUERY = ("query", "-c", "ichash", "--id", "@k0", "--field", "title", "--field", "small")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Path]) -> CommandLine:
    folder = tmp_path_factory.mktemp("place")
    columns = gappy_columns(N, id=[f"@k{i}" for i in range(N)]) | {"title": [TITLE] * N, "small": [1.2346e-05] * N}
    write_parquet(items := folder / "items.parquet", columns)
    program = CommandLine(folder)
    done = program.run("ingest", items, "--bundle", make_bundle(modalities={"image": 6, "text": 4}, bits=32))
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.parametrize("style", ["table", "csv", "json"])
def test_a_terminal_obeys_nothing(place: CommandLine, style: str) -> None:
    env = environment(MILVUS_URI="./x.db", TERM="dumb")
    code, shown = on_a_terminal([*PROGRAM, *QUERY, "-k", "3", "--format", style], place.folder, env)
    assert code == 0, shown
    assert not [sign for sign in shown if sign in "\x1b\x07\x9b\u202e"]
    assert "[red]" in shown and ("\\u001b]52" if style.startswith("json") else "\\x1b]52") in shown


def test_a_message_shows_what_it_names(place: CommandLine) -> None:
    done = place.run("query", "-c", "\x1b[31m[red]", "--id", "a")
    assert done.returncode == 2 and r"\x1b[31m[red]" in done.stderr and "\x1b" not in done.stderr
    done = place.run("query", "-c", "ichash", "--id", "\x1b[31m")
    assert done.returncode == 2 and r"\x1b[31m" in done.stderr and "\x1b" not in done.stderr
    done = place.run(*QUERY, "--field", "\x9b[red]")
    assert done.returncode == 0 and r"\x9b[red]" in done.stderr and "\x9b" not in done.stderr + done.stdout


def test_a_file_gets_exact_data_and_a_spreadsheet_no_formula(place: CommandLine) -> None:
    rows = list(csv.DictReader(io.StringIO(place.run(*QUERY, "--format", "csv").stdout, newline="")))
    assert {(row["query"], row["title"], row["small"]) for row in rows} == {("'@k0", TITLE, "1.2346e-05")}
    assert all(row["id"].startswith("'@k") for row in rows) and len(rows) == 10
    raw = place.run(*QUERY, "--format", "csv", "--csv-raw").stdout
    assert next(csv.DictReader(io.StringIO(raw, newline="")))["query"] == "@k0"
    assert "1.235e-05" in place.run(*QUERY).stdout


def test_raw_cells_are_of_csv_only(place: CommandLine) -> None:
    assert refused(place.run(*QUERY, "--csv-raw"), 2, "--csv-raw goes with --format csv")


@pytest.mark.parametrize("words", [QUERY, ("inspect",)], ids=lambda words: words[0])
def test_results_that_cannot_be_written(place: CommandLine, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, *words],
            cwd=place.folder,
            env=environment(MILVUS_URI="./x.db"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 7
    assert done.stderr == "Error: the results cannot be written to stdout: No space left on device.\n"
