"""How codes are indexed: BIN_FLAT or BIN_IVF_FLAT, their parameters, and whether Milvus has done it yet.

The rule for what is left open (`default_index`, `default_nlist`, `default_nprobe`): BIN_FLAT, which finds everything, up to a
million rows, and always on Milvus Lite; above that BIN_IVF_FLAT with nlist the power of two next to the square root of the
number of rows, and nprobe a 64th of nlist, but at least 8. docs/scale.md shows what they cost and find.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from milvus_ichash.choices import IndexKind
from milvus_ichash.errors import InputError, MilvusError
from milvus_ichash.index.connection import Connection, import_pymilvus

METRIC = "HAMMING"
NLIST = (1, 65_536)
FLAT_ROWS = 1_000_000
"""Up to so many rows, BIN_FLAT is the default."""


_POLL_SECONDS = 0.5
_FLUSH_SECONDS = 120.0
"""A server that is busy with what was just written takes long."""
_SMALL_SEGMENT = 1024
"""Segments below so many rows get no index: Milvus's default for `minSegmentNumRowsToEnableIndex`."""
_TOO_LONG = 3600.0
_SEALED = 3
"""`SegmentState.Sealed`."""


class IndexSpec(BaseModel):
    """How codes are indexed.

    Attributes:
        kind: "BIN_FLAT" compares with every code, "BIN_IVF_FLAT" with those in the `nprobe` nearest of `nlist` cells.
        nlist: cells of BIN_IVF_FLAT, in each segment; None for BIN_FLAT.
    """

    model_config = ConfigDict(frozen=True)

    kind: IndexKind = "BIN_FLAT"
    nlist: int | None = None

    @classmethod
    def of(cls, kind: str | None, nlist: int | None, rows: int | None, *, lite: bool) -> IndexSpec:
        """The index asked for, and the default for what is left open.

        Args:
            kind: "BIN_FLAT", "BIN_IVF_FLAT", or None.
            nlist: 1 to 65,536, or None.
            rows: that the collection will hold, as far as that is known.
            lite: whether it is on Milvus Lite.

        Raises:
            InputError: no such index, an nlist out of range or for BIN_FLAT, or BIN_IVF_FLAT on Milvus Lite.
        """
        if kind is None:
            kind = "BIN_IVF_FLAT" if nlist is not None else default_index(rows, lite=lite)
        if nlist is not None and kind == "BIN_FLAT":
            raise InputError(
                f"nlist is {nlist}, and BIN_FLAT has no cells: leave --nlist out, or take --index BIN_IVF_FLAT."
            )
        if nlist is not None and not NLIST[0] <= nlist <= NLIST[1]:
            raise InputError(f"nlist is {nlist}; BIN_IVF_FLAT takes {NLIST[0]} to {NLIST[1]:,} cells.")
        if kind == "BIN_IVF_FLAT":
            if lite:
                raise InputError(
                    "Milvus Lite has BIN_FLAT only, which is exact: leave BIN_IVF_FLAT out, or give the address of a Milvus server (--uri)."
                )
            nlist = nlist or default_nlist(rows)
        try:
            return cls.model_validate({"kind": kind, "nlist": nlist})
        except ValidationError as error:
            raise InputError(f"there is no index '{kind}' here: take BIN_FLAT or BIN_IVF_FLAT.") from error

    def check_nprobe(self, nprobe: int | None) -> int | None:
        """The nprobe of a search: the default where None is given; None for BIN_FLAT.

        Raises:
            InputError: BIN_FLAT has none, or it is not 1 to nlist.
        """
        if self.kind == "BIN_FLAT" or self.nlist is None:
            if nprobe is not None:
                raise InputError(
                    f"nprobe is {nprobe}, and the index is BIN_FLAT, which looks at every code: leave --nprobe out."
                )
            return None
        if nprobe is None:
            return default_nprobe(self.nlist)
        if not 1 <= nprobe <= self.nlist:
            raise InputError(
                f"nprobe is {nprobe}; this collection's index has nlist {self.nlist}: take 1 to {self.nlist}."
            )
        return nprobe


def default_index(rows: int | None, *, lite: bool) -> IndexKind:
    """BIN_FLAT up to a million rows, and on Milvus Lite."""
    return "BIN_FLAT" if lite or rows is None or rows <= FLAT_ROWS else "BIN_IVF_FLAT"


