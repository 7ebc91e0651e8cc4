"""Options of `compare` that say what is made of its data file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.cli.options import DATA, ColumnOptions, HoldoutByOption, HoldoutOption, holdout_of

if TYPE_CHECKING:
    from ichash_export.compare.dataset import DataFile


@dataclass(frozen=True)
class DataFileOptions(ColumnOptions):
    """The columns of the data file, and what is made of its items."""

    holdout: HoldoutOption = None
    holdout_by: HoldoutByOption = None
    zeros_missing: Annotated[
        list[str] | None,
        typer.Option(
            "--zeros-missing",
            help="Modality that counts as missing where an item has only zeros for it; may be given several times.",
            metavar="MODALITY",
            rich_help_panel=DATA,
        ),
    ] = None
    complete_only: Annotated[
        bool,
        typer.Option(
            "--complete-only",
            help="Leave out items that lack a modality, before the file is split.",
            rich_help_panel=DATA,
        ),
    ] = False
    queries_from_train: Annotated[
        int,
        typer.Option(
            "--queries-from-train",
            min=0,
            help="Take this many training items, drawn at random, as queries in place of the query split: for choosing "
            "settings. They are neither trained on nor found.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = 0
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="Name of the data in the results.",
            rich_help_panel=DATA,
            show_default="DATA without its ending",
        ),
    ] = None

    def file(self, path: Path) -> DataFile:
        """Return the data file, not read yet."""
        from ichash_export.compare.dataset import DataFile

        return DataFile(
            path,
            self.name or path.stem,
            self.column_names,
            holdout_of(self.holdout, self.holdout_by),
            tuple(self.zeros_missing or ()),
            self.complete_only,
            self.queries_from_train,
        )
