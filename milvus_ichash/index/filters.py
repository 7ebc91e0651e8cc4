"""Filter expressions: literals that Milvus and Milvus Lite read alike, ranges of ids, and the names in a filter."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from milvus_ichash.index.field_names import ID, has

_STRING = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'')
_WORD = re.compile(r"(?<![\w.$])[A-Za-z_$][\w$]*(?!\w)(?!\s*\()")
_KEYWORDS = {"and", "or", "not", "in", "like", "exists", "is", "null", "true", "false"}

_FEW = 4096


def literal(value: Any) -> str:
    """Return a value as it stands in an expression."""
    # Not `repr`, and no `\\uXXXX`, which Milvus Lite does not read.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def among(keys: Iterable[Any]) -> str:
    """Return the filter for the items with these ids (at least one)."""
    return f"{ID} in [{', '.join(map(literal, keys))}]"


def among_few(keys: Sequence[Any]) -> Iterator[str]:
    """Yield filters for the items with these ids, each for a few thousand of them."""
    return (among(keys[start : start + _FEW]) for start in range(0, len(keys), _FEW))


def between(first: Any, last: Any) -> str:
    """Return the filter for the items from one id to another, both included."""
    return f"{ID} >= {literal(first)} and {ID} <= {literal(last)}"


def after(key: Any) -> str:
    """Return the filter for the items beyond this id, which is not included."""
    return f"{ID} > {literal(key)}"


def having(modalities: Iterable[str]) -> str:
    """Return the filter for the items that have all of these modalities; empty, which means all items, for none."""
    return " and ".join(f"{has(modality)} == true" for modality in modalities)


def both(*expressions: str) -> str:
    """Return the filter for the items that match all of these expressions; empty expressions are left out."""
    parts = [expression for expression in expressions if expression.strip()]
    return parts[0] if len(parts) == 1 else " and ".join(f"({part})" for part in parts)


def names_in(expression: str) -> list[str]:
    """Return the fields that a filter names: words outside strings that are no keywords and no functions."""
    words = _WORD.findall(_STRING.sub('""', expression))
    return [word for word in dict.fromkeys(words) if word.lower() not in _KEYWORDS and not word.startswith("$")]
