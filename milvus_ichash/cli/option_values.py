"""From the words that an option was given to values: lists with commas, and pairs of name and value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from milvus_ichash.errors import InputError, check_once

Value = TypeVar("Value")


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str] | None:
    """Return ["image=img_emb", ...] as a dict, or None where nothing was given.

    Raises:
        InputError: a pair is not NAME=VALUE, or a name comes twice; names the option and the pair.
    """
    if not given:
        return None
    found: dict[str, str] = {}
    for pair in given:
        name, sign, value = pair.partition("=")
        if not (sign and name and value):
            raise InputError(f"{option} takes NAME=VALUE, such as image=img_emb; got '{pair}'.")
        check_once(name, found, option)
        found[name] = value
    return found


def listed(text: str | None, kind: Callable[[str], Value], option: str, example: str) -> list[Value]:
    """Return the values between the commas of "1,2,4", each once, in their order; none where nothing was given.

    Args:
        text: what the option was given.
        kind: makes a value of a word, and raises ValueError where it cannot: `int`, `float` or `str`.
        option: the option, as the error names it.
        example: what the error shows as an example.

    Raises:
        InputError: no value between the commas, or one that is not of this kind.
    """
    try:
        values = [kind(part.strip()) for part in (text or "").split(",") if part.strip()]
    except ValueError:
        values = []
    if text is not None and not values:
        raise InputError(f"{option} takes values with commas between them, such as {example}; got '{text}'.")
    return list(dict.fromkeys(values))
