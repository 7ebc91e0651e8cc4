"""Columns straight into and out of Milvus, past pymilvus's rows and hits: the one module that touches its private parts.

`MilvusClient` takes a dict for each row and gives an object for each hit, microseconds each. The requests behind it are
columnar, and public as Milvus's gRPC interface; what is private is the way to them: `MilvusClient._get_connection()`, its
`_stub`, `MilvusClient._generate_call_context()`, and the generated messages in `pymilvus.grpc_gen`. Where one of these is
missing, `Columnar.of` gives None, and everything goes through `MilvusClient`: the same results, slower (docs/benchmarks.md).

Nothing here is retried: pymilvus would send an Insert again that may have arrived, and a server keeps both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.codes import Codes
from milvus_ichash.index.collection_schema import ID
from milvus_ichash.index.index_building import METRIC

_STRONG, _BOUNDED = 0, 2
"""Consistency levels, and the timestamps that stand for them."""
META = "$meta"
"""Milvus's name for the JSON field that holds whatever the schema does not name."""

Columns = Mapping[str, Any]
"""By field: list of str or int (ids), uint8 (n, bits / 8) (codes), list of bool, list of bytes (`META`)."""


@dataclass(frozen=True, eq=False)
class Found:
    """What one search call found, as Milvus sent it: the hits of all queries one behind the other.

    Attributes:
        ids: int64 or object (hits,).
        distances: int32 (hits,).
        counts: int64 (Q,), hits of each query.
    """

    ids: npt.NDArray[Any]
    distances: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]


class Columnar:
    """Columnar calls of one client. Errors are pymilvus's (`MilvusException`) and gRPC's."""

    def __init__(
        self,
        stub: Callable[[], Any],
        metadata: Callable[[], Any],
        messages: Any,
        types: Any,
        error: Callable[..., Exception],
    ) -> None:
        self._stub = stub
        self._metadata = metadata
        self._messages = messages
        self._types = types
        self._error = error

    @classmethod
    def of(cls, client: Any) -> Columnar | None:
        """The columnar calls of a `MilvusClient`; None where this pymilvus does not have them at the known places."""
        try:
            from pymilvus.exceptions import MilvusException
            from pymilvus.grpc_gen import milvus_pb2, schema_pb2

            # Asked for at every call: pymilvus makes another one where it loses the connection.
            stub = _stub_of(client)
            requests = ("InsertRequest", "UpsertRequest", "SearchRequest", "QueryRequest")
            calls = [
                stub().Insert,
                stub().Upsert,
                stub().Search,
                stub().Query,
                *(getattr(milvus_pb2, name) for name in requests),
            ]
            # Requests carry the name of the database in their metadata.
            metadata = _metadata_of(client)
            metadata()
        except (ImportError, AttributeError):
            return None
        return cls(stub, metadata, milvus_pb2, schema_pb2, MilvusException) if all(map(callable, calls)) else None

    def insert(self, collection: str, columns: Columns, rows: int, timeout: float) -> int:
        """Insert rows whose ids are new; returns how many were acknowledged. An id that is there is then there twice."""
        request = self._messages.InsertRequest(collection_name=collection, num_rows=rows)
        request.fields_data.extend(self._fields(columns))
        return int(self._sent("Insert", request, timeout).insert_cnt)

    def upsert(self, collection: str, columns: Columns, rows: int, timeout: float) -> int:
        """Write rows by id; returns how many were acknowledged."""
        request = self._messages.UpsertRequest(collection_name=collection, num_rows=rows)
        request.fields_data.extend(self._fields(columns))
        return int(self._sent("Upsert", request, timeout).upsert_cnt)

    def search(
        self,
        collection: str,
        field: str,
        codes: Sequence[bytes],
        params: Mapping[str, int],
        expression: str,
        limit: int,
        *,
        bounded: bool,
        timeout: float,
    ) -> Found:
        """The nearest `limit` items of each query, in Milvus's order; at Bounded consistency, or at the collection's."""
        request = self._messages.SearchRequest(
            collection_name=collection,
            dsl=expression,
            dsl_type=1,  # an expression
            nq=len(codes),
            placeholder_group=_placeholder_group(codes),
            use_default_consistency=not bounded,
            consistency_level=_BOUNDED if bounded else _STRONG,
            guarantee_timestamp=_BOUNDED if bounded else _STRONG,
        )
        options = {
            "topk": limit,
            "round_decimal": -1,
            "ignore_growing": False,
            "metric_type": METRIC,
            "anns_field": field,
            "params": json.dumps(dict(params)),
            **params,  # releases before 2.4 read them out of `params`, later ones from here too
        }
        for name, value in options.items():
            request.search_params.add(key=name, value=str(value))
        results = self._sent("Search", request, timeout).results
        return Found(
            _ids(results.ids),
            np.array(results.scores, np.float32).astype(np.int32),
            np.array(results.topks, np.int64),
        )

    def query(
        self, collection: str, expression: str, fields: Sequence[str], limit: int, timeout: float
    ) -> dict[str, Any]:
        """Columns of the first `limit` rows by id that match, by field: ids as an array, codes as uint8 (n, bits / 8), the others lists."""
        request = self._messages.QueryRequest(
            collection_name=collection, expr=expression, output_fields=[ID, *fields], use_default_consistency=True
        )
        for name, value in {
            "limit": limit,
            "iterator": True,
            "reduce_stop_for_best": True,
            "ignore_growing": False,
        }.items():
            request.query_params.add(key=name, value=str(value))
        answer = self._sent("Query", request, timeout)
        return {field.field_name or META: _values(field) for field in answer.fields_data}

    def _sent(self, call: str, request: Any, timeout: float) -> Any:
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

    def _fields(self, columns: Columns) -> list[Any]:
        return [self._field(name, values) for name, values in columns.items()]

    def _field(self, name: str, values: Any) -> Any:
        kinds = self._types.DataType
        if name == META:
            field = self._types.FieldData(field_name=name, type=kinds.JSON, is_dynamic=True)
            field.scalars.json_data.data.extend(values)
        elif isinstance(values, np.ndarray):
            field = self._types.FieldData(field_name=name, type=kinds.BinaryVector)
            field.vectors.dim = values.shape[1] * 8
            field.vectors.binary_vector = values.tobytes()
        elif values and isinstance(values[0], str):
            field = self._types.FieldData(field_name=name, type=kinds.VarChar)
            field.scalars.string_data.data.extend(values)
        elif values and isinstance(values[0], bool):
            field = self._types.FieldData(field_name=name, type=kinds.Bool)
            field.scalars.bool_data.data.extend(values)
        else:
            field = self._types.FieldData(field_name=name, type=kinds.Int64)
            field.scalars.long_data.data.extend(values)
        return field


def _stub_of(client: Any) -> Callable[[], Any]:
    return lambda: client._get_connection()._stub


def _metadata_of(client: Any) -> Callable[[], Any]:
    return lambda: client._generate_call_context().to_grpc_metadata()


def _ids(ids: Any) -> npt.NDArray[Any]:
    if ids.WhichOneof("id_field") == "str_id":
        found = np.empty(len(ids.str_id.data), object)
        found[:] = list(ids.str_id.data)
        return found
    return np.array(ids.int_id.data, np.int64)


def _values(field: Any) -> Any:
    """What a field of an answer holds, as `Columnar.query` gives it."""
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
