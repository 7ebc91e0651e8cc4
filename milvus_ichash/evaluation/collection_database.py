"""What an evaluation reads out of a collection: its rows with their labels, and what is to be said about it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.database import Database, labels_from_lists
from milvus_ichash.index import index_building

if TYPE_CHECKING:
    from milvus_ichash.index.hash_index import HashIndex


def read_database(index: HashIndex, codes: tuple[str, ...]) -> Database:
    """All rows of a collection; `codes` are read along.

    Raises:
        InputError: the collection is empty, or has no labels.
        MilvusError: Milvus was not reached in time, or refused.
    """
    rows = index.read_back(codes=codes)
    if not len(rows.ids):
        raise InputError(f"collection '{index.collection}' is empty: ingest something into it first.")
    if rows.labels is None:
        raise InputError(
            f"collection '{index.collection}' has no labels, so what is relevant cannot be told: ingest its items again from a file with "
            "labels (--labels-column); that replaces the rows by their ids."
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


def about(index: HashIndex) -> dict[str, Any]:
    """What the result says of a collection and of the Milvus that holds it."""
    connection = index.connection
    states = index_building.states(connection, index.collection)
    return {
        "collection": index.collection,
        "index": states,
        "index_kind": index.spec.kind,
        "nlist": index.spec.nlist,
        "rows_not_indexed": _rows_not_indexed(index, states),
        "milvus": f"Milvus Lite {connection.server_version}" if connection.is_lite else connection.server_version,
        "address": connection.address,
        "pymilvus": version("pymilvus"),
    }


def _rows_not_indexed(index: HashIndex, states: Mapping[str, Mapping[str, Any]]) -> int:
    """Rows that a search of BIN_IVF_FLAT looks through one by one, since their index is not built yet; 0 for BIN_FLAT."""
    if index.spec.kind == "BIN_FLAT":
        return 0
    pending = max((int(state.get("pending_index_rows", 0)) for state in states.values()), default=0)
    return max(pending, index_building.rows_without_index(index.connection, index.collection, index.count()))


def not_indexed_note(index: HashIndex, rows: int) -> str:
    """A remark on rows that are not indexed."""
    return (
        f"{rows} rows of '{index.collection}' are not indexed yet, so the recall is not the index's (it is better than it will be): wait "
        f"with `milvus-ichash index --collection {index.collection} --wait`, then evaluate again."
    )
