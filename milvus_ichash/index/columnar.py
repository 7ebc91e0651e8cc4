"""Columns straight into and out of Milvus, past pymilvus's rows and hits.

`MilvusClient` takes a dict for each row and gives an object for each hit, microseconds each. The requests behind it are
columnar, and public as Milvus's gRPC interface; what is private is the way to them: `MilvusClient._get_connection()`,
its `_stub`, `MilvusClient._generate_call_context()`, and the generated messages in `pymilvus.grpc_gen`. Where one of
these is missing, `Columnar.of` returns None, and everything goes through `MilvusClient`: the same results, slower
(docs/benchmarks.md). No other module of this package touches them.

Requests are not sent again here: pymilvus would send an Insert again that may have arrived, and a server keeps both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from milvus_ichash.codes import Codes, Distances
from milvus_ichash.features import Ids
from milvus_ichash.index.field_names import ID, META
from milvus_ichash.index.id_rows import to_ids
from milvus_ichash.index.index_spec import METRIC
from milvus_ichash.index.search_request import SearchRequest
from milvus_ichash.index.stored_ids import StoredIds

_STRONG, _BOUNDED = 0, 2
"""Consistency levels, and the timestamps that stand for them."""

_SCALARS = {
    str: ("VarChar", "string_data"),
    bool: ("Bool", "bool_data"),
    int: ("Int64", "long_data"),
    bytes: ("JSON", "json_data"),
}
"""By Python type: Milvus's type of the field, and where its values go."""

FieldColumns = Mapping[str, Any]
"""By field: list of str or int (ids), uint8 (n, bits / 8) (codes), list of bool, list of bytes (`META`)."""


