"""Find duplicate ids before anything is written, with 16 bytes of memory for each row."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.errors import InputError
from milvus_ichash.features import Ids
from milvus_ichash.io.feature_source import FeatureSource

_BYTES = 16


def find_duplicate_ids(source: FeatureSource, check: Callable[[Ids], object] = lambda ids: None) -> None:
    """Read the ids of a source once; return where all are different. `check` is given each block of them meanwhile.

    Strings are compared by 128-bit hashes, sorted in place (a set of Python strings takes ten times the memory). Only
    where two hashes are equal are the ids read again, to name them; that two different ids share a hash is not to be
    expected in the life of the universe.

    Raises:
        InputError: names the id that comes twice, and both rows; or what `check` raises.
    """
    keys: npt.NDArray[Any] = np.empty(source.info.rows, np.int64 if source.info.id_kind == "int64" else f"S{_BYTES}")
    for first, ids in source.id_blocks():
        check(ids)
        keys[first : first + len(ids)] = _keys(ids)
    keys.sort()
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        key = keys[twice[0]]
        del keys
        raise _error(source, key)


def _error(source: FeatureSource, key: Any) -> InputError:
    """Return the error that names the id with this key and its rows."""
    rows: list[int] = []
    value: str | int = ""
    for first, ids in source.id_blocks():
        places = np.flatnonzero(_keys(ids) == key)
        if len(places):
            value = ids[places].tolist()[0]
            rows += (places + first).tolist()
    more = f" ({len(rows)} times in all)" if len(rows) > 2 else ""
    return InputError(
        f"{source.info.path}: the id {value!r} is in row {rows[0]} and again in row {rows[1]}{more}; "
        "every item needs an id of its own."
    )


def _keys(ids: Ids) -> npt.NDArray[Any]:
    """Return int64 ids as they are, and strings as hashes of 16 bytes each."""
    if ids.dtype != object:
        return ids
    return np.array(
        [blake2b(value.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest() for value in ids], f"S{_BYTES}"
    )
