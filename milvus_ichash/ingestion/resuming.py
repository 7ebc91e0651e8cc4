"""Where an ingest or an import that was cut off goes on.

into a collection     at the first row of the source whose id is not there; later rows that are there are passed over
into files            behind the last whole file; the whole files must hold the first rows of the source
bulk import           with the files that have no row in the collection yet
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable, Ids, Mask
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.retries import Retries
from milvus_ichash.ingestion import bulk_files
from milvus_ichash.ingestion.bulk_files import Content, ImportFile, ImportManifest
from milvus_ichash.io.feature_source import FeatureSource

_LOOKED_UP = 1000
"""About how many ids of a file are looked up: a sample is enough, since a server imports all of a file or nothing."""


def absent_ids(index: HashIndex, retries: Retries, ids: Ids) -> Mask:
    """Return which of these ids are not in the collection: bool (n,)."""
    there = retries(lambda: index.existing(ids))
    return np.array([key not in there for key in ids.tolist()], np.bool_)


def first_absent_row(source: FeatureSource, size: int, absent: Callable[[Ids], Mask]) -> int:
    """Return the number of the first row whose id is not there: the features of those before it need not even be read.

    Args:
        source: the rows.
        size: number of ids that are looked up at a time.
        absent: tells which ids are not there, as `absent_ids`.

    Returns:
        A row number from 0; the number of all rows where every id is there.
    """
    for first, ids in source.id_blocks():
        for begin in range(0, len(ids), size):
            mask = absent(ids[begin : begin + size])
            if mask.any():
                return first + begin + int(mask.argmax())
    return source.info.rows


def without_rows_there(table: FeatureTable, absent: Callable[[Ids], Mask]) -> FeatureTable:
    """Return the items of a table whose ids are not there."""
    mask = absent(table.ids)
    return table if mask.all() else table.take(mask)


def whole_files(folder: Path, content: Content, *, resume: bool) -> list[Path]:
    """Return the whole files that a run before this one left in a folder; a half one is removed.

    Raises:
        InputError: it is no folder, or not empty without `resume`, or its files hold something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"'{folder}' is no folder: --to-parquet takes one, which is made where it is not there.")
    if not folder.exists() or not any(folder.iterdir()):
        return []
    if not resume:
        raise InputError(
            f"'{folder}' is not empty: take another folder, or go on with the files of a run that broke off (--resume)."
        )
    parts = bulk_files.parts_in(folder)
    for part in parts:
        if bulk_files.content_of(part) != content:
            raise InputError(
                f"'{part}' was made with another bundle, or with other --codes, --bits, --fields or labels: "
                "take another folder."
            )
    return parts


def rows_in_files(parts: Sequence[Path], source: FeatureSource) -> int:
    """Return the number of rows in these files.

    Raises:
        InputError: they are not the source's first rows.
    """
    wanted = chain.from_iterable(ids.tolist() for ids in source.ids())
    rows = 0
    for part in parts:
        for found in bulk_files.ids_of(part):
            if found != next(wanted, None):
                raise InputError(
                    f"'{part}' holds the id {found!r}, which is not that of row {rows} of {source.info.path}: "
                    "take another folder."
                )
            rows += 1
    return rows


def files_not_imported(index: HashIndex, folder: Path, manifest: ImportManifest, retries: Retries) -> list[ImportFile]:
    """Return the files whose rows are not in the collection.

    Raises:
        InputError: it holds rows that are not of these files, or only some of the rows of one.
    """
    rows = retries(index.count)
    absent = []
    for file in manifest.files:
        ids = bulk_files.ids_of(folder / file.name) if rows else []
        some = ids[:: max(1, len(ids) // _LOOKED_UP)]
        if not some or not retries(lambda some=some: index.existing(some)):  # type: ignore[misc]
            absent.append(file)
    if rows != manifest.rows - sum(file.rows for file in absent):
        raise InputError(
            f"collection '{index.collection}' holds {rows:,} rows that are not of these files, or not as they were "
            "imported; Milvus would keep both rows of an id: import into another collection, or `milvus-ichash ingest` "
            "the data."
        )
    return absent
