"""What a collection looks like in Milvus: made by its description, and held against it where it is there already.

Fields: `id` (VARCHAR or INT64), a BINARY_VECTOR per stored code, `has_<modality>` BOOL. Labels and payload are dynamic
fields: an ARRAY field costs Milvus Lite time quadratic in the rows of a batch, written or read, and on a server the
space for as many labels as it may ever hold.
"""

from __future__ import annotations

import re
from typing import Any

from milvus_ichash.choices import IdKind
from milvus_ichash.errors import InputError, MilvusError, MismatchError
from milvus_ichash.index import index_building
from milvus_ichash.index.connection import Connection, import_pymilvus
from milvus_ichash.index.description import Description
from milvus_ichash.index.field_names import ID, ID_BYTES, has
from milvus_ichash.index.index_spec import IndexSpec

_STRONG = 0
_TWO_VECTORS = (2, 4)
"""Servers before this release hold one vector field in a collection."""

FoundSchema = dict[str, Any]
"""What `MilvusClient.describe_collection` returns."""


def check_name(collection: str) -> None:
    """Raise InputError for a name that Milvus does not take for a collection."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", collection):
        raise InputError(
            f"'{collection}' cannot name a collection: use letters, digits and underscores, no digit first, "
            "at most 255."
        )


def names(connection: Connection) -> list[str]:
    """Return the names of all collections, whoever made them, sorted."""
    return sorted(connection.call("list the collections", "list_collections"))


def exists(connection: Connection, collection: str) -> bool:
    """Return True where there is a collection of this name, whoever made it."""
    check_name(collection)
    return bool(connection.call("list the collections", "has_collection", collection))


def create(connection: Connection, collection: str, description: Description, id_kind: IdKind) -> None:
    """Make the collection at Strong consistency, without an index, and look whether Milvus made what was asked for.

    Raises:
        MilvusError: Milvus could not.
        MismatchError: Milvus made something else.
        InputError: more codes than this Milvus can hold in one collection.
    """
    if len(description.codes) > 1 and not connection.is_lite and connection.is_before(_TWO_VECTORS):
        raise InputError(
            f"Milvus at {connection.address} is {connection.server_version}, which holds one vector field in a "
            f"collection: store one code in each: --codes {next(iter(description.codes))}."
        )
    client, kinds = connection.client, import_pymilvus().DataType
    schema = client.create_schema(auto_id=False, enable_dynamic_field=True, description=description.to_json())
    if id_kind == "str":
        schema.add_field(ID, kinds.VARCHAR, is_primary=True, max_length=ID_BYTES)
    else:
        schema.add_field(ID, kinds.INT64, is_primary=True)
    for code in description.codes:
        schema.add_field(code, kinds.BINARY_VECTOR, dim=description.bits)
    for modality in description.modalities:
        schema.add_field(has(modality), kinds.BOOL)
    what = f"create the collection '{collection}'"
    connection.call(what, "create_collection", collection, writes=True, schema=schema, consistency_level="Strong")
    id_kind_of(collection, *read(connection, collection))


def read(connection: Connection, collection: str) -> tuple[Description, FoundSchema]:
    """Return the description of a collection that is there, and its schema as Milvus tells it.

    Raises:
        InputError: there is no such collection; the message names those that are there.
        MismatchError: it was not made by this program.
        MilvusError: Milvus could not be asked.
    """
    check_name(collection)
    try:
        found = connection.call(f"describe the collection '{collection}'", "describe_collection", collection)
    except MilvusError as error:
        if error.may_pass or exists(connection, collection):
            raise
        there = ", ".join(names(connection)) or "none yet"
        raise InputError(f"there is no collection '{collection}' at {connection.address}; there is {there}.") from error
    description = Description.parse(found["description"])
    if description is None:
        raise MismatchError(
            f"collection '{collection}' was not made by milvus-ichash (its description names no bundle): "
            "choose another with --collection."
        )
    return description, found


def id_kind_of(collection: str, description: Description, found: FoundSchema) -> IdKind:
    """Return the kind of a collection's ids, after its fields and its consistency are held against its description.

    Raises:
        MismatchError: names what differs.
    """
    kinds = import_pymilvus().DataType
    fields = {field["name"]: field for field in found["fields"]}
    key = fields.get(ID, {})
    if not key.get("is_primary") or key["type"] not in (kinds.VARCHAR, kinds.INT64):
        raise _changed(collection, "its primary key is not 'id'")
    for code in description.codes:
        field = fields.get(code, {})
        if field.get("type") != kinds.BINARY_VECTOR or field["params"].get("dim") != description.bits:
            raise _changed(collection, f"'{code}' is no binary vector of {description.bits} bits")
    for name in map(has, description.modalities):
        if name not in fields:
            raise _changed(collection, f"it has no field '{name}'")
    if found["consistency_level"] != _STRONG:
        raise _changed(collection, "its consistency is not Strong, so that new rows would not be found at once")
    return "str" if key["type"] == kinds.VARCHAR else "int64"


def make_searchable(connection: Connection, collection: str, description: Description, default: IndexSpec) -> IndexSpec:
    """Load the collection, and return the index of its codes.

    Codes without an index, as they are where a creation was cut off, get the `default` one.

    Raises:
        MilvusError: Milvus could not.
        MismatchError: the codes have an index of another kind or metric, or different ones.
    """
    found = index_building.indexes(connection, collection)
    without = [code for code in description.codes if code not in found]
    if without:
        index_building.build(connection, collection, without, default)
        found = index_building.indexes(connection, collection)
    spec = index_building.common_spec(collection, {code: found.get(code, {}) for code in description.codes})
    index_building.load(connection, collection)
    return spec


def drop(connection: Connection, collection: str) -> None:
    """Delete the collection with all its rows."""
    connection.call(f"drop the collection '{collection}'", "drop_collection", collection, writes=True)


def _changed(collection: str, what: str) -> MismatchError:
    return MismatchError(
        f"collection '{collection}' is not as its description says: {what}. Make it anew with `ingest --recreate`."
    )
