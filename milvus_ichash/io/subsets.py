"""Sources made of other sources: some rows of one (the splits of a holdout, for example), or several end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.choices import Split
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable, Ids
from milvus_ichash.io.feature_source import FeatureSource, Holdout


class SelectedSource(FeatureSource):
    """The rows of `base` with these numbers (rising), in the file's order. The others are read and passed over."""

    def __init__(self, base: FeatureSource, rows: npt.NDArray[np.int64]) -> None:
        self.info = replace(base.info, rows=len(rows))
        self._base = base
        self._rows = rows

    def ids(self) -> Iterator[Ids]:
        """Yield the ids of the rows that were chosen."""
        for first, ids in self._base.id_blocks():
            yield ids[self._between(first, first + len(ids))]

    def payload_blocks(self, names: Sequence[str]) -> Iterator[tuple[int, dict[str, Sequence[Any]]]]:
        """Yield these payload columns of the rows that were chosen."""
        done = 0
        for first, columns in self._base.payload_blocks(names):
            chosen = self._between(first, first + len(next(iter(columns.values())))).tolist()
            yield done, {name: [values[row] for row in chosen] for name, values in columns.items()}
            done += len(chosen)

    def pieces(self, size: int, start: int) -> Iterator[FeatureTable]:
        """Yield the rows that were chosen, from the `start`-th of them on."""
        if start >= len(self._rows):
            return
        first = int(self._rows[start])
        for batch in self._base.batches(size, start=first):
            chosen = self._between(first, first + len(batch))
            if len(chosen):
                yield batch.take(chosen)
            first += len(batch)
            if first > self._rows[-1]:
                return

    def _between(self, first: int, end: int) -> npt.NDArray[np.int64]:
        """Return the places of the chosen rows in a batch that holds the rows from `first` up to `end`."""
        low, high = np.searchsorted(self._rows, (first, end))
        return self._rows[low:high] - first


class ChainedSource(FeatureSource):
    """Several splits of a file, one after the other; they have the same modalities, classes and payload."""

    def __init__(self, parts: Sequence[FeatureSource]) -> None:
        self.info = replace(parts[0].info, rows=sum(part.info.rows for part in parts))
        self._parts = parts

    def ids(self) -> Iterator[Ids]:
        """Yield the ids of all parts, one part after the other."""
        for part in self._parts:
            yield from part.ids()

    def payload_blocks(self, names: Sequence[str]) -> Iterator[tuple[int, dict[str, Sequence[Any]]]]:
        """Yield these payload columns of all parts, one part after the other."""
        done = 0
        for part in self._parts:
            for first, columns in part.payload_blocks(names):
                yield done + first, columns
            done += part.info.rows

    def pieces(self, size: int, start: int) -> Iterator[FeatureTable]:
        """Yield the rows of all parts, each table from one part."""
        for part in self._parts:
            if start < part.info.rows:
                yield from part.batches(size, start=start)
            start = max(0, start - part.info.rows)


def holdout_splits(base: FeatureSource, holdout: Holdout | int) -> dict[Split, FeatureSource]:
    """Return the splits of a source that is one table, as `Holdout` describes them, and "all".

    Raises:
        InputError: numbers that leave a split without rows, or a seed where there is nothing to seed.
    """
    holdout = Holdout(holdout) if isinstance(holdout, int) else holdout
    rows = base.info.rows
    if not 0 < holdout.queries < rows:
        raise InputError(
            f"{base.info.path} has {rows} rows: a holdout takes from 1 to {rows - 1} of them as queries, "
            f"not {holdout.queries}."
        )
    rest = rows - holdout.queries
    if holdout.train is not None and not 0 < holdout.train <= rest:
        raise InputError(
            f"{base.info.path}: {rest} rows are left for retrieval; {holdout.train} of them cannot be for training."
        )
    order = _order(base, holdout)
    query, retrieval = order[: holdout.queries], order[holdout.queries :]
    return {
        "all": base,
        "query": SelectedSource(base, np.sort(query)),
        "retrieval": SelectedSource(base, np.sort(retrieval)),
        "train": SelectedSource(base, np.sort(retrieval[: holdout.train])),
    }


def _order(base: FeatureSource, holdout: Holdout) -> npt.NDArray[np.int64]:
    """Return the numbers of all rows in the order in which splits are taken from them."""
    if holdout.by == "order":
        return np.random.default_rng(holdout.seed).permutation(base.info.rows)
    if holdout.seed:
        raise InputError(f"a holdout by id has no seed, and {holdout.seed} was given: take the holdout by order.")
    # The first 8 bytes put any two ids in the order that all 32 bytes would.
    digests = (sha256(str(key).encode("utf-8", "surrogatepass")).digest() for ids in base.ids() for key in ids.tolist())
    hashes = np.fromiter((int.from_bytes(digest[:8], "big") for digest in digests), np.uint64, base.info.rows)
    return np.argsort(hashes, kind="stable")
