"""Values as text: exact for programs, short for people, and never obeyed by a terminal or a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from contextlib import redirect_stdout

import numpy as np
import pytest

from milvus_ichash.cli.output import FormatOptions
from milvus_ichash.cli.written_rows import for_people, write_json
from milvus_ichash.errors import InputError

FORMS = ("table", "markdown", "csv", "json", "jsonl")
HOSTILE = {"id": "\x1b]52;c;eA==\x07", "title\x9b": "a\nb\u202ec [red]d[/red] |", "n": 1}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(rows, style="csv", out=None, **options) -> str:
    out = out or io.StringIO()
    with redirect_stdout(out):
        FormatOptions(style, **options).emit(rows, columns=["id", "n"])
    return out.getvalue()


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("value", [1.2346e-05, 0.1 + 0.2, -1e300, 5e-324, 123456789.123456789, -0.0])
def test_csv_keeps_every_digit(value):
    assert float(cells(written([{"x": value}]))[1][0]) == value
    assert cells(written([{"x": [value, 1.0]}]))[1] == [f"{value!r}, 1.0"]
    assert cells(written([{"x": np.float32(0.1)}]))[1] == ["0.1"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.25, "0.2500"),
        (0.0, "0.0000"),
        (12.34567, "12.3457"),
        (0.0123456, "0.0123"),
        (0.00123456, "0.001235"),
        (-1.2346e-05, "-1.235e-05"),
        (0.0001, "0.0001"),
        (1e300, "1e+300"),
        (float("nan"), "nan"),
        (3, "3"),
        ([0.5, 1e-7], "0.5000, 1e-07"),
        (None, ""),
    ],
)
def test_people_read_significant_digits(value, shown):
    assert for_people(value) == shown
    for style in ("table", "markdown"):
        assert shown in written([{"x": value}], style)


@pytest.mark.parametrize("style", FORMS)
def test_a_terminal_gets_nothing_that_it_would_obey(style, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")  # else a table has colours, which are escapes of rich
    text = written([HOSTILE], style, Terminal())
    assert not [sign for sign in text if sign in "\x1b\x07\x9b\u202e"]
    assert r"\n" in text and "[red]d[/red]" in text and ("\\u001b" if style.startswith("json") else r"\x1b]52") in text


def test_files_and_pipes_get_the_data_as_they_are():
    assert cells(written([HOSTILE])) == [list(HOSTILE), [str(value) for value in HOSTILE.values()]]
    assert json.loads(written([HOSTILE], "json")) == [HOSTILE]
    assert json.loads(written([HOSTILE], "jsonl")) == HOSTILE
    for style in ("table", "markdown"):  # these are for people wherever they go
        assert "\x1b" not in written([HOSTILE], style)


def test_a_markdown_row_is_one_line_with_its_cells():
    head, line, row = written([HOSTILE], "markdown").splitlines()
    assert head == r"| id | title\x9b | n |" and line == "| --- | --- | --- |"
    assert row == r"| \x1b]52;c;eA==\x07 | a\nb\u202ec [red]d[/red] \| | 1 |"


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "-", "+a"]
)
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(text):
    assert cells(written([{text: text}])) == [[f"'{text}"], [f"'{text}"]]
    assert cells(written([{"a": [text, "b"]}]))[1] == [f"'{text}, b"]
    assert cells(written([{text: text}], csv_raw=True)) == [[text], [text]]


@pytest.mark.parametrize("value", [-1, -1.5, float("-inf"), -1e-7, "-12", "+3.5", "-.5", "-1e5", "a=b", "", None, True])
def test_numbers_and_harmless_text_get_none(value):
    assert cells(written([{"x": value, "y": 0}]))[1][0] == ("" if value is None else str(value))


def test_raw_cells_go_with_csv():
    with pytest.raises(InputError, match="--csv-raw goes with --format csv"):
        FormatOptions("table", csv_raw=True)


def test_results_without_rows_keep_their_head():
    assert written([]) == "id,n\n"
    assert written([], "markdown") == "| id | n |\n| --- | --- |\n"
    assert written([], "table").split()[:2] == ["id", "n"]
    assert (written([], "json"), written([], "jsonl")) == ("[]\n", "")


@pytest.mark.parametrize("style", FORMS)
def test_lines_end_in_a_new_line(style):
    text = written([{"id": "a", "n": 1}, {"id": "b", "n": 2}], style)
    assert text.endswith("\n") and "\r" not in text


def test_json_in_an_encoding_that_lacks_characters():
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    write_json({"größer": "\udcff"}, out)
    out.flush()
    assert json.loads(out.buffer.getvalue()) == {"größer": "\udcff"}


def test_titles_and_names_of_columns_are_no_markup():
    with redirect_stdout(out := io.StringIO()):
        FormatOptions("table").emit([{"[red]a": "long enough for the title"}], title="[bold]it\x1b[0m")
    assert "[red]a" in out.getvalue() and r"[bold]it\x1b[0m" in out.getvalue()
