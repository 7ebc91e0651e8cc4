"""Ids as arrays, and from ids to row numbers: where items that Milvus found stand in a table that is sorted by id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.features import Ids

RowsOf = Callable[[Ids], npt.NDArray[np.intp]]
"""From ids (n,) to their row numbers (n,), -1 for an id that is not in the table."""

_DENSE = 8
"""Int64 ids that fill at least an eighth of their range are looked up in an array over that range."""


def rows_of(table: Ids) -> RowsOf:
    """Return a function from ids to their row numbers in `table`.

    Args:
        table: all different, and sorted where they are whole numbers: int64 (N,), or object (N,) of str.

    Returns:
        A function from ids (n,) to intp (n,): the row number of each id, -1 for an id that is not in the table.

    Example:
        >>> rows_of(np.array([10, 20, 40]))(np.array([40, 10, 30]))
        array([ 2,  0, -1])
    """
    if table.dtype == object:
        row = {key: number for number, key in enumerate(table.tolist())}
        return lambda ids: np.fromiter((row.get(key, -1) for key in ids.tolist()), np.intp, len(ids))
    if not len(table):
        return lambda ids: np.full(len(ids), -1, np.intp)
    first, last = int(table[0]), int(table[-1])
    span = last - first + 1
    if span > _DENSE * len(table):

        def searched(ids: Ids) -> npt.NDArray[np.intp]:
            ids = ids.astype(np.int64)
            at = np.minimum(np.searchsorted(table, ids), len(table) - 1)
            return np.where(table[at] == ids, at, -1)

        return searched
    rows = np.full(span + 1, -1, np.intp)  # one more, for ids that are outside
    rows[table - first] = np.arange(len(table))

    def looked_up(ids: Ids) -> npt.NDArray[np.intp]:
        ids = ids.astype(np.int64)
        return np.asarray(rows[np.where((ids >= first) & (ids <= last), ids - first, span)])

    return looked_up


def to_ids(values: Sequence[Any]) -> Ids:
    """Return ids as an array: int64 (N,), or object (N,) of str."""
    return np.array(values, object if len(values) and isinstance(values[0], str) else np.int64)
