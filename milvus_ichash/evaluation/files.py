"""Which rows of which files are queries, and which are the database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from milvus_ichash.choices import Split
from milvus_ichash.errors import InputError
from milvus_ichash.io import ColumnNames, FeatureSource, Holdout, open_source


@dataclass(frozen=True)
class Files:
    """The files of queries and database (which may be one), and how they are read.

    Attributes:
        query_file: with the queries.
        database_file: with the rows to search in, where no collection is searched.
        columns: which columns hold what, in both.
        holdout: queries to cut off `query_file` where it is one table without splits.
    """

    query_file: Path
    database_file: Path
    columns: ColumnNames
    holdout: int | None

    def queries(self, split: Split | None) -> FeatureSource:
        """The split asked for; else the query split, or all rows of a file without splits."""
        return self._open(self.query_file, split, "query")

    def database(self) -> FeatureSource:
        """The retrieval split, or all rows of a file without splits.

        Raises:
            InputError: the queries are all rows of the same file.
        """
        source = self._open(self.database_file, None, "retrieval")
        if not source.info.splits and self.database_file == self.query_file:
            raise InputError(
                f"{self.query_file} has no splits, so its rows would be queries and database at once: cut off N queries with --holdout N, "
                "or name the database's file with --against."
            )
        return source

    def _open(self, path: Path, split: Split | None, usual: Split) -> FeatureSource:
        # A holdout is for the file that the queries are cut from.
        cut = Holdout(self.holdout) if self.holdout is not None and path == self.query_file else None
        if split:
            return open_source(path, split=split, columns=self.columns, holdout=cut)
        whole = open_source(path, columns=self.columns, holdout=cut)
        return open_source(path, split=usual, columns=self.columns, holdout=cut) if whole.info.splits else whole
