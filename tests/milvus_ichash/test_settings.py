from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from milvus_ichash.errors import InputError
from milvus_ichash.settings import DEFAULT_URI, MilvusSettings, load_settings


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and no settings in the environment."""
    for name in list(os.environ):
        if name.startswith(("MILVUS_", "ZILLIZ_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "environment", "expected"),
    [
        ({"uri": None, "token": None}, {}, {}),
        ({}, {"URI": "77", "TOKEN": "77", "TIMEOUT": "77", "DB_NAME": "77", "MILVUS_URI": ""}, {}),
        (
            {},
            {
                "MILVUS_URI": "http://a:1",
                "MILVUS_TOKEN": "sesame",
                "MILVUS_DB_NAME": "mine",
                "MILVUS_TIMEOUT": "2.5",
            },
            {"uri": "http://a:1", "token": "sesame", "db_name": "mine", "timeout": 2.5},
        ),
    ],
    ids=["defaults", "variables of others do not count", "every setting has its variable"],
)
def test_settings_and_their_variables(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], environment: dict[str, str], expected: dict[str, Any]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    defaults = {"uri": DEFAULT_URI, "token": "", "db_name": "", "timeout": 30}
    assert load_settings(**flags) == MilvusSettings(**(defaults | expected))


def test_each_place_wins_over_those_after_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml, dotenv = here / "ichash.toml", here / ".env"
    for write, content, uri in (
        (toml.write_text, ['[milvus]\nuri = "http://toml:1"\ntimeout = 7\n'], "http://toml:1"),
        (dotenv.write_text, ["ZILLIZ_URI=http://dotenv-alias:1\nSOMETHING=else\n"], "http://dotenv-alias:1"),
        (dotenv.write_text, ["ZILLIZ_URI=http://dotenv-alias:1\nMILVUS_URI=http://dotenv:1\n"], "http://dotenv:1"),
        (monkeypatch.setenv, ["ZILLIZ_URI", "http://alias:1"], "http://alias:1"),
        (monkeypatch.setenv, ["MILVUS_URI", "http://environment:1"], "http://environment:1"),
    ):
        write(*content)
        assert load_settings().uri == uri
    by_flag = load_settings(uri="http://flag:1")
    assert (by_flag.uri, by_flag.timeout) == ("http://flag:1", 7)


@pytest.mark.parametrize(
    ("uri", "lite"),
    [
        (DEFAULT_URI, True),
        ("./x.db", True),
        ("x.db", True),
        ("/abs/x.db", True),
        ("http://h:1", False),
        ("https://h", False),
        ("tcp://h", False),
    ],
)
def test_a_file_is_milvus_lite(uri: str, lite: bool) -> None:
    assert MilvusSettings(uri=uri).is_lite is lite


@pytest.mark.parametrize("uri", ["http://root:se@same@host:1/db", "http://se@same:1"])
def test_secrets_are_not_shown(uri: str) -> None:
    settings = MilvusSettings(uri=uri, token="sesame")
    assert "se" not in settings.address.replace("://", "")
    assert "sesame" not in repr(settings) + str(settings.shown())
    assert settings.shown()["token"] == "(set)"
    assert MilvusSettings(uri=uri).shown()["token"] == "(set)"
    assert MilvusSettings(uri="./a@b.db").shown() == {
        "uri": "./a@b.db", "token": "(none)", "db_name": "(default)", "timeout": "30 s",
    }  # fmt: skip


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), "soon"])
def test_a_timeout_that_cannot_be_used(timeout: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="setting 'timeout'"):
        load_settings(timeout=timeout)
    monkeypatch.setenv("MILVUS_TIMEOUT", str(timeout))
    with pytest.raises(InputError, match="setting 'timeout'"):
        load_settings()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[milvus", "cannot be used: .*Expected"),
        ("milvus = 3", "cannot be used: .*no table"),
        ('[milvus]\nurl = "x"', "cannot be used: .*no setting 'url'; it has uri, token"),
        (None, "cannot be used"),
    ],
)
def test_a_file_that_cannot_be_used(here: Path, content: str | None, message: str) -> None:
    file = here / "ichash.toml"
    if content is None:
        file.mkdir()
    else:
        file.write_text(content)
    with pytest.raises(InputError, match=f"'ichash.toml' {message}"):
        load_settings()
