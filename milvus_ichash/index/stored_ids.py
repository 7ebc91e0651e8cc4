"""Ids: which of them can be stored, and what Milvus Lite stores for them.

Milvus Lite writes ids into SQL as they are, so that an apostrophe would end the text there. It gets an ampersand and
U+10FFFF instead, which is no character and stands in no text. The stored ids sort just as the ids do: an ampersand
comes right before an apostrophe, and U+10FFFF after everything. So ranges and pages of ids are the same ones. A server
stores ids as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from milvus_ichash.choices import IdKind
from milvus_ichash.errors import InputError
from milvus_ichash.features import Ids
from milvus_ichash.index.field_names import ID_BYTES

# Filters cannot name control characters: such an item could neither be read nor replaced.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
RESERVED = "\U0010ffff"
"""What no id on Milvus Lite may hold."""

_STORED = f"&{RESERVED}"
_STRING = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
_COMPARED = r"(?:==|!=|<=|>=|<|>|like\b)"
_OF_IDS = re.compile(
    rf"(?<![\w.$])id\s+(?:not\s+)?in\s*\[(?:{_STRING}|[^\]\"'])*\]"
    rf"|(?<![\w.$])id\s*{_COMPARED}\s*(?:{_STRING})"
    rf"|(?:{_STRING})\s*(?:==|!=|<=|>=|<|>)\s*id(?![\w.$\[(])(?:\s*{_COMPARED}\s*(?:{_STRING}))?"
    rf"|(?:{_STRING})",
    re.IGNORECASE,
)
"""A comparison with ids, or another string, which stays as it is."""
_ONE_STRING = re.compile(_STRING)
_APOSTROPHE = re.compile(r"\\?'|\\.", re.DOTALL)


class StoredIds:
    """From ids to what is stored, and back.

    Args:
        escaped: True for Milvus Lite.
    """

    def __init__(self, *, escaped: bool) -> None:
        self._escaped = escaped

    def stored(self, ids: Sequence[Any]) -> Sequence[Any]:
        """Return ids as they are stored; numbers stay as they are."""
        if not self._escaped or not ids or not isinstance(ids[0], str) or "'" not in "".join(ids):
            return ids
        return [key.replace("'", _STORED) for key in ids]

    def shown(self, ids: Sequence[Any]) -> Sequence[Any]:
        """Return stored ids as they were given."""
        if not self._escaped or not len(ids) or not isinstance(ids[0], str) or RESERVED not in "".join(ids):
            return ids
        return [key.replace(_STORED, "'") for key in ids]

    def expression(self, text: str) -> str:
        """Return a filter with the ids in it as they are stored; strings that are compared with other fields stay."""
        return _OF_IDS.sub(_with_stored_ids, text) if self._escaped and "'" in text else text


def _with_stored_ids(part: re.Match[str]) -> str:
    return part[0] if _ONE_STRING.fullmatch(part[0]) else _ONE_STRING.sub(_stored_literal, part[0])


def _stored_literal(literal: re.Match[str]) -> str:
    text = literal[0]
    inside = _APOSTROPHE.sub(lambda found: _STORED if found[0] in ("'", "\\'") else found[0], text[1:-1])
    return f"{text[0]}{inside}{text[-1]}"


def checked_ids(ids: Ids | Sequence[Any], kind: IdKind, *, lite: bool, unique: bool = True) -> list[Any]:
    """Return the ids as a list, all of the collection's kind, and, with `unique`, different.

    Raises:
        InputError: names the first id that cannot be a key.
    """
    values: list[Any] = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    wanted = str if kind == "str" else int
    if not all(type(value) is wanted for value in values):
        bad = next(value for value in values if type(value) is not wanted)
        raise InputError(f"the id {bad!r} is {type(bad).__name__}; this collection has ids of type {wanted.__name__}.")
    if unique and len(set(values)) < len(values):
        seen: set[Any] = set()
        twice = next(value for value in values if value in seen or seen.add(value))  # type: ignore[func-returns-value]
        raise InputError(f"the id {twice!r} comes twice: every item needs an id of its own.")
    if kind == "str":
        _check_strings(values, lite=lite)
    elif values and max(map(abs, values)) >= 2**63:
        # Milvus Lite reads the literal -2^63 as -2^63 + 1.
        raise InputError(f"the id {max(values, key=abs)} is beyond 63 bits: make the ids strings.")
    return values


def _check_strings(values: list[str], *, lite: bool) -> None:
    # Cheap checks of all ids at once; only where one of them fails is the culprit looked for.
    together = "".join(values)
    short = max(map(len, values), default=1) <= ID_BYTES
    clean = short and "" not in values and together.isascii() and not _CONTROL.search(together)
    if clean and not (lite and "'" in together):
        return
    for value in values:
        if problem := _problem(value, lite=lite):
            raise InputError(f"the id {value[:80]!r} {problem}")


def _problem(value: str, *, lite: bool) -> str | None:
    if not value:
        return "is empty: every item needs an id."
    if _CONTROL.search(value):
        return "holds a control character (a tab or line break, say): ids must be printable."
    if lite and RESERVED in value:
        return "holds U+10FFFF, which is no character: rename it."
    try:
        size = sum(len(key.encode()) for key in StoredIds(escaped=lite).stored([value]))
    except UnicodeEncodeError:
        return "is no valid Unicode text."
    return f"has {size} bytes in UTF-8; at most {ID_BYTES} can be stored." if size > ID_BYTES else None
