"""What a collection looks like: its fields, its index, and the description by which it knows its bundle.

Fields: `id` (VARCHAR or INT64), a BINARY_VECTOR per stored code, `has_<modality>` BOOL. Labels and payload are dynamic
fields: an ARRAY field costs Milvus Lite time quadratic in the rows of a batch, written or read, and on a server the
space for as many labels as it may ever hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from milvus_ichash.bundle import Manifest
from milvus_ichash.codes import Codes, cut
from milvus_ichash.errors import InputError, MilvusError, MismatchError
from milvus_ichash.index import index_building
from milvus_ichash.index.connection import Connection, import_pymilvus
from milvus_ichash.index.index_building import METRIC, IndexSpec

ID = "id"
LABELS = "labels"
ID_BYTES = 512
"""Longest string id, in UTF-8."""
DESCRIPTION_BYTES = 16_384
"""Label names that would make the description longer are left out of it."""

_STRONG = 0

IdKind = Literal["str", "int64"]


class Description(BaseModel):
    """The JSON in a collection's description (Milvus Lite keeps no other place for it)."""

    model_config = ConfigDict(frozen=True)

    ichash: Literal[1] = 1
    fingerprint: str
    method: str
    bits: int
    """Of the stored codes."""
    cut_from: int | None = None
    """Length of the bundle's codes, where the stored ones are the first bits of those."""
    codes: dict[str, str | None]
    """Stored codes -> modality, None for a fused code."""
    modalities: tuple[str, ...]
    label_names: tuple[str, ...] | None = None

    @classmethod
    def of(cls, manifest: Manifest, codes: Sequence[str] | None, bits: int | None = None) -> Description:
        """That of a collection with these codes of a bundle, all of them by default, cut to `bits` where that is given.

        Raises:
            InputError: names a code that the bundle does not make, or the lengths that its codes can be cut to.
        """
        made = {code.name: code.modality for code in manifest.codes}
        wanted = list(made) if codes is None else list(dict.fromkeys(codes))
        unknown = [name for name in wanted if name not in made]
        if unknown or not wanted:
            raise InputError(f"the bundle makes no code '{unknown[0] if unknown else ''}'; it makes {', '.join(made)}.")
        names = [ID, LABELS, *wanted, *(has(m) for m in manifest.dims)]
        if len(set(names)) < len(names):
            raise InputError(f"the bundle's codes and modalities need different names in Milvus: {', '.join(names)}.")
        description = cls(
            fingerprint=manifest.fingerprint,
            method=manifest.method,
            bits=(length := manifest.length(bits)),
            cut_from=None if length == manifest.bits else manifest.bits,
            codes={name: made[name] for name in wanted},
            modalities=tuple(manifest.dims),
            label_names=manifest.label_names,
        )
        fits = len(description.to_json().encode()) <= DESCRIPTION_BYTES
        return description if fits else description.model_copy(update={"label_names": None})

    @classmethod
    def parse(cls, text: str) -> Description | None:
        """The description in this text; None where it is not one of ours."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None

    def cut(self, codes: Codes) -> Codes:
        """The codes as they are stored: whole ones of the bundle are cut, all others stay as they are."""
        whole = (
            self.cut_from is not None
            and isinstance(codes, np.ndarray)
            and codes.ndim == 2
            and codes.shape[1] == self.cut_from // 8
        )
        return cut(codes, self.bits // 8) if whole else codes

    def to_json(self) -> str:
        """The text to store."""
        return json.dumps(self.model_dump(), ensure_ascii=False, separators=(",", ":"))


def has(modality: str) -> str:
    """Name of the field that says whether an item has this modality, or had it completed."""
    return f"has_{modality}"


def check_name(collection: str) -> str:
    """Return the name of a collection where Milvus takes it.

    Raises:
        InputError: otherwise.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", collection):
        raise InputError(
            f"'{collection}' cannot name a collection: use letters, digits and underscores, no digit first, at most 255."
        )
    return collection


def create(
    connection: Connection, collection: str, description: Description, id_kind: IdKind, index: IndexSpec
) -> IndexSpec:
    """Make the collection with its index, loaded, at Strong consistency, and look whether Milvus made what was asked for.

    Returns:
        The index that it has.

    Raises:
        MilvusError: it could not, or made something else.
        InputError: an index, or a number of codes, that this Milvus does not take.
    """
    IndexSpec.of(index.kind, index.nlist, None, lite=connection.is_lite)
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
    try:
        with connection.calling(f"create the collection '{collection}'"):
            client.create_collection(collection, schema=schema, consistency_level="Strong", timeout=connection.timeout)
    except MilvusError as error:
        if len(description.codes) > 1 and "vector field" in str(error):
            # Servers before 2.4.
            raise InputError(
                f"{error} Store one code in each collection: --codes {next(iter(description.codes))}."
            ) from error
        raise
    return complete(connection, collection, description, index)