class Columnar:
    """Columnar calls of one client. Errors are pymilvus's (`MilvusException`) and gRPC's."""

    def __init__(self, client: Any, ids: StoredIds, messages: Any, types: Any, error: Callable[..., Exception]) -> None:
        self._client = client
        self._ids = ids
        self._messages = messages
        self._types = types
        self._error = error

    @classmethod
    def of(cls, client: Any, ids: StoredIds) -> Columnar | None:
        """Return the columnar calls of a `MilvusClient`, or None where this pymilvus has none at the known places."""
        try:
            from pymilvus.exceptions import MilvusException
            from pymilvus.grpc_gen import milvus_pb2, schema_pb2

            columnar = cls(client, ids, milvus_pb2, schema_pb2, MilvusException)
            names = ("Insert", "Upsert", "Search", "Query")
            places = [getattr(columnar._stub(), name) for name in names]
            places += [getattr(milvus_pb2, f"{name}Request") for name in names]
            places.append(client._get_connection().list_indexes)
            columnar._metadata()
        except (ImportError, AttributeError):
            return None
        return columnar if all(map(callable, places)) else None

    def write(self, collection: str, columns: FieldColumns, rows: int, *, insert: bool, timeout: float) -> int:
        """Write rows, in place of those with the same ids; return how many were acknowledged.

        With `insert`, an id that is there already is then there twice.
        """
        call = "Insert" if insert else "Upsert"
        request = getattr(self._messages, f"{call}Request")(collection_name=collection, num_rows=rows)
        stored = {**columns, ID: self._ids.stored(columns[ID])}
        request.fields_data.extend(self._field(name, values) for name, values in stored.items())
        return int(getattr(self._send(call, request, timeout), f"{call.lower()}_cnt"))

    def search(
        self, wanted: SearchRequest, codes: Sequence[bytes], *, bounded: bool, timeout: float
    ) -> list[tuple[Ids, Distances]]:
        """Return the nearest items of each query: ids and int32 distances, (n,), in Milvus's order.

        `output_fields` of the request are passed over. The search is at Bounded consistency, or at the collection's.
        """
        request = self._messages.SearchRequest(
            collection_name=wanted.collection,
            dsl=self._ids.expression(wanted.filter),
            dsl_type=1,  # an expression
            nq=len(codes),
            placeholder_group=_placeholder_group(codes),
            use_default_consistency=not bounded,
            consistency_level=_BOUNDED if bounded else _STRONG,
            guarantee_timestamp=_BOUNDED if bounded else _STRONG,
        )
        options = {
            "topk": wanted.top_k,
            "round_decimal": -1,
            "ignore_growing": False,
            "metric_type": METRIC,
            "anns_field": wanted.code,
            "params": json.dumps(wanted.params),
            **wanted.params,  # releases before 2.4 read them out of `params`, later ones from here too
        }
        for name, value in options.items():
            request.search_params.add(key=name, value=str(value))
        results = self._send("Search", request, timeout).results
        ids = to_ids(self._ids.shown(results.ids.str_id.data or results.ids.int_id.data))
        distances = np.array(results.scores, np.float32).astype(np.int32)
        ends = np.cumsum(np.array(results.topks, np.intp))[:-1]
        return list(zip(np.split(ids, ends), np.split(distances, ends), strict=True))

    def query(
        self, collection: str, expression: str, fields: Sequence[str], limit: int, timeout: float, *, page: bool
    ) -> dict[str, Any]:
        """Return at most `limit` rows that match, as columns by field: codes uint8 (n, bits / 8), the others lists.

        A `page` has the first rows by id, and may be shorter than it could be. Without it, all that match come, of an
        id that is there twice one row.
        """
        request = self._messages.QueryRequest(
            collection_name=collection,
            expr=self._ids.expression(expression),
            output_fields=[ID, *fields],
            use_default_consistency=True,
        )
        of_pages = {"iterator": True, "reduce_stop_for_best": True} if page else {}
        for name, value in {"limit": limit, **of_pages, "ignore_growing": False}.items():
            request.query_params.add(key=name, value=str(value))
        answer = self._send("Query", request, timeout)
        columns = {field.field_name or META: _values(field) for field in answer.fields_data}
        return {**columns, ID: self._ids.shown(columns[ID])}

    def indexes(self, collection: str, timeout: float) -> dict[str, dict[str, Any]]:
        """Return what Milvus says of each index of the collection, by the name of its field, out of one call."""
        from pymilvus.grpc_gen.common_pb2 import IndexState

        context = self._client._generate_call_context()
        found = self._client._get_connection().list_indexes(collection, timeout=timeout, context=context)
        copied = ("field_name", "index_name", "total_rows", "indexed_rows", "pending_index_rows")
        return {
            info.field_name: {
                **{pair.key: pair.value for pair in info.params},
                **{name: getattr(info, name) for name in copied},
                "state": IndexState.Name(info.state),
                "index_state_fail_reason": info.index_state_fail_reason,
            }
            for info in found
        }

    def _stub(self) -> Any:
        # Asked for at every call: pymilvus makes another one where it loses the connection.
        return self._client._get_connection()._stub

    def _metadata(self) -> Any:
        """Return the metadata of a request, which carry the name of the database."""
        return self._client._generate_call_context().to_grpc_metadata()

    def _send(self, call: str, request: Any, timeout: float) -> Any:
        try:
            answer = getattr(self._stub(), call)(request, timeout=timeout, metadata=self._metadata())
        except ValueError as error:
            # By another thread, which had pymilvus connect anew.
            raise self._error(message=f"{call}: {error}") from error
        status = answer.status
        code = status.code or status.error_code
        if code:
            raise self._error(code, status.reason)
        return answer

    def _field(self, name: str, values: Any) -> Any:
        kinds = self._types.DataType
        if isinstance(values, np.ndarray):
            field = self._types.FieldData(field_name=name, type=kinds.BinaryVector)
            field.vectors.dim = values.shape[1] * 8
            field.vectors.binary_vector = values.tobytes()
            return field
        kind, place = _SCALARS[type(values[0]) if values else int]
        field = self._types.FieldData(field_name=name, type=kinds.Value(kind), is_dynamic=name == META)
        getattr(field.scalars, place).data.extend(values)
        return field


def _values(field: Any) -> Any:
    """Return what a field of an answer holds, as `Columnar.query` gives it."""
    if field.WhichOneof("field") == "vectors":
        width = field.vectors.dim // 8
        codes: Codes = np.frombuffer(field.vectors.binary_vector, np.uint8).reshape(-1, width)
        return codes
    scalars = field.scalars
    kind = scalars.WhichOneof("data")
    return [] if kind is None else list(getattr(scalars, kind).data)


def _placeholder_group(codes: Sequence[bytes]) -> bytes:
    from pymilvus.grpc_gen import common_pb2

    value = common_pb2.PlaceholderValue(tag="$0", type=common_pb2.PlaceholderType.BinaryVector, values=codes)
    return bytes(common_pb2.PlaceholderGroup(placeholders=[value]).SerializeToString())
