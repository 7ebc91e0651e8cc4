"""The two forms that labels have in a collection: names of classes, or class numbers in those of earlier releases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

from milvus_ichash.errors import InputError
from milvus_ichash.index import filters
from milvus_ichash.index.description import Description
from milvus_ichash.printable import is_utf8

LabelLists = Sequence[Sequence[Any] | None]
"""For each item the names of its classes, or their numbers, from 0, in a collection that holds numbers; None where its
labels are unknown."""

_SOUGHT = re.compile(
    r"""(?:array|json)_contains\w*\(\s*labels\s*,\s*\[?\s*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|-?\d+)""", re.IGNORECASE
)
"""What a filter looks for among the labels of an item: the first literal."""


def checked_labels(labels: LabelLists, n: int, description: Description) -> LabelLists:
    """Return labels as the collection holds them: names, or numbers in one that was made with numbers.

    Raises:
        InputError: names a label that the collection cannot hold.
    """
    if len(labels) != n:
        raise InputError(f"{n} ids, but {len(labels)} lists of labels.")
    flat = list(chain.from_iterable(row for row in labels if row is not None))
    kinds = set(map(type, flat))
    if description.labels_by_name:
        if kinds - {str} or not all(map(is_utf8, set(flat))):
            bad = next(label for label in flat if type(label) is not str or not is_utf8(label))
            raise InputError(f"a label is {bad!r}; this collection holds labels by name: give lists of strings.")
        return labels
    numbers = {name: number for number, name in enumerate(description.label_names or ())}
    if kinds == {str} and all(name in numbers for name in flat):
        return [None if row is None else [numbers[str(name)] for name in row] for row in labels]
    if kinds - {int} or (flat and not (min(flat) >= 0 and max(flat) < 2**31)):
        bad = next(label for label in flat if type(label) is not int or not 0 <= label < 2**31)
        names = f", or names such as {', '.join(list(numbers)[:3])}" if numbers else ""
        raise InputError(f"a label is {bad!r}; labels are lists of class numbers, plain whole numbers from 0{names}.")
    return labels


def names_of(numbers: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Return class numbers as names; those without a name stay numbers."""
    return [names[number] if type(number) is int and 0 <= number < len(names) else number for number in numbers]


def check_filter(expression: str, collection: str, names: Sequence[str], *, by_name: bool) -> None:
    """Raise InputError where a filter asks for class numbers among names, or for names among numbers: none can match.

    Args:
        expression: the filter.
        collection: its name.
        names: of the classes, in the order of their numbers, as far as they are known.
        by_name: whether the collection's labels are names.
    """
    for sought in _SOUGHT.findall(expression):
        is_name = sought[0] in "\"'"
        if by_name and not is_name:
            example = filters.literal(next(iter(names), "red"))
            raise InputError(
                f"the filter `{expression}` looks for the number {sought} among labels, which are names in the "
                f"collection '{collection}': write, for example, array_contains(labels, {example})."
            )
        if is_name and not by_name:
            known = sought[1:-1] in names
            cure = (
                f"write array_contains(labels, {names.index(sought[1:-1])})" if known else "no class is called so there"
            )
            raise InputError(
                f"the filter `{expression}` looks for the name {sought} among labels, which are class numbers in the "
                f"collection '{collection}': {cure}."
            )