def complete(connection: Connection, collection: str, description: Description, index: IndexSpec) -> IndexSpec:
    """Build the indexes that are not there (a `create` may have been cut off), check them, load the collection; returns its index.

    Raises:
        MilvusError: Milvus could not.
        MismatchError: the collection is not as its description says.
    """
    indexed = {info["field_name"] for info in index_building.indexes(connection, collection)}
    missing = [code for code in description.codes if code not in indexed]
    if missing:
        index_building.build(connection, collection, missing, index)
    found = check(connection, collection, description)
    index_building.load(connection, collection)
    connection.changed(collection)
    return found


def check(connection: Connection, collection: str, description: Description) -> IndexSpec:
    """Hold fields, index, metric and consistency of the collection against its description; returns the index of its codes.

    Raises:
        MismatchError: names what differs.
    """
    with connection.calling(f"describe the collection '{collection}'"):
        found = connection.client.describe_collection(collection, timeout=connection.timeout)
    fields = {f["name"]: f for f in found["fields"]}
    vector = import_pymilvus().DataType.BINARY_VECTOR
    for code in description.codes:
        if (
            code not in fields
            or fields[code]["type"] != vector
            or fields[code]["params"].get("dim") != description.bits
        ):
            raise _changed(collection, f"'{code}' is no binary vector of {description.bits} bits")
    for name in map(has, description.modalities):
        if name not in fields:
            raise _changed(collection, f"it has no field '{name}'")
    if found["consistency_level"] != _STRONG:
        raise _changed(collection, "its consistency is not Strong, so that new rows would not be found at once")
    return _index_of(connection, collection, description)


def _index_of(connection: Connection, collection: str, description: Description) -> IndexSpec:
    """The index of the codes, which all have the same.

    Raises:
        MismatchError: none, of another kind or metric, or different ones.
    """
    infos = {info["field_name"]: info for info in index_building.indexes(connection, collection)}
    specs: set[IndexSpec] = set()
    for code in description.codes:
        info = infos.get(code, {})
        if info.get("metric_type") != METRIC:
            raise _changed(collection, f"the index on '{code}' has the metric {info.get('metric_type')}, not {METRIC}")
        try:
            specs.add(index_building.spec_of(info))
        except ValidationError:
            raise MismatchError(
                f"collection '{collection}' is not as it was made: the index on '{code}' is {info.get('index_type')}, not BIN_FLAT or "
                f"BIN_IVF_FLAT. Build it again with `milvus-ichash index --collection {collection}`."
            ) from None
    if len(specs) > 1:
        raise MismatchError(
            f"the codes of collection '{collection}' have different indexes: build them again with "
            f"`milvus-ichash index --collection {collection}`."
        )
    return specs.pop()


def _changed(collection: str, what: str) -> MismatchError:
    return MismatchError(
        f"collection '{collection}' is not as its description says: {what}. Make it anew with `ingest --recreate`."
    )


def describe(connection: Connection, collection: str) -> tuple[Description, IdKind]:
    """The description of a collection that is there, and the kind of its ids.

    Raises:
        InputError: it is not there; those that are get named.
        MismatchError: it was not made by this program.
    """
    client, timeout = connection.client, connection.timeout
    check_name(collection)
    with connection.calling("list the collections"):
        there = client.has_collection(collection, timeout=timeout)
        names = [] if there else client.list_collections(timeout=timeout)
    if not there:
        raise InputError(
            f"there is no collection '{collection}' at {connection.address}; there is {', '.join(sorted(names)) or 'none yet'}."
        )
    description, found = check_ours(connection, collection)
    key = next((f for f in found["fields"] if f.get("is_primary")), None)
    kinds = import_pymilvus().DataType
    if key is None or key["name"] != ID or key["type"] not in (kinds.VARCHAR, kinds.INT64):
        raise _changed(collection, "its primary key is not 'id'")
    return description, "str" if key["type"] == kinds.VARCHAR else "int64"


def check_ours(connection: Connection, collection: str) -> tuple[Description, dict[str, Any]]:
    """The description of a collection, and what Milvus says of it.

    Raises:
        MismatchError: it was not made by this program.
    """
    with connection.calling(f"describe the collection '{collection}'"):
        found = connection.client.describe_collection(collection, timeout=connection.timeout)
    description = Description.parse(found["description"])
    if description is None:
        raise MismatchError(
            f"collection '{collection}' was not made by milvus-ichash (its description names no bundle): choose another with --collection."
        )
    return description, found


def drop(connection: Connection, collection: str) -> None:
    """Delete the collection with all its rows."""
    with connection.calling(f"drop the collection '{collection}'"):
        connection.client.drop_collection(collection, timeout=connection.timeout)
