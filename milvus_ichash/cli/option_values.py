"""From the words that an option was given to values: lists with commas, and pairs of name and value."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from milvus_ichash.errors import InputError, check_once

Value = TypeVar("Value")

COLOURS = ("--picture-mean", "--picture-std")
"""Options that take a number for each of the three colour channels."""


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


def each_listed(given: Sequence[str] | None, kind: Callable[[str], Value], option: str, example: str) -> list[Value]:
    """Return the values of an option that may be given several times, each time with one value or more: see `listed`.

    Raises:
        InputError: a time without values, or a value that is not of this kind.
    """
    return list(dict.fromkeys(value for text in given or () for value in listed(text, kind, option, example)))


def colours(text: str | None, option: str) -> tuple[float, float, float] | None:
    """Return the numbers of "0.5,0.5,0.5", or None where nothing was given.

    Raises:
        InputError: it is not three finite numbers.
    """
    if text is None:
        return None
    numbers = [float(part) if is_number(part) else math.nan for part in text.split(",")]
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise InputError(
            f"{option} takes a number for red, green and blue, with commas between them, such as 0.5,0.5,0.5; "
            f"got '{text}'."
        )
    red, green, blue = numbers
    return red, green, blue


def with_commas(words: Sequence[str], options: Collection[str]) -> list[str]:
    """Return the words of a command line with commas between three numbers after such an option, where spaces were."""
    for at, word in enumerate(words):
        numbers = words[at + 1 : at + 4]
        if word in options and len(numbers) == 3 and all(map(is_number, numbers)):
            rest = with_commas(words[at + 4 :], options)
            return [*words[: at + 1], ",".join(numbers), *rest]
    return list(words)


def is_number(text: str) -> bool:
    """Return whether this text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
