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
    assert load_settings(**flags).model_dump() == MilvusSettings(**(defaults | expected)).model_dump()


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
    assert "se@" not in repr(settings) + str(settings) and "sesame" not in repr(settings) + str(settings)
    assert settings.shown()["token"] == "(set)"
    assert MilvusSettings(uri=uri).shown()["token"] == "(set)"
    assert MilvusSettings(uri="./a@b/c.db").shown() == {
        "uri": "./a@b/c.db", "token": "(none)", "db_name": "(default)", "timeout": "30 s",
    }  # fmt: skip
    assert MilvusSettings(uri="http://h:1/mine").shown()["db_name"] == "(in the address)"


def test_a_secret_of_a_wrong_type_is_not_shown() -> None:
    with pytest.raises(ValueError) as caught:
        MilvusSettings(uri=["http://root:sesame@h:1"], token={"root": "sesame"})  # type: ignore[arg-type]
    assert "sesame" not in str(caught.value)


def written(place: str, here: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> dict[str, str]:
    """Write a setting into one of the places; return it where that is a flag."""
    if place == "flag":
        return {name: value}
    if place == "environment":
        monkeypatch.setenv(f"MILVUS_{name.upper()}", value)
    elif place != "default":
        with (here / place).open("a") as file:
            file.write(f"MILVUS_{name.upper()}={value}\n" if place == ".env" else f'milvus.{name} = "{value}"\n')
    return {}


PLACES = ("flag", "environment", ".env", "ichash.toml")


@pytest.mark.parametrize("of_token", PLACES)
@pytest.mark.parametrize("of_uri", PLACES)
def test_a_token_goes_to_an_address_of_its_own_place_or_by_a_flag(
    here: Path, monkeypatch: pytest.MonkeyPatch, of_uri: str, of_token: str
) -> None:
    flags = written(of_uri, here, monkeypatch, "uri", "http://h:1")
    flags |= written(of_token, here, monkeypatch, "token", "sesame")
    if of_uri == of_token or "flag" in (of_uri, of_token):
        settings = load_settings(**flags)
        assert settings.credentials == "sesame"
        assert (settings.place_of("uri"), settings.place_of("token")) == (of_uri, of_token)
        assert settings.place_of("timeout") == "default"
        return
    with pytest.raises(InputError, match=r"token is not sent there.*--uri, or keep both in one place") as caught:
        load_settings(**flags)
    said = str(caught.value)
    assert said.index(of_token.removeprefix(".")) < said.index("http://h:1 from") < said.rindex(of_uri)
    assert "sesame" not in said
    assert load_settings(**flags, token="").credentials == ""
    assert load_settings(**flags, uri="http://h:1").credentials == "sesame"
    # Milvus Lite takes no token.
    assert load_settings(**flags, uri="./x.db").is_lite


@pytest.mark.parametrize("of_token", PLACES)
@pytest.mark.parametrize("of_uri", PLACES)
def test_user_and_password_in_an_address_stand_in_its_place(
    here: Path, monkeypatch: pytest.MonkeyPatch, of_uri: str, of_token: str
) -> None:
    """They count where their place comes first; else the token does, under the same rule as ever."""
    flags = written(of_uri, here, monkeypatch, "uri", "http://root:p%2Fw@h:1")
    flags |= written(of_token, here, monkeypatch, "token", "sesame")
    if PLACES.index(of_uri) < PLACES.index(of_token):
        assert load_settings(**flags).credentials == "root:p/w"
    elif of_token in (of_uri, "flag"):
        assert load_settings(**flags).credentials == "sesame"
    else:
        with pytest.raises(InputError, match="token is not sent there"):
            load_settings(**flags)


def test_both_prefixes_are_one_place_and_so_are_arguments_of_the_class(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILVUS_URI", "http://h:1")
    monkeypatch.setenv("ZILLIZ_TOKEN", "sesame")
    assert load_settings().credentials == "sesame"
    assert MilvusSettings(uri="http://h:1", token="sesame").place_of("token") == "flag"


def test_a_foreign_file_gets_no_variable_of_the_environment(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sesame")
    (here / ".env").write_text("\nMILVUS_URI=http://evil:1\nMILVUS_TOKEN=${AWS_SECRET_ACCESS_KEY}\n")
    with pytest.raises(InputError, match=r"'\.env' cannot be used: line 3 has a variable") as caught:
        load_settings()
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(("place", "says"), [("flag", "command line"), (".env", r"'\.env'"), ("environment", "envi")])
def test_what_is_no_address_is_named_with_its_place(
    here: Path, monkeypatch: pytest.MonkeyPatch, place: str, says: str
) -> None:
    flags = written(place, here, monkeypatch, "uri", "http://root:S3/CRET@localhost:1")
    with pytest.raises(InputError, match=rf"^'http://\.\.\.' \(from .*{says}.*\) is no address: an '@'") as caught:
        load_settings(**flags)
    assert "S3" not in str(caught.value) and "CRET" not in str(caught.value)


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
        ("[milvus", "Expected"),
        ("milvus = 3", "no table"),
        ('uri = "http://h:1"', r"'uri' stands outside of the table \[milvus\]"),
        ('token = "sesame"\n[milvus]\nuri = "http://h:1"', "'token' stands outside"),
        ('[milvus]\nurl = "x"', "no setting 'url'; it has uri, token"),
        (b'[milvus]\nuri = "\xff"', "no UTF-8 text .byte 16 is 0xff"),
        (b"\xff\xfe[\0m", "no UTF-8 text"),
        ("milvus = " + "[" * 20_000, "nested too deeply"),
        ("a = 1\0", "NUL bytes"),
        ("a = " + "9" * 5000, "limit|digits"),
        ("#" * (2 << 20), "larger than 1 MB"),
        (None, "Is a directory"),
    ],
)
def test_a_file_that_cannot_be_used(here: Path, content: str | bytes | None, message: str) -> None:
    file = here / "ichash.toml"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=f"'ichash.toml' cannot be used: .*{message}") as caught:
        load_settings()
    assert "sesame" not in str(caught.value)
    assert str(caught.value).count("cannot be used") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"MILVUS_URI=http://h\xff:1", "no UTF-8 text .byte 19 is 0xff"),
        (b"MILVUS_URI=http://h:1\0", "NUL bytes"),
        (b"A=1\n" * (1 << 20), "larger than 1 MB"),
        (b"A=1\n\n# ours\nMILVUS_TOKEN='sesame\n", "line 4 is no NAME=VALUE; is a quote missing"),
        (b"export MILVUS_TOKEN sesame\n", "line 1 is no NAME=VALUE"),
        (None, "Input/output error"),
    ],
)
def test_a_dotenv_that_cannot_be_used(here: Path, content: bytes | None, message: str) -> None:
    file = here / ".env"
    if content is None:
        file.symlink_to("/proc/self/mem")  # may not be read, by root neither
        if not file.exists():
            pytest.skip("this system has no file that nobody can read")
    else:
        file.write_bytes(content)
    with pytest.raises(InputError, match=rf"'\.env' cannot be used: .*{message}") as caught:
        load_settings()
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfMILVUS_URI=http://h:1",
        b"MILVUS_URI='http://h:1'\r\nMILVUS_TOKEN=\r\n",
        b'  export MILVUS_URI = "http://h:1" # the server\n',
        b"it is 'not ours\nOTHER=${HOME}\nmilvus_uri=http://h:1",
    ],
    ids=["byte order mark", "quotes and lines of Windows", "exported", "lines of others"],
)
def test_forms_of_a_dotenv(here: Path, content: bytes) -> None:
    (here / ".env").write_bytes(content)
    assert load_settings().uri == "http://h:1"


def test_a_settings_file_with_a_byte_order_mark(here: Path) -> None:
    (here / "ichash.toml").write_bytes(b'\xef\xbb\xbf[milvus]\r\nuri = "http://h:1"\r\ntoken = ""\r\n')
    assert (load_settings().uri, load_settings().place_of("token")) == ("http://h:1", "default")


def test_a_folder_named_dotenv_is_a_virtual_environment(here: Path) -> None:
    (here / ".env").mkdir()
    assert load_settings().uri == DEFAULT_URI
