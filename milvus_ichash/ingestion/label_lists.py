"""Labels of a feature table as a collection holds them: lists of class names, or of class numbers in an old one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from milvus_ichash.class_names import are_numbers, check_classes
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable
from milvus_ichash.index.description import Description
from milvus_ichash.index.label_forms import LabelLists
from milvus_ichash.io.feature_source import SourceInfo

_CURE = "Rename the classes, or leave the labels out with --no-labels."


def check_known_classes(info: SourceInfo, names: Sequence[str] | None) -> None:
    """Raise InputError where a source has a class that is none of these names; where they are None, all classes do."""
    if names is not None:
        try:
            check_classes(info.class_names, names)
        except InputError as error:
            raise InputError(f"{info.path}: {error} {_CURE}") from error


def label_lists(table: FeatureTable, description: Description, names: Sequence[str] | None) -> LabelLists | None:
    """Return the labels of each item, None where they are unknown; None for a table without labels.

    Args:
        table: the items.
        description: of the collection, which says whether labels are names or numbers.
        names: the names of all classes, in the order of their numbers; None where they are not known.

    Raises:
        InputError: names a class that the collection cannot hold.
    """
    if table.labels is None:
        return None
    values: Sequence[Any]
    if names is not None:
        table = _in_classes(table, names)
        values = names if description.labels_by_name else range(len(names))
    elif description.labels_by_name:
        values = table.class_names
    else:
        values = _own_numbers(table.class_names)
    labels = np.zeros((len(table), 0), np.uint8) if table.labels is None else table.labels
    places, classes = np.nonzero(labels)
    ends = np.cumsum(np.bincount(places, minlength=len(table))).tolist()
    of_class = np.empty(len(values), object)
    of_class[:] = values
    flat = of_class[classes].tolist()
    known = [True] * len(table) if table.labelled is None else table.labelled.tolist()
    triples = zip([0, *ends], ends, known, strict=False)
    return [flat[begin:end] if labelled else None for begin, end, labelled in triples]


def _in_classes(table: FeatureTable, names: Sequence[str]) -> FeatureTable:
    try:
        return table.with_classes(names)
    except InputError as error:
        raise InputError(f"{error} {_CURE}") from error


def _own_numbers(names: Sequence[str]) -> list[int]:
    """Return the numbers that are the names of classes.

    Raises:
        InputError: they are real names.
    """
    if not are_numbers(names):
        raise InputError(
            f"the labels are names, such as '{next(name for name in names if not name.isdecimal())}', where the "
            "collection holds class numbers, and nobody can tell which number means which name: make the collection "
            "anew with --recreate, or leave the labels out with --no-labels."
        )
    return list(map(int, names))
