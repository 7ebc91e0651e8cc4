"""What the papers publish: every cell of their tables of results, as data in `recipes/<paper>/published.csv`.

One row a cell, row by row as the table prints them. An empty field: the paper does not state it, or it does not apply.

    table, page            number of the table; page of the paper, where the text at hand tells it
    dataset                MIRFlickr-25K, NUS-WIDE, MS COCO, NUS-WIDE-10K or IAPR TC-12, whichever way the paper spells it
    method                 as printed, without the year; "Ours" is the paper's method
    variant                an ablation, by its name in `Method.ablations`
    bits                   length of the codes
    train_pdr, query_pdr   share of training items and of queries that lack one modality
    level, use             incompleteness of the training items and of the database, and what the incomplete ones are used for (CICH)
    task                   as in `evaluation.tasks`: `image->text`; `both`, `image` or `text`: all queries are asked with these;
                           `observed`: with what each has left. `mean`: of both directions
    metric                 `mAP` over the whole database; `mAP drop`: that of the level easy minus that of hard
    value                  as a fraction, also where a table prints per cent

PMCH's ablations: "w/o Completion" is `no completion`, "+GCAE" `graph autoencoder`, "+MLP" `MLP`, "+anchors" `random anchors`,
"+KNN" and "+GAT" `KNN` and `GAT`, "+TEs" `transformer`. Read from the papers' text, not stated at the table: CICH's Table III gives
one figure for both directions, taken for their mean, as in Table IV; Tables II to V use its default, Extend; PMCH's Table 2 is on
MIRFlickr-25K (its section 4.2). Figures are as printed: some means of CICH's Table II (DADH and DCHMT on MIRFlickr-25K) are not those
of the cells beside them.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ichash_export.methods import registry
from ichash_export.papers.recipes import recipes_folder
from ichash_export.train.options import validated
from milvus_ichash.choices import Level
from milvus_ichash.errors import InputError

Use = Literal["discard", "enhance", "extend"]
FILE = "published.csv"


class PublishedFigure(BaseModel):
    """One cell of a published table; the fields are the file's columns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    """With the paper's name before it: "PMCH 3"."""
    page: int | None = None
    dataset: str
    method: str
    variant: str = ""
    bits: int = Field(gt=0)
    train_pdr: float | None = Field(None, ge=0, lt=1)
    query_pdr: float | None = Field(None, ge=0, lt=1)
    level: Level | None = None
    use: Use | None = None
    task: str
    metric: Literal["mAP", "mAP drop"] = "mAP"
    value: float = Field(ge=-1, le=1)


def published_tables() -> dict[str, tuple[PublishedFigure, ...]]:
    """The cells of all tables by the table's name, "PMCH 3".

    Raises:
        InputError: a file that is not as described above.
    """
    tables: dict[str, list[PublishedFigure]] = {}
    for path in sorted(recipes_folder().glob(f"*/{FILE}")):
        for figure in read_figures(path):
            tables.setdefault(figure.table, []).append(figure)
    return {name: tuple(figures) for name, figures in tables.items()}


def list_tables() -> list[dict[str, Any]]:
    """Return a row for each published table: its name, its number of cells, its data sets, and its methods that we have."""
    here = registry.method_names()
    return [
        {
            "table": name,
            "cells": len(figures),
            "data": list(dict.fromkeys(figure.dataset for figure in figures)),
            "ours": list(dict.fromkeys(figure.method for figure in figures if figure.method.lower() in here)),
        }
        for name, figures in published_tables().items()
    ]


def published_table(name: str) -> tuple[PublishedFigure, ...]:
    """The cells of one table, "PMCH 3" (or "pmch 3").

    Raises:
        InputError: there is no such table; the message lists those that there are.
    """
    tables = published_tables()
    wanted = " ".join(name.upper().split())
    if wanted not in tables:
        close = difflib.get_close_matches(wanted, tables, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise InputError(f"there is no published table '{name}'; there are: {', '.join(tables)}.{hint}")
    return tables[wanted]


def published_figures(method: str) -> list[PublishedFigure]:
    """All cells of a method, in whichever paper's tables, by the name that `train` knows it by."""
    return [figure for figures in published_tables().values() for figure in figures if figure.method.lower() == method]


def read_figures(path: Path) -> Iterator[PublishedFigure]:
    """The cells of one paper's file.

    Raises:
        InputError: names the file, the line and the column that cannot be used.
    """
    paper = path.parent.name.upper()
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, strict=True)
        for row in rows:
            where = f"'{path}', line {rows.line_num}"
            if None in row or None in row.values():
                raise InputError(
                    f"{where}: expected the {len(rows.fieldnames or ())} columns that the first line names."
                )
            stated = {name: value for name, value in row.items() if value}
            if "table" in stated:
                stated["table"] = f"{paper} {stated['table']}"
            yield validated(PublishedFigure, stated, where)
