"""The published figures: every cell of the papers' tables of results, as data in `recipes/<paper>/published.csv`.

A file has one row for each cell, in the order in which the table prints them. A field is empty where the paper does not
state the value, or where it does not apply. The columns are:

    table, page            number of the table, and the page of the paper where it is known
    dataset                MIRFlickr-25K, NUS-WIDE, MS COCO, NUS-WIDE-10K or IAPR TC-12, however the paper spells it
    method                 as printed, without the year; "Ours" is replaced by the name of the paper's method
    variant                an ablation, by its name in `Method.ablations`
    bits                   code length
    train_pdr, query_pdr   share of training items and of queries that lack one modality
    level, use             how many items lack a modality, and what these are used for (CICH)
    task                   as in `evaluation.tasks`: `image->text`; `both`, `image` or `text`, where all queries are
                           asked with these; `observed`, where each is asked with what it has; `mean` of both
                           directions
    metric                 `mAP` over the whole database, or `mAP drop`: mAP of the level easy minus that of hard
    value                  as a fraction, also where the table prints per cent

PMCH's ablations are named so: "w/o Completion" is `no completion`, "+GCAE" `graph autoencoder`, "+MLP" `MLP`,
"+anchors" `random anchors`, "+KNN" and "+GAT" `KNN` and `GAT`, "+TEs" `transformer`.

Some things are not stated at the table and were read from the text: CICH's Table III gives one figure for both
directions, which is taken for their mean, as in Table IV; CICH's Tables II to V use its default, Extend; PMCH's Table 2
is on MIRFlickr-25K (section 4.2). Figures are as printed: some means in CICH's Table II (DADH and DCHMT on
MIRFlickr-25K) are not the means of the cells beside them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ichash_export.methods import registry
from ichash_export.papers.recipes import recipes_folder
from ichash_export.train.options import validated
from milvus_ichash.choices import Level
from milvus_ichash.errors import InputError, check_known
from milvus_ichash.strict_model import StrictModel

Use = Literal["discard", "enhance", "extend"]
FILE = "published.csv"


class PublishedFigure(StrictModel):
    """One cell of a published table; the fields are the columns of the file."""

    table: str
    """Number of the table with the name of the paper before it, such as "PMCH 3"."""
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
    """Return the cells of all tables by the name of the table, such as "PMCH 3".

    Raises:
        InputError: a file is not as described above.
    """
    tables: dict[str, list[PublishedFigure]] = {}
    for path in sorted(recipes_folder().glob(f"*/{FILE}")):
        for figure in read_figures(path):
            tables.setdefault(figure.table, []).append(figure)
    return {name: tuple(figures) for name, figures in tables.items()}


def list_tables() -> list[dict[str, Any]]:
    """Return a row for each published table: its name, its number of cells, its data sets, and its methods that we
    have."""
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
    """Return the cells of one table, such as "PMCH 3" (or "pmch 3").

    Raises:
        InputError: there is no such table; the message lists the tables.
    """
    tables = published_tables()
    wanted = " ".join(name.upper().split())
    check_known(wanted, tables, "published table")
    return tables[wanted]


def published_figures(method: str) -> list[PublishedFigure]:
    """Return all cells of a method from the tables of all papers, by the name that `train` has for the method."""
    return [figure for figures in published_tables().values() for figure in figures if figure.method.lower() == method]


def read_figures(path: Path) -> Iterator[PublishedFigure]:
    """Yield the cells of the file of one paper.

    Raises:
        InputError: a row cannot be used; the message names the file, the line and the column.
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
