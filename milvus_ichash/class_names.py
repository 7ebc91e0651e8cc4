"""Classes by name, or by number where they have no names: nobody can tell which number means which name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from milvus_ichash.errors import InputError

NAME_THEM = (
    "Nobody can tell which number means which name: write names into the label column, or the names of the vectors' "
    "columns into 'label_names' (.npz, .h5, .mat)."
)
"""What helps where one side has names and the other numbers."""


def numbered_classes(classes: int) -> tuple[str, ...]:
    """Return what classes without names are called: "0", "1", ..."""
    return tuple(map(str, range(classes)))


def are_numbers(names: Iterable[str]) -> bool:
    """Return whether all of these names are numbers, as those of classes that have no names."""
    return all(map(str.isdecimal, names))


def check_classes(own: Sequence[str], known: Sequence[str]) -> None:
    """Raise InputError where labels hold a class, by name or number, that is not among those that are known."""
    there = set(known)
    unknown = next((name for name in own if name not in there), None)
    if unknown is None:
        return
    shown = ", ".join([*known[:10], "..."] if len(known) > 10 else known)
    if are_numbers(own) and not are_numbers(known):
        raise InputError(
            f"the labels are class numbers or 0/1 vectors without names, where {len(known)} classes are known by name: "
            f"{shown}. {NAME_THEM}"
        )
    raise InputError(f"the labels hold the class '{unknown}', where {len(known)} classes are known: {shown}.")
