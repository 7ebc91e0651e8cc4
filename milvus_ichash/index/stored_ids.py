"""Ids as Milvus Lite stores them: it writes them into SQL as they are, so that an apostrophe would end the text there.

An apostrophe is stored as an ampersand and U+10FFFF, which is no character and stands in no text. The stored ids sort
just as the ids do: an ampersand comes right before an apostrophe, and U+10FFFF after everything. So ranges and pages
of ids are the same ones. A server stores ids as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

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
