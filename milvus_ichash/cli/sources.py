"""Which rows of a feature file a command takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from milvus_ichash.cli.options import SplitName

if TYPE_CHECKING:
    from milvus_ichash.choices import Split
    from milvus_ichash.io import ColumnNames, FeatureSource


def open_part(
    path: Path, usual: Split, split: SplitName | None, holdout: int | None, columns: ColumnNames
) -> FeatureSource:
    """The split asked for, else the usual one, or all rows of a file without splits.

    Raises:
        InputError: a file, split or column that is not there.
    """
    from milvus_ichash.io import Holdout, open_source

    cut = None if holdout is None else Holdout(holdout)
    if split is not None:
        return open_source(path, split=split.value, columns=columns, holdout=cut)
    whole = open_source(path, columns=columns, holdout=cut)
    return open_source(path, split=usual, columns=columns, holdout=cut) if whole.info.splits else whole
