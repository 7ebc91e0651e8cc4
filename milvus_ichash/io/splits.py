"""The splits of a feature file, which is opened once for all of them."""

from __future__ import annotations

from pathlib import Path

from milvus_ichash.choices import FEATURE_ENDINGS, Split
from milvus_ichash.errors import InputError
from milvus_ichash.io.array_file import READERS, array_sources
from milvus_ichash.io.feature_source import SPLITS, ColumnNames, FeatureSource, Holdout
from milvus_ichash.io.subsets import holdout_splits


class Splits(dict[Split, FeatureSource]):
    """An opened file: split -> its rows. "all" is always there; a file that is one table has nothing else."""

    def choose(self, wanted: Split | None, *usual: Split) -> FeatureSource:
        """Return the rows to work with.

        Args:
            wanted: the split asked for, or None.
            usual: the splits to take where none is asked for: the first of them that the file has. In a file without
                splits, all rows are taken.

        Raises:
            InputError: there is no such split; the message names those that there are.
        """
        if wanted is None and len(self) == 1:
            return self["all"]
        split = wanted or ([name for name in usual if name in self] or usual)[0]
        if split in self:
            return self[split]
        path = self["all"].info.path
        if len(self) == 1:
            raise InputError(
                f"{path} is one table without splits, so there is no '{split}' split: "
                "make splits with a holdout (--holdout N takes N queries)."
            )
        raise InputError(f"{path} has no '{split}' split; it has: {self.names()}.")

    def names(self) -> str:
        """Return the names of the splits, with commas between them."""
        return ", ".join(split for split in SPLITS if split in self)


def open_splits(path: str | Path, columns: ColumnNames | None = None, holdout: Holdout | int | None = None) -> Splits:
    """Open a feature file once and return its splits.

    Headers are read, and the label column where the number of classes depends on it; features are read when a split is
    asked for them. `milvus_ichash.io.parquet_source` and `milvus_ichash.io.array_roles` say how columns are found,
    `milvus_ichash.io.layouts` which files have splits of their own. For such a file "all" is its retrieval split
    followed by its query split.

    Args:
        path: `.parquet`, `.npz`, `.h5`, `.mat`, or a folder with the `.mat` files of one data set.
        columns: which columns hold what, where their names do not say it.
        holdout: how to make splits of a file that is one table, or just the number of queries.

    Raises:
        InputError: no such file, an ending that is not known, a corrupt or empty file, a column that is not there, a
            holdout of a file that has splits of its own, or one that leaves a split without rows.
        BackendMissingError: `.h5` and `.mat` without the extra `files`.

    Example:
        >>> splits = open_splits("items.parquet", holdout=500)
        >>> queries, database = splits["query"], splits["retrieval"]
    """
    path = Path(path)
    splits = Splits(_sources(path, columns or ColumnNames()))
    if holdout is None:
        return splits
    if len(splits) > 1:
        raise InputError(f"{path} has splits of its own ({splits.names()}): leave the holdout out.")
    return Splits(holdout_splits(splits["all"], holdout))


def open_source(
    path: str | Path,
    *,
    split: Split = "all",
    columns: ColumnNames | None = None,
    holdout: Holdout | int | None = None,
) -> FeatureSource:
    """Open one split of a feature file, or all of its rows; `open_splits` explains the arguments.

    Raises:
        InputError: as `open_splits`; or there is no such split.
        BackendMissingError: `.h5` and `.mat` without the extra `files`.
    """
    return open_splits(path, columns, holdout).choose(split)


def open_database(queries: Splits, path: Path | None = None, columns: ColumnNames | None = None) -> FeatureSource:
    """Return the rows to search in: the retrieval split of a file, or all rows of a file without splits.

    Args:
        queries: the splits of the file that the queries come from.
        path: the database's file; None where it is the queries' own, which is not opened again.
        columns: which columns of `path` hold what.

    Raises:
        InputError: queries and database would be the same rows, because both are one file without splits; or as
            `open_splits`.
    """
    own = queries["all"].info.path
    if path is not None and path != own:
        return open_splits(path, columns).choose(None, "retrieval")
    if len(queries) == 1:
        raise InputError(
            f"{own} has no splits, so its rows would be queries and database at once: "
            "cut off N queries with --holdout N, or name the database's file with --against."
        )
    return queries.choose(None, "retrieval")


def _sources(path: Path, columns: ColumnNames) -> dict[Split, FeatureSource]:
    if not path.exists():
        raise InputError(f"no such file: {path}")
    ending = path.suffix.lower()
    if ending == ".parquet" and path.is_file():
        # pyarrow takes long to import.
        from milvus_ichash.io.parquet_source import ParquetSource

        return {"all": ParquetSource(path, columns)}
    if ending in READERS or path.is_dir():
        return array_sources(path, columns)
    raise InputError(f"{path} has the ending '{path.suffix}'; feature files are {', '.join(FEATURE_ENDINGS)}.")
