"""Turn what a caller gives (arrays with gaps, or a table) into what the graph takes: float32 rows and `present`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable, Mask, check_modalities


def table_of_arrays(
    dims: Mapping[str, int], features: Mapping[str, npt.ArrayLike | None], present: npt.ArrayLike | None
) -> FeatureTable:
    """Return arrays as a table of which no value has been read yet: their names, kinds and shapes are checked.

    Args:
        dims: feature size of each modality of the bundle.
        features: (B, D_m) numbers by modality; a modality that is not given, or None, is missing in every row.
        present: bool (B, M), in the order of `dims`, or None.

    Raises:
        InputError: names the modality that is unknown, holds no numbers or has a wrong shape.
    """
    for name in features:
        if name not in dims:
            raise InputError(f"this bundle knows no modality '{name}': it takes {_list(dims)}.")
    given = {name: features.get(name) for name in dims}
    arrays = {name: _matrix(name, x, dims[name]) for name, x in given.items() if x is not None}
    if not arrays:
        raise InputError(f"nothing to encode: give features of at least one modality ({_list(dims)}).")
    first, rows = next((name, len(x)) for name, x in arrays.items())
    for name, x in arrays.items():
        if len(x) != rows:
            raise InputError(
                f"modality '{name}' has {len(x)} rows and '{first}' has {rows}: they must be the same items."
            )
    mask = np.ones((rows, len(dims)), np.bool_) if present is None else _mask(present, (rows, len(dims)), dims)
    return FeatureTable(np.arange(rows), arrays, mask[:, [name in arrays for name in dims]])


def check_table(dims: Mapping[str, int], table: FeatureTable) -> None:
    """Raise InputError where a table has a modality that is unknown, or one of another size than in `dims`."""
    check_modalities(table.features, dims, "the data")
    for name, x in table.features.items():
        _matrix(name, x, dims[name])


def checked_rows(table: FeatureTable, start: int, stop: int) -> FeatureTable:
    """Return the rows from `start` up to `stop` in float32. A row that is all NaN is missing.

    The values of a checked table are not looked at again.

    Raises:
        InputError: names the row that has NaN or infinity in a modality it has, or that has no modality.
    """
    part = table.rows(start, stop)
    if not part.checked:
        return FeatureTable.build(part.ids, part.features, present=part.present, first_row=part.first_row)
    part.check_rows()
    return part


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


def _list(dims: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({dim})" for name, dim in dims.items())
