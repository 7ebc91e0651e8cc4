"""JSON that anybody may have written: a value, or one sentence that says why not, whatever the file holds."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from milvus_ichash.errors import InputError

MOST_LEVELS = 50


def read_json(path: Path, *, most_bytes: int, most_values: int) -> Any:
    """Return the content of a JSON file.

    Args:
        path: the file.
        most_bytes: bytes that it may have.
        most_values: values that it may hold, arrays and objects included.

    Raises:
        InputError: it cannot be read, is larger, is not UTF-8, is not JSON, nests more than 50 levels deep, names
            something twice in one object, or holds a number that is not finite or half a character.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(most_bytes + 1)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    if len(content) > most_bytes:
        raise InputError(f"'{path}' is larger than {most_bytes / 2**20:g} MiB: no such file needs more.")
    try:
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite
        )
        _check_size(value, most_values)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails where escapes name half a character
    except RecursionError as error:
        raise InputError(f"'{path}' is not JSON that can be used: it nests too deeply.") from error
    except ValueError as error:
        reason = "an escape names half a character" if isinstance(error, UnicodeEncodeError) else error
        raise InputError(f"'{path}' is not JSON that can be used: {reason}.") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"'{twice[:100]}' stands twice in one object")
    return found


def _check_size(value: Any, most_values: int) -> None:
    level, count = [value], 0
    for _ in range(MOST_LEVELS):
        count += len(level)
        if count > most_values:
            raise ValueError(f"it holds more than {most_values:,} values")
        level = [part for each in level if isinstance(each, dict | list) for part in _parts(each)]
        if not level:
            return
    raise RecursionError


def _parts(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no finite number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _refuse(text[:100])
    return value
