"""Collections as somebody else could have made them: with our description, and another dimension, metric or field."""

from __future__ import annotations

from typing import Any

from milvus_ichash.index.connection import Connection, import_pymilvus


def make_foreign(
    connection: Connection,
    collection: str,
    description: str,
    *,
    key: str = "id",
    dim: int = 16,
    marks: tuple[str, ...] = ("has_image", "has_text"),
    **index: Any,
) -> None:
    """Make an empty collection with one code, and this index on it (`index_type`, `metric_type`, `params`), if any."""
    client, kinds = connection.client, import_pymilvus().DataType
    schema = client.create_schema(auto_id=False, enable_dynamic_field=True, description=description)
    schema.add_field(key, kinds.VARCHAR, is_primary=True, max_length=100)
    schema.add_field("code", kinds.BINARY_VECTOR, dim=dim)
    for mark in marks:
        schema.add_field(mark, kinds.BOOL)
    client.create_collection(collection, schema=schema, consistency_level="Strong")
    if index:
        params = client.prepare_index_params()
        params.add_index("code", **index)
        client.create_index(collection, params)