def default_nlist(rows: int | None) -> int:
    """The power of two next to the square root of the number of rows, 16 to 65,536; 1,024 where it is not known."""
    return 1024 if not rows else max(16, min(NLIST[1], 2 ** round(math.log2(math.sqrt(rows)))))


def default_nprobe(nlist: int) -> int:
    """A 64th of nlist, but at least 8 (or all there are)."""
    return min(nlist, max(8, nlist // 64))


def build(connection: Connection, collection: str, codes: list[str], spec: IndexSpec) -> None:
    """Have these codes indexed, which goes on in the background."""
    client = connection.client
    params = client.prepare_index_params()
    for code in codes:
        # Without an explicit metric, Milvus Lite takes JACCARD.
        params.add_index(
            code, index_type=spec.kind, metric_type=METRIC, params={} if spec.nlist is None else {"nlist": spec.nlist}
        )
    with connection.calling(f"index the collection '{collection}'"):
        # `sync`: pymilvus 3 would wait until all of it is built.
        client.create_index(collection, params, timeout=connection.timeout, sync=False)


def ensure(connection: Connection, collection: str, codes: list[str], spec: IndexSpec) -> None:
    """Give these codes this index: another one is dropped and this one built; nothing can be searched meanwhile.

    Cut off in the middle, the collection is there, without an index: the next who opens it makes a BIN_FLAT.

    Raises:
        InputError: an index that this Milvus does not take.
        MilvusError: Milvus could not.
    """
    spec = IndexSpec.of(spec.kind, spec.nlist, None, lite=connection.is_lite)
    wrong = [info for info in indexes(connection, collection) if info["field_name"] in codes and not _is(info, spec)]
    if wrong:
        client, timeout = connection.client, connection.timeout
        with connection.calling(f"drop the index of '{collection}'"):
            client.release_collection(collection, timeout=timeout)
            for info in wrong:
                client.drop_index(collection, info["index_name"], timeout=timeout)
        build(connection, collection, [info["field_name"] for info in wrong], spec)
    load(connection, collection)


def _is(info: dict[str, Any], spec: IndexSpec) -> bool:
    try:
        return info["metric_type"] == METRIC and spec_of(info) == spec
    except ValidationError:
        return False


def flush(connection: Connection, collection: str) -> None:
    """Have the server seal and store what was written, so that it gets indexed."""
    with connection.calling(f"flush the collection '{collection}'"):
        connection.client.flush(collection, timeout=max(connection.timeout, _FLUSH_SECONDS))


def rows_stored(connection: Connection, collection: str) -> int:
    """Rows in storage, replaced and deleted ones too: enough to choose an index by, whether the collection is loaded or not."""
    flush(connection, collection)
    with connection.calling(f"count the rows of '{collection}'"):
        return int(connection.client.get_collection_stats(collection, timeout=connection.timeout)["row_count"])


def segments_in_memory(connection: Connection, collection: str) -> dict[str, int]:
    """Number of the segments that a server holds in memory, and their rows (of each replica); empty on Milvus Lite."""
    if connection.is_lite:
        return {}
    segments = _segments(connection, collection)
    return {"segments": len(segments), "rows in segments": sum(segment.num_rows for segment in segments)}


def load(connection: Connection, collection: str) -> None:
    """Load the collection where it is not loaded."""
    client, timeout = connection.client, connection.timeout
    with connection.calling(f"load the collection '{collection}'"):
        if (
            client.get_load_state(collection, timeout=timeout)["state"]
            != import_pymilvus().client.types.LoadState.Loaded
        ):
            client.load_collection(collection, timeout=timeout)


def indexes(connection: Connection, collection: str) -> list[dict[str, Any]]:
    """What Milvus says of each index of the collection: `field_name`, `index_type`, `metric_type`, `state`, ..."""
    client, timeout = connection.client, connection.timeout
    with connection.calling(f"describe the indexes of '{collection}'"):
        names = client.list_indexes(collection, timeout=timeout)
        return [
            info for name in names if (info := client.describe_index(collection, name, timeout=timeout)) is not None
        ]


def spec_of(info: dict[str, Any]) -> IndexSpec:
    """The index that Milvus describes so.

    Raises:
        ValidationError: an index of another kind.
    """
    return IndexSpec(kind=info["index_type"], nlist=int(info["nlist"]) if "nlist" in info else None)


def states(connection: Connection, collection: str) -> dict[str, dict[str, Any]]:
    """By code: kind of index, metric, parameters, state, and rows indexed and pending."""
    kept = ["index_type", "metric_type", "nlist", "state"]
    if not connection.is_lite:  # which says 0 of both, whatever is there
        kept += ["indexed_rows", "pending_index_rows"]
    return {
        info["field_name"]: {name: info[name] for name in kept if name in info}
        for info in indexes(connection, collection)
    }


def wait_until_indexed(
    connection: Connection,
    collection: str,
    *,
    patience: float = _TOO_LONG,
    advance: Callable[[int, int], object] = lambda done, all: None,
) -> None:
    """Have the server seal what was written, and wait until all of it is indexed and served from the index.

    Before that, searches look through rows without an index one by one: slow, and with a recall that is better than it
        will be.

    Args:
        connection: to a server; on Milvus Lite there is nothing to wait for.
        collection: its name.
        patience: seconds after which to give up.
        advance: told of the rows that are indexed, and of all.

    Raises:
        MilvusError: it was not done in time, or failed.
    """
    if connection.is_lite:
        return
    flush(connection, collection)
    end = time.monotonic() + patience
    while True:
        found = indexes(connection, collection)
        pending, done, total = _progress(collection, found)
        advance(done, total)
        if not pending and (all(map(_is_flat, found)) or _served(connection, collection, total)):
            return
        if time.monotonic() > end:
            raise MilvusError(
                f"{total - done:,} of {total:,} rows of '{collection}' were not indexed within {patience:g} s; it goes on by itself: "
                f"see `milvus-ichash inspect --collection {collection}`."
            )
        time.sleep(_POLL_SECONDS)


def _progress(collection: str, found: list[dict[str, Any]]) -> tuple[bool, int, int]:
    """Of these indexes: whether one is not done, the rows indexed, and all rows, each the least of the codes."""
    failed = next((info for info in found if info["state"] == "Failed"), None)
    if failed is not None:
        raise MilvusError(
            f"Milvus could not index '{failed['field_name']}' of '{collection}' "
            f"({failed.get('index_state_fail_reason') or 'no reason given'}): build it again with `milvus-ichash index`."
        )
    pending = any(info["state"] != "Finished" or info["pending_index_rows"] for info in found)
    least = min(found, key=lambda info: info["indexed_rows"], default={"indexed_rows": 0, "total_rows": 0})
    return pending, least["indexed_rows"], least["total_rows"]


def _is_flat(info: dict[str, Any]) -> bool:
    """True for BIN_FLAT, whose segments never have an index: searching the rows as they came is the same search."""
    return bool(info["index_type"] == "BIN_FLAT")


def _served(connection: Connection, collection: str, total: int) -> bool:
    """True where all sealed rows are searched through their index.

    "Finished" comes first: until a query node has taken a new segment over, seconds later, it searches the rows as they
    came.
    """
    sealed = [segment for segment in _segments(connection, collection) if int(segment.state) == _SEALED]
    return all(map(_is_indexed, sealed)) and sum(segment.num_rows for segment in sealed) >= total


def _is_indexed(segment: Any) -> bool:
    """True where a segment has its index, or is too small for one."""
    return bool(segment.index_name) or segment.num_rows < _SMALL_SEGMENT


def rows_without_index(connection: Connection, collection: str, rows: int) -> int:
    """How many of so many rows are searched without their index as yet; segments too small for one do not count.

    At least so many: of rows that were replaced since, segments still count the old ones.
    """
    served = sum(segment.num_rows for segment in _segments(connection, collection) if _is_indexed(segment))
    return max(0, rows - int(served))


def _segments(connection: Connection, collection: str) -> Any:
    """The segments that are searched: `state`, `index_name`, `num_rows`."""
    with connection.calling(f"look at the segments of '{collection}'"):
        if hasattr(connection.client, "list_loaded_segments"):
            return connection.client.list_loaded_segments(collection, timeout=connection.timeout)
        # Early pymilvus 2.6.
        return import_pymilvus().utility.get_query_segment_info(
            collection, timeout=connection.timeout, using=connection.alias
        )
