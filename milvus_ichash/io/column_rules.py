"""The rules by which every format tells which column holds the ids, which the labels, and which are modalities."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from milvus_ichash.errors import InputError

ID_NAMES = ("id", "ids", "_id")
LABEL_NAMES = ("labels", "label")


def pick(there: Collection[str], wanted: str | None, usual: Collection[str], what: str) -> str | None:
    """Return the column that holds `what`: the one asked for, else the first usual name that is there, else None.

    Raises:
        InputError: the column asked for is not there.
    """
    if wanted is None:
        return next((name for name in usual if name in there), None)
    if wanted not in there:
        raise InputError(f"there is no column '{wanted}' for the {what}; columns: {listing(there)}.")
    return wanted


def likely_ids(columns: Collection[str]) -> str | None:
    """Return the column that most likely holds the ids, of a file without a usual name for them; None: none does."""
    marks: tuple[Callable[[str], bool], ...] = (
        lambda name: name in ID_NAMES,
        lambda name: re.search(r"(^|[_ ])(u?id|uuid|guid|key)s?$", name) is not None,
        lambda name: name.startswith("__index_level_"),
    )
    return next((name for fits in marks for name in columns if fits(name.lower())), None)


def pick_modalities(
    there: Collection[str], vectors: Mapping[str, str], wanted: Mapping[str, str] | None
) -> dict[str, str]:
    """Return modality -> column: the mapping asked for, else every column of vectors under its usual name.

    Args:
        there: all columns of the file.
        vectors: modality -> column for those that hold vectors of numbers.
        wanted: the mapping asked for.

    Raises:
        InputError: a column that is not there or holds no vectors of numbers; no modality at all.
    """
    if wanted is not None and not wanted:
        raise InputError("no modality is named: name one or more, or leave the mapping out to have all of them read.")
    if wanted is None:
        if not vectors:
            raise InputError(
                f"there is no column of feature vectors (lists of numbers of one size); columns: {listing(there)}."
            )
        return dict(vectors)
    for modality, column in wanted.items():
        if column not in there:
            raise InputError(f"there is no column '{column}' for the modality '{modality}'; columns: {listing(there)}.")
        if column not in vectors.values():
            fit = listing(vectors.values()) or "none"
            raise InputError(
                f"column '{column}', meant for the modality '{modality}', holds no feature vectors; "
                f"those that do: {fit}."
            )
    return dict(wanted)


def listing(names: Collection[str], most: int = 20) -> str:
    """Return the names with commas between them: at most `most`, and how many more there are."""
    shown = ", ".join(list(names)[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
