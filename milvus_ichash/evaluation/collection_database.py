"""The database that a collection holds: its rows with their labels, and facts about the collection for the result."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.database import Database, labels_from_lists

if TYPE_CHECKING:
    from milvus_ichash.index.hash_index import HashIndex


def read_database(index: HashIndex, codes: tuple[str, ...]) -> Database:
    """Return all rows of a collection, with the codes of these names.

    Raises:
        InputError: the collection is empty, or has no labels.
        MilvusError: Milvus was not reached in time, or refused.
    """
    rows = index.read_back(codes=codes)
    if not len(rows.ids):
        raise InputError(f"collection '{index.collection}' is empty: ingest something into it first.")
    if rows.labels is None:
        raise InputError(
            f"collection '{index.collection}' has no labels, so what is relevant cannot be told: ingest its items "
            "again from a file with labels (--labels-column); that replaces the rows by their ids."
        )
    names = index.label_names
    return Database(
        ids=rows.ids,
        labels=labels_from_lists([labels or () for labels in rows.labels], len(names) if names else None),
        label_names=names,
        present=rows.present,
        modalities=tuple(index.modalities),
        codes=rows.codes,
        all_classes=bool(names),
    )


def about_collection(index: HashIndex) -> dict[str, Any]:
    """Return what the result says about a collection and about the Milvus that holds it."""
    connection = index.connection
    return {
        "collection": index.collection,
        "index": index.index_states(),
        "index_kind": index.spec.kind,
        "nlist": index.spec.nlist,
        "rows_not_indexed": index.rows_without_index(),
        "milvus": f"Milvus Lite {connection.server_version}" if connection.is_lite else connection.server_version,
        "address": connection.address,
        "pymilvus": version("pymilvus"),
    }


def not_indexed_note(index: HashIndex, rows: int) -> str:
    """Return a note which says that so many rows are not indexed yet."""
    return (
        f"{rows} rows of '{index.collection}' are not indexed yet, so the recall is not the index's (it is better than "
        f"it will be): wait with `milvus-ichash index --collection {index.collection} --wait`, then evaluate again."
    )
