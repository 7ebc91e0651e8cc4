"""The results file: whole lines whatever is killed when, one line a cell, shared by several writers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ichash_export.compare.case import KEY, key
from ichash_export.compare.results_file import ResultsFile
from milvus_ichash.errors import InputError


def _line(seed: int = 0, **settings: Any) -> dict[str, Any]:
    cell = {
        **dict.fromkeys(KEY),
        "data": "items",
        "method": "tiny",
        "variant": "full",
        "bits": 16,
        "seed": seed,
        "unseen": [],
    }
    return {**cell, "digest": {"train": "a"}, "settings": settings, "training": {}, "map": {"both": 0.5}}


@pytest.fixture
def records(tmp_path: Path) -> ResultsFile:
    return ResultsFile(tmp_path / "runs.jsonl")


def test_nothing_is_there_at_first(records: ResultsFile) -> None:
    assert records.read() == {}
    assert not records.path.exists()


def test_lines_are_appended_and_read_back(records: ResultsFile) -> None:
    lines = [_line(seed) for seed in range(3)]
    for line in lines:
        records.add(line)
    assert [json.loads(text) for text in records.path.read_text("utf-8").splitlines()] == lines
    assert records.read() == {key(line): line for line in lines}


def test_lines_from_before_labels_could_be_hidden_are_of_all_labels(records: ResultsFile) -> None:
    records.add({**_line(), "labelled": 1.0})
    old = _line()
    del old["labelled"]
    records.path.write_text(json.dumps(old) + "\n", "utf-8")
    assert list(records.read()) == [key({**_line(), "labelled": 1.0})]
    records.add({**_line(), "labelled": 1.0})
    assert len(records.path.read_text("utf-8").splitlines()) == 1


def test_a_run_that_is_there_is_not_added_again(records: ResultsFile) -> None:
    records.add(_line(width=3))
    records.add({**_line(width=3), "map": {"both": 0.6}})
    assert [line["map"]["both"] for line in records.read().values()] == [0.5]


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_torn_last_line_is_no_line_and_is_replaced(records: ResultsFile, cut: int) -> None:
    records.add(_line(0))
    whole = records.path.read_bytes()
    records.add(_line(1))
    records.path.write_bytes(records.path.read_bytes()[: len(whole) + cut])
    assert list(records.read().values()) == [_line(0)]
    records.add(_line(2))
    assert [json.loads(text)["seed"] for text in records.path.read_text("utf-8").splitlines()] == [0, 2]


def test_a_last_line_that_lacks_its_end_only_is_kept(records: ResultsFile) -> None:
    records.path.write_text(json.dumps(_line(0)), "utf-8")
    records.add(_line(1))
    assert [json.loads(text)["seed"] for text in records.path.read_text("utf-8").splitlines()] == [0, 1]


def test_other_settings_are_refused_and_replace_the_line_where_asked(records: ResultsFile) -> None:
    for seed in range(3):
        records.add(_line(seed, width=3))
    before = records.path.read_bytes()
    with pytest.raises(
        InputError,
        match=r"holds tiny, full, 16 bits, seed 1 made with something else: width \(was 3, is 4\).*--replace",
    ):
        records.add(_line(1, width=4))
    assert records.path.read_bytes() == before
    records.add(_line(1, width=4), replace=True)
    assert [(line["seed"], line["settings"]["width"]) for line in records.read().values()] == [(0, 3), (2, 3), (1, 4)]
    assert [path.name for path in records.path.parent.iterdir()] == ["runs.jsonl"]


def test_many_writers_at_once(records: ResultsFile) -> None:
    """Appending and replacing (which puts another file in the place) at the same time loses nothing."""
    for seed in range(5):
        records.add(_line(seed, width=0))

    def write(writer: int) -> None:
        for i in range(10):
            ResultsFile(records.path).add(_line(100 * writer + i))
        ResultsFile(records.path).add(_line(writer % 5, width=1), replace=True)

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(write, range(5, 10)))
    there = {(line["seed"], line["settings"].get("width")) for line in records.read().values()}
    assert there == {(seed, 1) for seed in range(5)} | {
        (100 * writer + i, None) for writer in range(5, 10) for i in range(10)
    }
    assert len(records.path.read_text("utf-8").splitlines()) == 55


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n', "line 1, is not a result of `milvus-ichash compare`"),
        ("[1]\n", "line 1, is not a result"),
        ("oops\n{}\n", "line 1, is no JSON"),
    ],
)
def test_another_file_is_refused_with_the_line(records: ResultsFile, text: str, message: str) -> None:
    records.path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=message):
        records.read()
    with pytest.raises(InputError, match=message):
        records.add(_line())
    assert records.path.read_text("utf-8") == text


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        ResultsFile(tmp_path).add(_line())
