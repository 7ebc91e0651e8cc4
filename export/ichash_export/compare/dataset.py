"""The data that methods are compared on: read once by each process, with digests that identify it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ichash_export.train.run_folder import digest
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable
from milvus_ichash.io import ColumnNames, FeatureSource, Holdout, open_splits
from milvus_ichash.io.feature_source import SPLITS, TableSource
from milvus_ichash.io.subsets import holdout_splits

_LOT = 777
"""Seed of the choice of held-out items."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """The three splits, with labels, in memory.

    Attributes:
        name: how results call the data.
        train: the items to learn from.
        query: the queries.
        retrieval: the database.
    """

    name: str
    train: FeatureTable
    query: FeatureTable
    retrieval: FeatureTable

    def digests(self) -> dict[str, str]:
        """Return a digest of each split by its name: of features, gaps and labels in the order of the rows, without
        ids."""
        splits = {"train": self.train, "query": self.query, "retrieval": self.retrieval}
        return {
            name: hashlib.blake2b(json.dumps(digest(table)).encode(), digest_size=8).hexdigest()
            for name, table in splits.items()
        }


@dataclass(frozen=True)
class DataFile:
    """Where the items are and how they are read: all that another process needs in order to have the same data.

    Attributes:
        path: a file, or a folder of them, as `open_splits` takes it.
        name: how results call the data.
        columns: the columns that hold ids, labels and modalities.
        holdout: how to cut queries off a file that is one table, or their number.
        zeros_missing: modalities that an item lacks where its row is all zeros (bags of words, for example).
        complete_only: leave out items that lack a modality, before anything is cut.
        queries_from_train: training items, by lot, that take the queries' place, to choose settings by: they are gone
            from the training and the retrieval split, and the query split is not looked at.
    """

    path: Path
    name: str
    columns: ColumnNames
    holdout: Holdout | int | None = None
    zeros_missing: tuple[str, ...] = ()
    complete_only: bool = False
    queries_from_train: int = 0

    def read(self) -> Dataset:
        """Read the splits.

        Raises:
            InputError: the file cannot be read (`open_splits`), it lacks a split or labels, or no items are left.
        """
        splits = open_splits(self.path, self.columns, self.holdout)
        if self.holdout is None:
            tables = {split: self._prepared(splits.choose(split)) for split in SPLITS}
        else:
            # Items may be left out, so the queries are chosen among those that stay.
            whole = TableSource(self.path, self._prepared(splits["all"]))
            chosen = holdout_splits(whole, self.holdout)
            tables = {split: chosen[split].read() for split in SPLITS}
        read = Dataset(self.name, tables["train"], tables["query"], tables["retrieval"])
        return with_queries_from_train(read, self.queries_from_train) if self.queries_from_train else read

    def _prepared(self, source: FeatureSource) -> FeatureTable:
        source.info.check_labels()
        table = replace(source.read(), payload={})
        for name in self.zeros_missing:
            table = _without_zeros(table, name)
        if self.complete_only:
            table = table.take(np.all(table.present, axis=1))
        if not len(table):
            raise InputError(
                f"{self.path}: no item has all of {', '.join(table.modalities)}, so that --complete-only leaves none."
            )
        table.check_rows()
        return table


def with_queries_from_train(data: Dataset, number: int) -> Dataset:
    """Return the data with this many training items in the place of the queries, the same ones every time.

    Raises:
        InputError: fewer than two training items would be left.
    """
    if not 0 < number < len(data.train) - 1:
        raise InputError(
            f"--queries-from-train {number}: there are {len(data.train)} training items, and some have to be left to "
            "train on."
        )
    chosen = np.zeros(len(data.train), np.bool_)
    chosen[np.random.default_rng(_LOT).permutation(len(data.train))[:number]] = True
    queries = data.train.take(chosen)
    elsewhere = ~np.isin(data.retrieval.ids, queries.ids)
    return Dataset(
        f"{data.name}, {number} queries from train", data.train.take(~chosen), queries, data.retrieval.take(elsewhere)
    )


def _without_zeros(table: FeatureTable, name: str) -> FeatureTable:
    """Return the same items, of which those with a row of zeros lack this modality."""
    if name not in table.modalities:
        raise InputError(
            f"--zeros-missing {name}: there is no such modality; there are: {', '.join(table.modalities)}."
        )
    present = table.present.copy()
    present[:, table.modalities.index(name)] &= np.any(table.features[name], axis=1)
    return replace(table, present=present)
