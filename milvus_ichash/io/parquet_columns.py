"""Turn Arrow columns into numpy arrays through Arrow's own buffers, without a Python object for each value."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from milvus_ichash.errors import InputError
from milvus_ichash.features import Features, Ids, Mask


def value_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type of the values in a list column (of any kind of list), or None for any other column."""
    types = pa.types
    return (
        kind.value_type if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) else None
    )


def is_number(kind: pa.DataType | None) -> bool:
    """Return whether the type is an integer, a float of any width, or a boolean."""
    return kind is not None and (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def is_vector(kind: pa.DataType) -> bool:
    """Return whether a column holds lists of numbers."""
    return is_number(value_type(kind))


def is_text(kind: pa.DataType | None) -> bool:
    """Return whether the type is a string; dictionary-encoded strings are strings too."""
    if kind is None:
        return False
    types = pa.types
    if types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or (hasattr(types, "is_string_view") and types.is_string_view(kind))
    )


def valid(column: pa.Array) -> Mask:
    """Return bool (n,): False where the row is null."""
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False))


def lengths(column: pa.Array) -> npt.NDArray[np.int64]:
    """Return int64 (n,): the number of values in each row's list, 0 where it is null."""
    return np.asarray(pc.cast(pc.fill_null(pc.list_value_length(column), 0), pa.int64()).to_numpy())


def numbers(values: pa.Array) -> Features:
    """Return a flat column of numbers as float32 (n,), NaN for null; nothing is copied where it is float32 already."""
    if values.type != pa.float32():
        values = pc.cast(values, pa.float32(), safe=False)
    if values.null_count:
        values = pc.fill_null(values, math.nan)
    return np.asarray(values.to_numpy())


def to_vectors(column: pa.Array, size: int, name: str, first_row: int) -> Features:
    """Return a list column as float32 (n, size); a null row is all NaN.

    Raises:
        InputError: names the first row whose list has another length.
    """
    there = valid(column)
    counts = lengths(column)
    ragged = np.flatnonzero(there & (counts != size))
    if len(ragged):
        raise InputError(
            f"row {first_row + ragged[0]} has {counts[ragged[0]]} values in '{name}', where other rows have {size}: "
            "vectors need one size; a row that lacks its vector is null."
        )
    values = numbers(column.flatten()).reshape(-1, size)
    if there.all():
        return values
    x = np.full((len(column), size), np.nan, np.float32)
    x[there] = values
    return x


def to_ids(column: pa.Array, name: str, first_row: int) -> Ids:
    """Return a column of ids as int64 (n,), or as object (n,) of str.

    Raises:
        InputError: names the row without an id, or the type that ids cannot have.
    """
    if column.null_count:
        raise InputError(f"row {first_row + int(np.flatnonzero(~valid(column))[0])} has no id (null in '{name}').")
    if is_text(column.type):
        return np.asarray(decoded(column).to_numpy(zero_copy_only=False), dtype=object)
    if not pa.types.is_integer(column.type):
        raise InputError(f"the id column '{name}' holds {column.type}; ids are strings or whole numbers.")
    try:
        return np.asarray(pc.cast(column, pa.int64()).to_numpy())
    except pa.ArrowInvalid as error:
        raise InputError(f"the id column '{name}' holds numbers beyond 63 bits; make them strings.") from error


def unpacked_bytes(column: pa.Array) -> int:
    """Return the bytes that a column takes with plain text in place of a dictionary's numbers."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        if not is_text(kind):
            return int(column.nbytes)
        sizes = pc.cast(pc.fill_null(pc.binary_length(column.dictionary), 0), pa.int64())
        return (pc.sum(sizes.take(column.indices)).as_py() or 0) + int(column.indices.nbytes)
    if pa.types.is_struct(kind):
        return sum(unpacked_bytes(column.field(place)) for place in range(kind.num_fields))
    if value_type(kind) is not None and not is_number(value_type(kind)):
        return unpacked_bytes(column.flatten())
    return int(column.nbytes)


def decoded(column: pa.Array) -> pa.Array:
    """Return the column with plain values in place of a dictionary's numbers, if it has a dictionary."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
