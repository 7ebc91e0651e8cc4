"""The indexes of a collection's codes: built, replaced, waited for, and asked how far Milvus is with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from milvus_ichash.errors import MilvusError, MismatchError
from milvus_ichash.index.connection import Connection, import_pymilvus
from milvus_ichash.index.index_spec import METRIC, IndexSpec

IndexInfo = dict[str, Any]
"""What Milvus says of an index: `index_name`, `index_type`, `metric_type`, `nlist`, `state`, `indexed_rows`, ..."""

_POLL_SECONDS = 0.5
_FLUSH_SECONDS = 120.0
"""A server that is busy with what was just written takes long."""
_SMALL_SEGMENT = 1024
"""Segments below so many rows get no index: Milvus's default for `minSegmentNumRowsToEnableIndex`."""
_SEALED = 3
"""`SegmentState.Sealed`."""


def indexes(connection: Connection, collection: str) -> dict[str, IndexInfo]:
    """Return what Milvus says of each index of the collection, by the name of its field."""
    client, columnar, timeout = connection.client, connection.columnar, connection.timeout
    with connection.calling(f"describe the indexes of '{collection}'"):
        if columnar is not None:
            return columnar.indexes(collection, timeout)
        names = client.list_indexes(collection, timeout=timeout)
        found = [client.describe_index(collection, name, timeout=timeout) for name in names]
    return {info["field_name"]: info for info in found if info is not None}


def build(connection: Connection, collection: str, codes: Iterable[str], spec: IndexSpec) -> None:
    """Have Milvus index these codes, which goes on in the background."""
    params = connection.client.prepare_index_params()
    for code in codes:
        # Without an explicit metric, Milvus Lite takes JACCARD.
        params.add_index(
            code, index_type=spec.kind, metric_type=METRIC, params={} if spec.nlist is None else {"nlist": spec.nlist}
        )
    # `sync`: pymilvus 3 would wait until all of it is built.
    connection.call(f"index the collection '{collection}'", "create_index", collection, params, writes=True, sync=False)


def rebuild(connection: Connection, collection: str, codes: Iterable[str], spec: IndexSpec) -> None:
    """Give these codes this index, and load the collection: where they have another one, it is dropped first.

    Nothing can be searched meanwhile. Cut off in the middle, the collection has no index: whoever opens it next makes a
    BIN_FLAT.

    Raises:
        InputError: an index that this Milvus does not take.
        MilvusError: Milvus could not.
    """
    spec = IndexSpec.of(spec.kind, spec.nlist, None, lite=connection.is_lite)
    found = indexes(connection, collection)
    wrong = [code for code in codes if _spec_of(found.get(code, {})) != spec]
    if wrong:
        client, timeout = connection.client, connection.timeout
        with connection.calling(f"drop the index of '{collection}'", writes=True):
            client.release_collection(collection, timeout=timeout)
            for code in found.keys() & wrong:
                client.drop_index(collection, found[code]["index_name"], timeout=timeout)
        build(connection, collection, wrong, spec)
    load(connection, collection)


def common_spec(collection: str, infos: Mapping[str, IndexInfo]) -> IndexSpec:
    """Return the index that all of these codes have.

    Raises:
        MismatchError: an index of another kind or metric, or different ones.
    """
    again = f"with `milvus-ichash index --collection {collection}`."
    specs: set[IndexSpec] = set()
    for code, info in infos.items():
        if (metric := info.get("metric_type")) != METRIC:
            raise MismatchError(
                f"collection '{collection}' is not as its description says: the index on '{code}' has the metric "
                f"{metric}, not {METRIC}. Make it anew with `ingest --recreate`."
            )
        spec = _spec_of(info)
        if spec is None:
            raise MismatchError(
                f"collection '{collection}' is not as it was made: the index on '{code}' is {info.get('index_type')}, "
                f"not BIN_FLAT or BIN_IVF_FLAT. Build it again {again}"
            )
        specs.add(spec)
    if len(specs) > 1:
        raise MismatchError(f"the codes of collection '{collection}' have different indexes: build them again {again}")
    return specs.pop()


def load(connection: Connection, collection: str) -> None:
    """Load the collection where it is not loaded. The next searches are at Strong consistency and see all of it."""
    client, timeout = connection.client, connection.timeout
    loaded = import_pymilvus().client.types.LoadState.Loaded
    with connection.calling(f"load the collection '{collection}'"):
        if client.get_load_state(collection, timeout=timeout)["state"] != loaded:
            client.load_collection(collection, timeout=timeout)
    connection.changed(collection)


def flush(connection: Connection, collection: str) -> None:
    """Have the server seal and store what was written, so that it gets indexed."""
    patience = max(connection.timeout, _FLUSH_SECONDS)
    connection.call(f"flush the collection '{collection}'", "flush", collection, timeout=patience)


