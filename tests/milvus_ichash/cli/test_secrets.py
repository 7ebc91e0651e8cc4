"""No command writes a secret of the address or the token, wherever the two stand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.command import CommandLine

from milvus_ichash.cli.command_again import command_again
from milvus_ichash.cli.ending import ended

URIS = [
    "http://root:S3/CRET@localhost:1",
    "http://root:S3CRET@localhost:1",
    "http://root:S3%2FCRET@127.0.0.1:1/db",
    "root:S3CRET@localhost:19530",
    "http:/root:S3CRET@localhost:1",
    "http://localhost:1/?token=S3CRET",
    "http://localhost:1/#S3CRET",
    "root:S3CRET@localhost/x.db",
]


@pytest.fixture
def place(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, MILVUS_TOKEN="root:S3CRET", MILVUS_TIMEOUT="2")


@pytest.mark.parametrize("words", [["doctor"], ["doctor", "--format", "json"], ["inspect"], ["inspect", "-c", "items"]])
@pytest.mark.parametrize("uri", URIS)
@pytest.mark.parametrize("by_flag", [True, False], ids=["flag", "environment"])
def test_nothing_secret_is_written(place: CommandLine, words: list[str], uri: str, by_flag: bool) -> None:
    done = place.run(*words, "--uri", uri) if by_flag else place.run(*words, MILVUS_URI=uri)
    assert done.returncode in (2, 3)
    assert "S3" not in done.stdout + done.stderr and "CRET" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_place_of_an_address_that_cannot_be_read_is_named(place: CommandLine) -> None:
    (place.folder / ".env").write_text("MILVUS_URI=http://root:S3/CRET@localhost:1")
    done = place.run("inspect", MILVUS_URI="")
    assert done.returncode == 2
    assert "'http://...' (from the file '.env') is no address: an '@' stands behind a '/'" in done.stderr


def test_a_foreign_folder_gets_no_token(place: CommandLine) -> None:
    (place.folder / "ichash.toml").write_text('[milvus]\nuri = "http://localhost:1"')
    done = place.run("inspect", MILVUS_URI="")
    assert done.returncode == 2
    assert "the token is not sent there" in done.stderr
    assert place.run("inspect", "--uri", "http://localhost:1", MILVUS_URI="").returncode == 3
    assert place.run("inspect", "--token", "", MILVUS_URI="").returncode == 3


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "http://root:S3CRET@h:1"],
        ["inspect", "root:S3CRET@h:1"],
        ["http://root:S3CRET@h:1"],
        ["inspect", "--token", "\udcffS3CRET"],
        ["inspect", "--uri", "http://root:\udcffS3CRET@h:1"],
    ],
)
def test_words_that_cannot_be_used_are_repeated_without_secrets(place: CommandLine, words: list[str]) -> None:
    done = place.run(*words)
    assert done.returncode == 2
    assert "S3CRET" not in done.stdout + done.stderr


def test_a_traceback_has_no_secrets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> int:
        raise LookupError("no channel to 'http://root:S3CRET@h:1'")

    monkeypatch.setattr(sys, "argv", ["milvus-ichash"])
    assert ended(fails) == 1
    said = capsys.readouterr().err
    assert "LookupError: no channel to 'http://...@h:1'" in said and "S3CRET" not in said


@pytest.mark.parametrize(
    ("words", "again"),
    [
        ("--uri http://root:S3CRET@h:1/db", "--uri http://...@h:1/..."),
        ("--uri=http://S3CRET@h:1", "--uri=http://...@h:1"),
        ("--uri ./x.db --token S3CRET", "--uri ./x.db --token ..."),
        ("--token=S3CRET", "--token=..."),
        ("--fields http://root:S3CRET@h:1", "--fields http://...@h:1"),
        ("--uri http://h:1 -c items", "--uri http://h:1 -c items"),
    ],
)
def test_a_command_that_goes_on_has_no_secrets(words: str, again: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["milvus-ichash", "ingest", *words.split()])
    assert command_again("--resume") == f"milvus-ichash ingest {again} --resume"
