"""The base of every reader of feature tables: a look at the columns, the ids alone, and the rows in batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from milvus_ichash.choices import HoldoutBy, Split
from milvus_ichash.class_names import numbered_classes
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable, Ids
from milvus_ichash.io.column_rules import ID_NAMES, likely_ids, listing

SPLITS: tuple[Split, ...] = ("query", "retrieval", "train")

READ_ROWS = 4096
"""The number of rows that `FeatureSource.read` asks for at a time."""


@dataclass(frozen=True)
class ColumnNames:
    """The columns that hold modalities, ids and labels, where their names do not say it.

    In a file with splits a column is named without its split: `I` for `I_tr`, `I_db`, `I_te`; `Img` for `ImgQuery`.
    """

    modalities: Mapping[str, str] | None = None
    """Modality -> column, or None for every column that holds vectors of numbers, under its own name."""
    id: str | None = None
    labels: str | None = None


@dataclass(frozen=True)
class Holdout:
    """How to make splits of a file that is one table.

    Rows are put into an order of their own: the first `queries` of them are the query split, the rest is the retrieval
    split. The train split is the first `train` rows of the retrieval split in that order, all of it by default. Within
    each split the rows keep the file's order.

    By "id" they are ordered by the sha256 of their ids as text (in UTF-8), so that an item stays in its split when the
    file is sorted anew or grows. Where the file has no ids, the numbers of the rows stand for them. By "order" they are
    ordered by `numpy.random.default_rng(seed).permutation(rows)`, as for the figures that were published.
    """

    queries: int
    seed: int = 0
    """Of the permutation; by "id" there is nothing to seed."""
    train: int | None = None
    by: HoldoutBy = "id"


@dataclass(frozen=True)
class SourceInfo:
    """What is known of a source before its features are read."""

    path: Path
    rows: int
    """Number of rows of the split that was opened."""
    dims: dict[str, int]
    """Feature size of each modality, in the order of the columns of `present`."""
    id_kind: Literal["int64", "str"]
    classes: int | None
    """Number of classes, None without labels."""
    label_names: tuple[str, ...] | None
    payload: tuple[str, ...]
    numbered: bool = False
    """True where the file has no ids, so that the number of its row stands for an item."""
    columns: tuple[str, ...] = field(default=(), compare=False)
    """All columns of the file, for messages."""
    left_out: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Columns that cannot be payload, and why."""

    def check_ids(self, *, row_ids: bool) -> None:
        """Check that items are stored under ids that somebody chose.

        Args:
            row_ids: whether row numbers were asked for.

        Raises:
            InputError: the file has no ids and row numbers were not asked for; or they were, and it has ids.
        """
        if row_ids and not self.numbered:
            raise InputError(f"{self.path} has ids of its own: leave --row-ids out.")
        if self.numbered and not row_ids:
            likely = likely_ids(self.columns)
            raise InputError(
                f"{self.path} has no column of ids ({', '.join(ID_NAMES)}); columns: {listing(self.columns)}. "
                f"Name it with --id-column{f' {likely}' if likely else ' COLUMN'}, or take row numbers as ids with "
                "--row-ids."
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, or their numbers where they have no names; none without labels."""
        return numbered_classes(self.classes or 0) if self.label_names is None else self.label_names

    def check_labels(self) -> None:
        """Raise InputError where the items have no labels."""
        if self.classes is None:
            raise InputError(
                f"{self.path} has no labels: what is relevant cannot be told. Name their column with --labels-column."
            )


class FeatureSource(ABC):
    """A file, or one split of it, as a stream of feature tables. A format implements `ids` and `pieces`."""

    info: SourceInfo

    @abstractmethod
    def ids(self) -> Iterator[Ids]:
        """Yield the ids alone, in the file's order, in batches: for finding duplicates before anything is written."""

    @abstractmethod
    def pieces(self, size: int, start: int) -> Iterator[FeatureTable]:
        """Yield the rows from `start` on, in the file's order, in tables of any length.

        Each table is checked (`FeatureTable.build`). `size` is the number of rows in a batch that is made of them.
        """

    def payload_blocks(self, names: Sequence[str]) -> Iterator[tuple[int, dict[str, Sequence[Any]]]]:
        """Yield these payload columns alone, in blocks, each with the number of its first row.

        A format that cannot give them without the features yields nothing.
        """
        yield from ()

    def id_blocks(self) -> Iterator[tuple[int, Ids]]:
        """Yield the ids as `ids` does, each block with the number of its first row."""
        first = 0
        for ids in self.ids():
            yield first, ids
            first += len(ids)

    def batches(self, size: int, *, start: int = 0) -> Iterator[FeatureTable]:
        """Yield the rows from `start` on, `size` at a time, in the file's order.

        Each batch is checked (`FeatureTable.build`). All batches have the same modalities in the same order, the same
        classes and the same payload columns. Memory holds one batch, whatever the size of the file. The exceptions are
        arrays of MATLAB v5 files, and arrays of `.npz` files in Fortran order: they are read whole.

        Raises:
            InputError: names the file and the row that cannot be used.
        """
        for batch in rebatch(self.pieces(size, start), size):
            yield batch.numbered(start)
            start += len(batch)

    def read(self) -> FeatureTable:
        """Return all rows as one table.

        Raises:
            InputError: where there are none, or one cannot be used.
        """
        return FeatureTable.concat(self.batches(READ_ROWS), self.info.rows)


class TableSource(FeatureSource):
    """A table in memory, as a source."""

    def __init__(self, path: Path, table: FeatureTable) -> None:
        kind = "int64" if table.ids.dtype.kind == "i" else "str"
        classes = None if table.labels is None else table.labels.shape[1]
        self.info = SourceInfo(path, len(table), table.dims, kind, classes, table.label_names, ())  # type: ignore[arg-type]
        self._table = table

    def ids(self) -> Iterator[Ids]:
        """Yield all ids at once."""
        yield self._table.ids

    def pieces(self, size: int, start: int) -> Iterator[FeatureTable]:
        """Yield the rows from `start` on in one table."""
        yield self._table.rows(start, len(self._table))


def numbered_ids(start: int, rows: int, size: int, first_id: int = 0) -> Iterator[Ids]:
    """Yield ids for rows of a file without ids: their numbers from `start` up to `rows`, counted from `first_id`."""
    for begin in range(start, rows, size):
        yield np.arange(begin, min(begin + size, rows), dtype=np.int64) + first_id


def rebatch(tables: Iterable[FeatureTable], size: int) -> Iterator[FeatureTable]:
    """Yield the same rows, `size` to a table, however many come at a time."""
    held: list[FeatureTable] = []
    count = 0
    for table in tables:
        begin = 0
        while begin < len(table):
            piece = table.rows(begin, begin + size - count)
            held.append(piece)
            begin += len(piece)
            count += len(piece)
            if count == size:
                yield FeatureTable.concat(held, count) if len(held) > 1 else piece
                held, count = [], 0
    if held:
        yield FeatureTable.concat(held, count)


@contextmanager
def reading(where: object, kind: str = "", errors: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Name the file in the messages of errors.

    Args:
        where: the file, and the split where there are several. It is put before messages that know only rows and
            columns.
        kind: what the file should be, such as "parquet".
        errors: what a library raises where a file is no `kind`; they become InputError.

    Raises:
        InputError: as described.
    """
    try:
        yield
    except InputError as error:
        message = str(error)
        raise InputError(message if message.startswith(str(where)) else f"{where}: {message}") from None
    except errors as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{where} cannot be read as {kind}: {said}") from error