def rows_stored(connection: Connection, collection: str) -> int:
    """Return the number of rows in storage, still counting those that were replaced or deleted.

    That is enough to choose an index by, and the collection need not be loaded for it.
    """
    flush(connection, collection)
    return int(connection.call(f"count the rows of '{collection}'", "get_collection_stats", collection)["row_count"])


def states(connection: Connection, collection: str) -> dict[str, IndexInfo]:
    """Return by code the kind of its index, metric, parameters, state, and on a server rows indexed and pending."""
    kept = ["index_type", "metric_type", "nlist", "state"]
    if not connection.is_lite:  # which says 0 of both, whatever is there
        kept += ["indexed_rows", "pending_index_rows"]
    found = indexes(connection, collection)
    return {code: {name: info[name] for name in kept if name in info} for code, info in found.items()}


def segments_in_memory(connection: Connection, collection: str) -> dict[str, int]:
    """Return the number of segments that a server holds in memory, and their rows; empty on Milvus Lite.

    With several replicas, the segments and rows of each count.
    """
    if connection.is_lite:
        return {}
    segments = _segments(connection, collection)
    return {"segments": len(segments), "rows in segments": sum(segment.num_rows for segment in segments)}


def rows_without_index(connection: Connection, collection: str, rows: int) -> int:
    """Return how many of so many rows are searched without their index as yet.

    Rows of segments that are too small for an index do not count. The true number may be larger: where rows were
    replaced, segments still count the old ones.
    """
    served = sum(segment.num_rows for segment in _segments(connection, collection) if _is_indexed(segment))
    return max(0, rows - int(served))


def wait_until_indexed(
    connection: Connection, collection: str, *, patience: float, advance: Callable[[int, int], object]
) -> None:
    """Have the server seal what was written, and wait until all of it is indexed and searched through the index.

    Before that, searches compare with the rows that have no index one by one, which is slow, and finds more than later.

    Args:
        connection: to a server; on Milvus Lite there is nothing to wait for.
        collection: its name.
        patience: seconds after which to give up.
        advance: called with the rows that are indexed, and with all rows.

    Raises:
        MilvusError: it was not done in time, or failed.
    """
    if connection.is_lite:
        return
    flush(connection, collection)
    end = time.monotonic() + patience
    while True:
        found = list(indexes(connection, collection).values())
        pending, done, total = _progress(collection, found)
        advance(done, total)
        if not pending and (
            all(info["index_type"] == "BIN_FLAT" for info in found) or _served(connection, collection, total)
        ):
            return
        if time.monotonic() > end:
            raise MilvusError(
                f"{total - done:,} of {total:,} rows of '{collection}' were not indexed within {patience:g} s; "
                f"it goes on by itself: see `milvus-ichash inspect --collection {collection}`."
            )
        time.sleep(_POLL_SECONDS)


def _spec_of(info: IndexInfo) -> IndexSpec | None:
    """Return an index of ours, or None for one of another kind or metric."""
    try:
        spec = IndexSpec(kind=info["index_type"], nlist=int(info["nlist"]) if "nlist" in info else None)
    except (KeyError, ValidationError):
        return None
    return spec if info.get("metric_type") == METRIC else None


def _progress(collection: str, found: list[IndexInfo]) -> tuple[bool, int, int]:
    """Return whether an index is unfinished, and how many rows of how many are indexed in the one that is least far."""
    failed = next((info for info in found if info["state"] == "Failed"), None)
    if failed is not None:
        raise MilvusError(
            f"Milvus could not index '{failed['field_name']}' of '{collection}' "
            f"({failed.get('index_state_fail_reason') or 'no reason given'}): "
            "build it again with `milvus-ichash index`."
        )
    pending = any(info["state"] != "Finished" or info["pending_index_rows"] for info in found)
    least = min(found, key=lambda info: info["indexed_rows"], default={"indexed_rows": 0, "total_rows": 0})
    return pending, least["indexed_rows"], least["total_rows"]


def _served(connection: Connection, collection: str, total: int) -> bool:
    """Return True where all sealed rows are searched through their index.

    "Finished" comes first: until a query node has taken a new segment over, seconds later, it searches the rows as they
    came.
    """
    sealed = [segment for segment in _segments(connection, collection) if int(segment.state) == _SEALED]
    return all(map(_is_indexed, sealed)) and sum(segment.num_rows for segment in sealed) >= total


def _is_indexed(segment: Any) -> bool:
    """Return True where a segment has its index, or is too small for one."""
    return bool(segment.index_name) or segment.num_rows < _SMALL_SEGMENT


def _segments(connection: Connection, collection: str) -> Any:
    """Return the segments that are searched: `state`, `index_name`, `num_rows`."""
    with connection.calling(f"look at the segments of '{collection}'"):
        if hasattr(connection.client, "list_loaded_segments"):
            return connection.client.list_loaded_segments(collection, timeout=connection.timeout)
        # Early pymilvus 2.6.
        return import_pymilvus().utility.get_query_segment_info(
            collection, timeout=connection.timeout, using=connection.alias
        )
