"""What every reader of feature tables offers: a look at the columns, the ids alone, and the rows in batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from milvus_ichash.features import FeatureTable, Ids

Split = Literal["all", "query", "retrieval", "train"]


@dataclass(frozen=True)
class Columns:
    """Which columns hold what, where the names do not say it by themselves."""

    modalities: Mapping[str, str] | None = None
    """Modality -> column. None: every column that holds vectors of numbers, under its own name."""
    id: str | None = None
    labels: str | None = None


@dataclass(frozen=True)
class SourceInfo:
    """What can be said of a source without reading its features."""

    path: Path
    rows: int
    dims: dict[str, int]
    """Feature size of each modality, in the order of the columns of `present`."""
    id_kind: Literal["int64", "str"]
    classes: int | None
    """Number of classes, None without labels."""
    label_names: tuple[str, ...] | None
    payload: tuple[str, ...]
    splits: tuple[Split, ...]
    """Splits that the file itself holds (`I_db`, `ImgQuery`, ...); empty where it is one table."""


class FeatureSource(ABC):
    """A file, or one split of it, as a stream of feature tables."""

    info: SourceInfo

    @abstractmethod
    def ids(self) -> Iterator[Ids]:
        """The ids alone, in the file's order, in batches: for finding duplicates before anything is written."""

    @abstractmethod
    def batches(self, size: int, *, start: int = 0) -> Iterator[FeatureTable]:
        """The rows from `start` on, `size` at a time, in the file's order, each batch checked (`FeatureTable.build`).

        All batches have the same modalities in the same order, the same classes and the same payload columns.
        Memory holds one batch, whatever the size of the file (MATLAB v5 files excepted, which are read whole).
        """

    def read(self) -> FeatureTable:
        """All rows as one table.

        Raises:
            InputError: where there are none.
        """
        raise NotImplementedError


def open_source(path: str | Path, *, split: Split = "all", columns: Columns | None = None) -> FeatureSource:
    """Open a feature file: `.parquet`, `.npz`, `.h5`, `.mat`.

    Raises:
        InputError: no such file, an ending that is not known, a split or column that is not there (with those that are).
    """
    raise NotImplementedError
