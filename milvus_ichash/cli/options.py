"""Options that several commands share, so that they have the same name and the same explanation everywhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.choices import FEATURE_ENDINGS, Device, HoldoutBy, IndexKind, Split
from milvus_ichash.cli.option_values import pairs
from milvus_ichash.errors import InputError

if TYPE_CHECKING:
    from milvus_ichash.io import ColumnNames, FeatureSource, Holdout
    from milvus_ichash.io.splits import Splits
    from milvus_ichash.settings import MilvusSettings

MILVUS = "Milvus"
DATA = "Data"
_INDEX = "Index"

FEATURE_FILES = f"{', '.join(FEATURE_ENDINGS[:-1])} or {FEATURE_ENDINGS[-1]}"

CollectionOption = Annotated[
    str, typer.Option("--collection", "-c", help="Name of the collection.", rich_help_panel=MILVUS)
]
PatienceOption = Annotated[
    float,
    typer.Option(
        "--patience",
        help="Seconds for which a call is tried again while a server is busy or cannot be reached.",
        min=0,
        rich_help_panel=MILVUS,
    ),
]
BundleOption = Annotated[
    Path, typer.Option("--bundle", "-b", help="Folder of the bundle, as `train` and `export` write it.")
]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="Where codes are made; auto: CUDA where onnxruntime has it, else the CPU.")
]
TrainingDeviceOption = Annotated[
    Device, typer.Option("--device", help="Where training runs; auto: CUDA where torch has it, else the CPU.")
]
JobsOption = Annotated[
    int, typer.Option("--jobs", "-j", min=1, help="Number of processes, which share the processor's cores.")
]
CodesOption = Annotated[
    str | None,
    typer.Option(
        "--codes",
        help="Codes that a new collection stores, with commas between them, such as text_code.",
        rich_help_panel="Writing",
        show_default="all",
    ),
]
LengthOption = Annotated[
    int | None,
    typer.Option(
        "--bits",
        help="Length to which a new collection's codes are cut; `inspect --bundle` shows the lengths that the "
        "bundle was trained for.",
        rich_help_panel="Writing",
        show_default="that of the bundle, or of the existing collection",
    ),
]
HoldoutOption = Annotated[
    int | None,
    typer.Option(
        "--holdout",
        help="Make splits for a file that has none: this many items become the query split. Every command takes the "
        "same items.",
        rich_help_panel=DATA,
    ),
]
HoldoutByOption = Annotated[
    HoldoutBy | None,
    typer.Option(
        "--holdout-by",
        help="How --holdout chooses. id: by a hash of the id, so that an item stays a query when the file is sorted or "
        "grows; order: by lot among the rows in their order, as for published figures.",
        rich_help_panel=DATA,
        show_default="id",
    ),
]


@dataclass(frozen=True)
class MilvusOptions:
    """How to reach Milvus. A new setting is a field here and in `MilvusSettings`, under the same name."""

    uri: Annotated[
        str | None,
        typer.Option(
            "--uri",
            help="Address of a Milvus server, or a file for Milvus Lite. Also: MILVUS_URI.",
            rich_help_panel=MILVUS,
            show_default="./milvus_ichash.db",
        ),
    ] = None
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            help="Token, or user:password. MILVUS_TOKEN keeps it out of the list of processes.",
            rich_help_panel=MILVUS,
            show_default=False,
        ),
    ] = None
    db_name: Annotated[
        str | None,
        typer.Option(
            "--db-name",
            help="Name of the database on the server. Also: MILVUS_DB_NAME.",
            rich_help_panel=MILVUS,
            show_default=False,
        ),
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            help="Seconds after which a call to Milvus is given up. Also: MILVUS_TIMEOUT.",
            rich_help_panel=MILVUS,
            show_default="30",
        ),
    ] = None

    def settings(self) -> MilvusSettings:
        """Return the settings out of these options, the environment and the settings files.

        Raises:
            InputError: a setting that cannot be used.
        """
        from milvus_ichash.settings import load_settings

        return load_settings(**asdict(self))


@dataclass(frozen=True)
class NewIndexOptions:
    """The index that a new collection gets."""

    kind: Annotated[
        IndexKind | None,
        typer.Option(
            "--index",
            help="BIN_FLAT compares a query with every code. BIN_IVF_FLAT, on servers only, compares it with the codes "
            "in the nearest cells.",
            rich_help_panel=_INDEX,
            show_default="BIN_FLAT up to 1,000,000 rows",
        ),
    ] = None
    nlist: Annotated[
        int | None,
        typer.Option(
            "--nlist",
            help="Number of cells of BIN_IVF_FLAT, 1 to 65,536.",
            rich_help_panel=_INDEX,
            show_default="the power of two next to √rows",
        ),
    ] = None


@dataclass(frozen=True)
class IndexOptions(NewIndexOptions):
    """The index that a collection gets, and whether it is waited for."""

    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait", help="Wait until the index is built and searches use it.", rich_help_panel=_INDEX
        ),
    ] = True


@dataclass(frozen=True)
class ColumnOptions:
    """The columns of a data file."""

    modality: Annotated[
        list[str] | None,
        typer.Option(
            "--modality",
            "-m",
            help="Column that holds a modality; repeat the option for each modality.",
            metavar="NAME=COLUMN",
            rich_help_panel=DATA,
            show_default="found by type and name",
        ),
    ] = None
    id_column: Annotated[
        str | None,
        typer.Option("--id-column", help="Column that holds the ids.", rich_help_panel=DATA, show_default="id"),
    ] = None
    labels_column: Annotated[
        str | None,
        typer.Option(
            "--labels-column", help="Column that holds the labels.", rich_help_panel=DATA, show_default="labels"
        ),
    ] = None

    @property
    def column_names(self) -> ColumnNames:
        """The names of the columns, as the readers take them.

        Raises:
            InputError: a --modality that is not NAME=COLUMN, or that comes twice.
        """
        from milvus_ichash.io import ColumnNames

        return ColumnNames(pairs(self.modality, "--modality"), self.id_column, self.labels_column)


@dataclass(frozen=True)
class DataOptions(ColumnOptions):
    """The columns and the rows of a data file."""

    split: Annotated[
        Split | None,
        typer.Option(
            "--split",
            help="Split to take, of a file that has splits or gets them by --holdout.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None
    holdout: HoldoutOption = None
    holdout_by: HoldoutByOption = None

    def open_splits(self, path: Path) -> Splits:
        """Open a file with its splits.

        Raises:
            InputError: a file or column that is not there.
        """
        from milvus_ichash.io import open_splits

        return open_splits(path, self.column_names, holdout_of(self.holdout, self.holdout_by))

    def origin(self, path: Path) -> dict[str, str | int]:
        """Return which rows of which file were asked for, for the record of a training."""
        asked = {"file": path.name, "split": self.split, "holdout": self.holdout}
        asked |= {"holdout_by": (self.holdout_by or "id") if self.holdout else None}
        return {name: value for name, value in asked.items() if value is not None}

    def open(self, path: Path, *usual: Split) -> FeatureSource:
        """Open the split asked for, else the first of the usual splits that the file has, else all its rows.

        Raises:
            InputError: a file, split or column that is not there.
        """
        return self.open_splits(path).choose(self.split, *usual)


def holdout_of(queries: int | None, by: HoldoutBy | None) -> Holdout | None:
    """Return the holdout that --holdout and --holdout-by ask for, or None.

    Raises:
        InputError: --holdout-by alone.
    """
    from milvus_ichash.io import Holdout

    if queries is None and by is not None:
        raise InputError("--holdout-by says how --holdout N chooses: give both.")
    return None if queries is None else Holdout(queries, by=by or "id")
