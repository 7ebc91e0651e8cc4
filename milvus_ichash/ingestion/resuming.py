"""Where an ingest or an import that was cut off goes on.

into a collection     every row is encoded and compared with what is there; those that are just so are passed over
into files            behind the whole files that hold just the first rows of the source as they would be written now
bulk import           with the files that have no row in the collection yet
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable
from milvus_ichash.index.batch import Batch
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.retries import Retries
from milvus_ichash.ingestion import bulk_files
from milvus_ichash.ingestion.bulk_files import Content, ImportFile, ImportManifest
from milvus_ichash.io.feature_source import FeatureSource

_LOOKED_UP = 1000
"""About how many ids of a file are looked up: a sample is enough, since a server imports all of a file or nothing."""


def changed_part(index: HashIndex, batch: Batch, retries: Retries) -> Batch | None:
    """Return the items of a batch that are not in the collection, or not just so; None where all of them are."""
    same = retries(lambda: index.unchanged(batch))
    if same.all():
        return None
    return batch.take(~same) if same.any() else batch


def whole_files(folder: Path, content: Content, *, resume: bool) -> list[Path]:
    """Return the whole files that a run before this one left in a folder; a half one is removed.

    Raises:
        InputError: it is no folder, or not empty without `resume`, or its files hold something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"'{folder}' is no folder: --to-parquet takes one, which is made where it is not there.")
    if not folder.exists():
        return []
    parts = bulk_files.parts_in(folder)
    if not any(folder.iterdir()):
        return []
    if not resume:
        raise InputError(
            f"'{folder}' is not empty: take another folder, or go on with the files of a run that broke off (--resume)."
        )
    for part in parts:
        if bulk_files.content_of(part) != content:
            raise InputError(
                f"'{part}' was made with another bundle, or with other --codes, --bits, --fields or labels: "
                "take another folder."
            )
    return parts


def check_ids_in_files(parts: Sequence[Path], source: FeatureSource) -> None:
    """Raise InputError where the ids in these files are not those of the source's first rows."""
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


def unchanged_files(
    parts: Sequence[Path],
    source: FeatureSource,
    make_batch: Callable[[FeatureTable], Batch],
    content: Content,
    size: int,
) -> list[Path]:
    """Return the files up to the first that does not hold just what this run would write: features may have changed."""
    row = 0
    for number, part in enumerate(parts):
        if not bulk_files.holds_just(part, map(make_batch, source.batches(size, start=row)), content):
            return list(parts[:number])
        row += bulk_files.rows_of(part)
    return list(parts)


def files_not_imported(index: HashIndex, folder: Path, manifest: ImportManifest, retries: Retries) -> list[ImportFile]:
    """Return the files whose rows are not in the collection.

    Raises:
        InputError: it holds rows that are not of these files, other rows of the same ids, or only some of the rows of
            a file.
    """
    rows = retries(index.count)
    absent = []
    for file in manifest.files:
        ids = bulk_files.ids_of(folder / file.name) if rows else []
        some = ids[:: max(1, len(ids) // _LOOKED_UP)]
        there = retries(lambda some=some: index.existing(some)) if some else set()  # type: ignore[misc]
        if not there:
            absent.append(file)
            continue
        batch = bulk_files.some_rows(folder / file.name, manifest, max(1, len(ids) // _LOOKED_UP))
        same = retries(lambda batch=batch: index.unchanged(batch))  # type: ignore[misc]
        if any(key in there for key, just_so in zip(batch.ids, same.tolist(), strict=True) if not just_so):
            raise InputError(
                f"collection '{index.collection}' holds other rows of the ids in '{file.name}' than the file: they "
                "were made from other data. Import into another collection, or `milvus-ichash ingest` the data, which "
                "replaces rows."
            )
    if rows != manifest.rows - sum(file.rows for file in absent):
        raise InputError(
            f"collection '{index.collection}' holds {rows:,} rows that are not of these files, or not as they were "
            "imported; Milvus would keep both rows of an id: import into another collection, or `milvus-ichash ingest` "
            "the data."
        )
    return absent
