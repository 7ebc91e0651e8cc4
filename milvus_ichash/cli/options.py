"""Options that several commands share, so that they are named and explained alike everywhere."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from milvus_ichash.errors import InputError


class Format(str, Enum):
    """How results are written to stdout."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    markdown = "markdown"


class Device(str, Enum):
    """Where graphs run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class IndexName(str, Enum):
    """How codes are indexed."""

    BIN_FLAT = "BIN_FLAT"
    BIN_IVF_FLAT = "BIN_IVF_FLAT"


class SplitName(str, Enum):
    """Splits of a data set."""

    all = "all"
    query = "query"
    retrieval = "retrieval"
    train = "train"


_MILVUS = "Milvus"
_DATA = "Data"
_OUTPUT = "Output"

UriOption = Annotated[
    str | None,
    typer.Option(
        "--uri",
        help="Milvus server, or a file for Milvus Lite. Also MILVUS_URI.",
        rich_help_panel=_MILVUS,
        show_default="./milvus_ichash.db",
    ),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token", help="Token or user:password. Better: MILVUS_TOKEN.", rich_help_panel=_MILVUS, show_default=False
    ),
]
DbOption = Annotated[
    str | None,
    typer.Option(
        "--db-name", help="Database on the server. Also MILVUS_DB_NAME.", rich_help_panel=_MILVUS, show_default=False
    ),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        help="Seconds before a call to Milvus is given up. Also MILVUS_TIMEOUT.",
        rich_help_panel=_MILVUS,
        show_default="30",
    ),
]
CollectionOption = Annotated[
    str, typer.Option("--collection", "-c", help="Name of the collection.", rich_help_panel=_MILVUS)
]
IndexOption = Annotated[
    IndexName | None,
    typer.Option(
        "--index",
        help="BIN_FLAT compares with every code; BIN_IVF_FLAT, on servers, with those in the cells nearest to the query.",
        rich_help_panel="Index",
        show_default="BIN_FLAT up to 1,000,000 rows",
    ),
]
NlistOption = Annotated[
    int | None,
    typer.Option(
        "--nlist",
        help="Cells of BIN_IVF_FLAT, 1 to 65,536.",
        rich_help_panel="Index",
        show_default="the power of two next to √rows",
    ),
]
WaitOption = Annotated[
    bool,
    typer.Option(
        "--wait/--no-wait", help="Wait until all rows are indexed and searched by the index.", rich_help_panel="Index"
    ),
]
PatienceOption = Annotated[
    float,
    typer.Option(
        "--patience",
        help="Seconds for which a call is tried again while a server is busy or gone.",
        min=0,
        rich_help_panel=_MILVUS,
    ),
]
BundleOption = Annotated[Path, typer.Option("--bundle", "-b", help="Bundle folder, as `train` and `export` write it.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="auto: CUDA where onnxruntime has it, else CPU.")]
FormatOption = Annotated[
    Format, typer.Option("--format", "-f", help="How results are written to stdout.", rich_help_panel=_OUTPUT)
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no notes on stderr.", rich_help_panel=_OUTPUT)
]

ModalityOption = Annotated[
    list[str] | None,
    typer.Option(
        "--modality",
        "-m",
        help="NAME=COLUMN: which column holds which modality; repeat it. Default: found by type and name.",
        rich_help_panel=_DATA,
    ),
]
IdColumnOption = Annotated[
    str | None, typer.Option("--id-column", help="Column with the ids.", rich_help_panel=_DATA, show_default="id")
]
LabelsColumnOption = Annotated[
    str | None,
    typer.Option("--labels-column", help="Column with the labels.", rich_help_panel=_DATA, show_default="labels"),
]
SplitOption = Annotated[
    SplitName | None,
    typer.Option("--split", help="Split of the file, or of --holdout.", rich_help_panel=_DATA, show_default=False),
]
HoldoutOption = Annotated[
    int | None,
    typer.Option(
        "--holdout",
        help="Cut a file without splits: this many items, by lot, are its query split.",
        rich_help_panel=_DATA,
    ),
]


def mapping(pairs: list[str] | None, option: str) -> dict[str, str] | None:
    """['image=img_emb', ...] as a dict; None where nothing was given.

    Raises:
        InputError: names the pair that is not NAME=VALUE.
    """
    if not pairs:
        return None
    result = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not (sign and name and value):
            raise InputError(f"{option} takes NAME=VALUE, such as image=img_emb; got '{pair}'.")
        result[name] = value
    return result
