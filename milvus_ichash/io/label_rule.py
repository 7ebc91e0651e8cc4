"""Turn labels as files hold them into multi-hot vectors, with the same classes in every batch and split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from milvus_ichash.errors import InputError
from milvus_ichash.features import Mask, MultiHot
from milvus_ichash.io.row_arrays import AnyArray, RowArray, kind_of, strings

Rows = npt.NDArray[np.intp]

MOST_CLASSES = 65_536
"""A column with more classes than this holds something else."""

_SCAN_ROWS = 65_536


@dataclass(frozen=True)
class LabelRule:
    """How one file's labels become uint8 (N, classes): decided once for the whole file, from its labels alone.

    Attributes:
        classes: C.
        names: the C names, or None.
        base: number of the first class, where labels are numbers: 0 or 1.
    """

    classes: int
    names: tuple[str, ...] | None = None
    base: int = 0

    def __post_init__(self) -> None:
        check_number_of_classes(self.classes)

    def from_vectors(self, x: AnyArray, first_row: int) -> tuple[MultiHot, Mask | None]:
        """Return multi-hot labels, and which rows have known labels (None: all), from vectors (n, C) of 0 and 1.

        The vectors are of any numeric type. A row of NaN is an item whose labels are unknown.

        Raises:
            InputError: names the row that holds anything else.
        """
        unknown = np.all(_is_nan(x), axis=1)
        wrong = np.flatnonzero(~((x == 0) | (x == 1)).all(axis=1) & ~unknown)
        if len(wrong):
            values = x[wrong[0]]
            raise InputError(
                f"row {first_row + wrong[0]} holds {values[(values != 0) & (values != 1)][0]} among its labels, which "
                "are vectors with one 0 or 1 for each class; class numbers go into lists of varying length or "
                "one column."
            )
        return (x == 1).astype(np.uint8), _known(unknown)

    def from_array(self, chunk: AnyArray, first_row: int) -> tuple[MultiHot, Mask | None]:
        """Return multi-hot labels, and which rows have known labels (None: all), from rows of an array.

        These are multi-hot vectors (n, C), or one class number or name per item, (n,); NaN or an empty name means
        that the labels are unknown.

        Raises:
            InputError: names the row whose labels do not fit.
        """
        if chunk.ndim == 2:
            return self.from_vectors(chunk, first_row)
        if kind_of(chunk.dtype) in "UO":
            texts = np.asarray(strings(chunk), dtype=np.str_)
            unknown: Mask = np.equal(texts, "")
            values: AnyArray = np.searchsorted(np.asarray(self.names), texts)
        else:
            unknown = _is_nan(chunk)
            values = chunk
        rows = np.flatnonzero(~unknown)
        return self.from_numbers(rows, values[rows], unknown, first_row)

    def from_numbers(
        self, rows: Rows, numbers: AnyArray, unknown: Mask, first_row: int
    ) -> tuple[MultiHot, Mask | None]:
        """Return multi-hot labels, and which rows have known labels (None: all), from class numbers.

        Args:
            rows: for each number the row that it belongs to.
            numbers: class numbers.
            unknown: bool (n,), True for items without known labels.
            first_row: the first row's number, for messages.

        Raises:
            InputError: names the row whose number is no class.
        """
        with np.errstate(invalid="ignore"):
            classes = numbers.astype(np.int64) - self.base
        wrong = np.flatnonzero((classes + self.base != numbers) | (classes < 0) | (classes >= self.classes))
        if len(wrong):
            raise InputError(
                f"row {first_row + rows[wrong[0]]} has the label {numbers[wrong[0]]}; class numbers here go from "
                f"{self.base} to {self.base + self.classes - 1}. Leave the label null where it is unknown."
            )
        labels = np.zeros((len(unknown), self.classes), np.uint8)
        labels[rows, classes] = 1
        return labels, _known(unknown)


def _is_nan(x: AnyArray) -> Mask:
    return np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, np.bool_)


def _known(unknown: Mask) -> Mask | None:
    return np.logical_not(unknown) if unknown.any() else None


def check_number_of_classes(count: int) -> None:
    """Raise InputError where there are more classes than labels can have."""
    if count > MOST_CLASSES:
        raise InputError(
            f"the labels would have {count} classes or more; they are not class names or numbers. "
            "Name the right column."
        )


def rule_for_numbers(lowest: int, highest: int, names: tuple[str, ...] | None = None) -> LabelRule:
    """Return the rule for one class number per item, from the smallest and the largest number of the whole file.

    Numbers count from 0 where a 0 occurs, else from 1. Where there are names, they decide: from 1 if the largest number
    is how many there are, else from 0. Without names a class is called by its number, so that it stays the same class
    in another file.

    Raises:
        InputError: a negative number, or one beyond the names.
    """
    if lowest < 0:
        raise InputError(
            f"the label {lowest} is negative; class numbers count from 0 or 1. "
            "Leave the label null where it is unknown."
        )
    base = int(lowest > 0 and highest == len(names)) if names else int(lowest > 0)
    if names and highest - base >= len(names):
        raise InputError(f"the labels go up to {highest}, and there are {len(names)} label names.")
    check_number_of_classes(highest)
    own = names or tuple(str(number) for number in range(base, highest + 1))
    return LabelRule(len(own), own, base)


def rule_for_arrays(arrays: Sequence[RowArray], names: tuple[str, ...] | None) -> LabelRule | None:
    """Return one rule for the label arrays of all splits of a file, or None where no item has a label.

    Raises:
        InputError: arrays that differ in shape, or hold what labels cannot be; a wrong number of names.
    """
    sizes = {array.shape[1:] for array in arrays}
    if len(sizes) > 1 or any(len(size) > 1 for size in sizes) or not all(array.shape for array in arrays):
        raise InputError(
            f"the labels of the splits differ in shape: {', '.join(str(array.shape) for array in arrays)}."
        )
    if len({array.kind in "UO" for array in arrays}) > 1:
        raise InputError("the labels of some splits are names, and those of others numbers.")
    if arrays[0].kind not in ("ifb" if sizes != {()} else "ifbUO"):
        raise InputError(
            "the labels are of a kind that cannot be read: class numbers, class names or 0/1 vectors are wanted."
        )
    if sizes != {()}:
        classes = arrays[0].shape[1]
        if names is not None and len(names) != classes:
            raise InputError(f"there are {len(names)} label names for {classes} classes.")
        return LabelRule(classes, names)
    chunks = (chunk for array in arrays for chunk in array.chunks(_SCAN_ROWS))
    if arrays[0].kind in "UO":
        own = sorted({text for chunk in chunks for text in strings(chunk) if text})
        return LabelRule(len(own), tuple(own)) if own else None
    known = [chunk[np.isfinite(chunk)] for chunk in chunks]
    ends = [(int(chunk.min()), int(chunk.max())) for chunk in known if len(chunk)]
    return rule_for_numbers(min(low for low, _ in ends), max(high for _, high in ends), names) if ends else None
