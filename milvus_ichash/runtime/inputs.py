"""Turn what a caller gives (arrays with gaps, or a table) into what the graph takes: float32 rows and `present`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.errors import InputError
from milvus_ichash.features import Features, FeatureTable, Mask, rows_not_finite

RowName = Callable[[int], str]
"""Turns a row's number in the input into its name in messages."""


class Inputs:
    """Features of B items, checked as a whole for kinds and sizes, and batch by batch for values.

    Make one with `of_arrays` or `of_table`.

    Attributes:
        rows: B.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        features: Mapping[str, npt.ArrayLike | None],
        present: npt.ArrayLike | None,
        row_name: RowName,
        *,
        checked: bool,
    ) -> None:
        self._dims = dims
        self._row_name = row_name
        self._checked = checked
        self._features = {name: _matrix(name, x, dims[name]) for name, x in features.items() if x is not None}
        if not self._features:
            raise InputError(f"nothing to encode: give features of at least one modality ({_list(dims)}).")
        first, *others = self._features.items()
        self.rows = len(first[1])
        for name, x in others:
            if len(x) != self.rows:
                raise InputError(
                    f"modality '{name}' has {len(x)} rows and '{first[0]}' has {self.rows}: "
                    "they must be the same items."
                )
        self._present = None if present is None else _mask(present, (self.rows, len(dims)), dims)

    @classmethod
    def of_arrays(
        cls, dims: Mapping[str, int], features: Mapping[str, npt.ArrayLike | None], present: npt.ArrayLike | None
    ) -> Inputs:
        """Look at the names and shapes of arrays; no value is read yet.

        Args:
            dims: feature size of each modality of the bundle.
            features: (B, D_m) numbers by modality; a modality that is not given, or None, is missing in every row.
            present: bool (B, M), or None.

        Raises:
            InputError: names the modality that is unknown, holds no numbers or has a wrong shape.
        """
        for name in features:
            if name not in dims:
                raise InputError(f"this bundle knows no modality '{name}': it takes {_list(dims)}.")
        return cls(dims, features, present, lambda row: f"row {row}", checked=False)

    @classmethod
    def of_table(cls, dims: Mapping[str, int], table: FeatureTable) -> Inputs:
        """Look at the names and sizes of a table; its values are not looked at again where it is checked.

        Raises:
            InputError: names the modality that is unknown or has another size than in `dims`.
        """
        return cls(dims, table.features, table.present_for(tuple(dims)), table.row_name, checked=table.checked)

    def batch(self, start: int, stop: int) -> tuple[dict[str, Features], Mask]:
        """Return the rows from `start` up to `stop`: features, float32 (n, D_m) by modality, and present, bool (n, M).

        A row that is all NaN is missing, and so is one that `present` rules out; the latter may hold anything.

        Raises:
            InputError: names the row that has NaN or infinity in a modality it has, or that has no modality.
        """
        n = min(stop, self.rows) - start
        wanted = np.ones((n, len(self._dims)), np.bool_) if self._present is None else self._present[start:stop].copy()
        arrays = {}
        for column, name in enumerate(self._dims):
            if name not in self._features:
                wanted[:, column] = False
                continue
            arrays[name] = x = _float32(self._features[name][start:stop])
            if not self._checked:
                self._check_values(name, x, wanted[:, column], start)
        some = wanted.any(axis=1)
        if not some.all():
            raise InputError(
                f"{self._row_name(start + int(some.argmin()))} has no modality at all: it cannot get a code; "
                f"remove it, or give it one of {_list(self._dims)}."
            )
        return arrays, wanted

    def _check_values(self, name: str, x: Features, wanted: Mask, start: int) -> None:
        """Take rows that are all NaN out of `wanted`; complain about a wanted row with some NaN or infinity."""
        rows, empty = rows_not_finite(x)
        wanted[rows[empty]] = False
        bad = rows[wanted[rows]]
        if len(bad):
            raise InputError(
                f"{self._row_name(start + int(bad[0]))} has NaN or infinity in '{name}': "
                "mend the value, or make the whole row NaN if the modality is missing."
            )


def _matrix(name: str, given: npt.ArrayLike, dim: int) -> npt.NDArray[Any]:
    try:
        x = np.asarray(given)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"modality '{name}' is no array of numbers, or its rows differ in length ({error})."
        ) from error
    if x.shape == (0,):
        x = x.reshape(0, dim)
    if x.dtype.kind not in "fiub":
        raise InputError(
            f"modality '{name}' holds {x.dtype} values: expected numbers, with a row of NaN where an item lacks it."
        )
    if x.ndim == 1:
        raise InputError(
            f"modality '{name}' has shape {x.shape}: expected (rows, {dim}); for a single item give x[None, :]."
        )
    if x.ndim != 2 or x.shape[1] != dim:
        raise InputError(f"modality '{name}' has shape {x.shape}: this bundle takes (rows, {dim}).")
    return x


def _mask(given: npt.ArrayLike, shape: tuple[int, int], dims: Mapping[str, int]) -> Mask:
    present = np.asarray(given)
    if present.shape != shape:
        raise InputError(
            f"'present' has shape {present.shape}: expected {shape}, a column for each of {', '.join(dims)}."
        )
    if present.dtype.kind not in "biu":
        raise InputError(f"'present' holds {present.dtype} values: expected True and False.")
    return present.astype(np.bool_)


def _float32(x: npt.NDArray[Any]) -> Features:
    if x.dtype == np.float32 and x.flags.c_contiguous:
        return x
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinity, and is then found as such
        return np.ascontiguousarray(x, np.float32)


def _list(dims: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({dim})" for name, dim in dims.items())
