"""The places where settings stand: environment, `.env` and `ichash.toml`, each read by itself."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream

from milvus_ichash.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENVIRONMENT = "environment"
DOTENV = ".env"
SETTINGS_FILE = "ichash.toml"

_PREFIXES = ("MILVUS_", "ZILLIZ_")
_MOST_BYTES = 1 << 20


def from_environment(names: Collection[str]) -> dict[str, str]:
    """Return the settings of these names out of the environment; empty values count as not given."""
    return _prefixed(names, os.environ)


def from_dotenv(names: Collection[str]) -> dict[str, str]:
    """Return the settings of these names out of `.env`; the file may have other variables too, and need not be there.

    Values are taken as they stand: were `${OTHER}` filled in, a foreign `.env` could send any variable of the
    environment to the address that it names.

    Raises:
        InputError: the file cannot be read, or one of these settings in it.
    """
    path = Path(DOTENV)
    if not path.is_file():  # a folder `.env` is a virtual environment
        return {}
    found: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(_text(path))):
        written = binding.original.string.lstrip()
        line = binding.original.line + binding.original.string.removesuffix(written).count("\n")
        key = (binding.key or written.removeprefix("export ").lstrip()).upper()
        if not key.startswith(_PREFIXES):
            continue
        if binding.error:
            raise InputError(f"'{DOTENV}' cannot be used: line {line} is no NAME=VALUE; is a quote missing?")
        if "${" in (binding.value or ""):
            raise InputError(
                f"'{DOTENV}' cannot be used: line {line} has a variable ('${{...}}'), which is not filled in: "
                "write the value itself."
            )
        found[key] = binding.value or ""
    return _prefixed(names, found)


def from_toml(names: Collection[str]) -> dict[str, Any]:
    """Return the table [milvus] of `ichash.toml`; it is empty where there is none.

    Raises:
        InputError: the file cannot be read, or has a setting that there is not, or one outside of the table.
    """
    path = Path(SETTINGS_FILE)
    if not path.exists():
        return {}
    text = _text(path)
    try:
        tables = tomllib.loads(text.replace("\r\n", "\n"))
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).rstrip(".")
        raise InputError(f"'{SETTINGS_FILE}' cannot be used: {reason}.") from error
    table = tables.get("milvus", {})
    if not isinstance(table, dict):
        raise InputError(f"'{SETTINGS_FILE}' cannot be used: 'milvus' is no table.")
    # Passed over, an address there would send an ingest into the default file without a word.
    outside = [name for name in names if name in tables]
    if outside:
        raise InputError(
            f"'{SETTINGS_FILE}' cannot be used: '{outside[0]}' stands outside of the table [milvus]; "
            "write the line [milvus] above it."
        )
    unknown = sorted(set(table) - set(names))
    if unknown:
        raise InputError(
            f"'{SETTINGS_FILE}' cannot be used: [milvus] has no setting '{unknown[0]}'; it has {', '.join(names)}."
        )
    return {name: value for name, value in table.items() if value != ""}


def _prefixed(names: Collection[str], variables: Mapping[str, str]) -> dict[str, str]:
    # Upper and lower case are the same; of two names, the one in capitals is meant.
    by_name = {name.upper(): value for name, value in sorted(variables.items(), reverse=True)}
    found = {}
    for name in names:
        value = next(filter(None, (by_name.get(prefix + name.upper()) for prefix in _PREFIXES)), None)
        if value is not None:
            found[name] = value
    return found


def _text(path: Path) -> str:
    """Return the text of a small file, without its byte order mark.

    Raises:
        InputError: names the file, and why it cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"'{path}' cannot be used: it is no UTF-8 text (byte {error.start} is {error.object[error.start]:#04x}); "
            "save it as UTF-8."
        ) from error
    except OSError as error:
        raise InputError(f"'{path}' cannot be used: {error.strerror or error}.") from error
    if len(content) > _MOST_BYTES:
        raise InputError(f"'{path}' cannot be used: it is larger than 1 MB, so it holds no settings.")
    if "\0" in text:
        raise InputError(f"'{path}' cannot be used: it has NUL bytes, so it is no text.")
    return text
