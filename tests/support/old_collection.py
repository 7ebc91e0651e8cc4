"""Collections as releases before labels were names made them: a description of version 1, and labels by class number.

Nothing of ours writes them any more, so they are written here as Milvus's client writes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from milvus_ichash.bundle import Manifest
from milvus_ichash.codes import Codes
from milvus_ichash.features import Mask
from milvus_ichash.index.connection import Connection, import_pymilvus
from milvus_ichash.index.hash_index import HashIndex


def old_collection(
    connection: Connection,
    name: str,
    manifest: Manifest,
    ids: Sequence[str],
    codes: Mapping[str, Codes],
    present: Mask,
    labels: Sequence[Sequence[int] | None],
    *,
    named: bool = True,
) -> HashIndex:
    """Make a collection of this bundle, fill it, and open it.

    Args:
        connection: to Milvus.
        name: of the collection.
        manifest: of the bundle.
        ids: n of them.
        codes: uint8 (n, bits / 8) by name.
        present: bool (n, M).
        labels: class numbers of each item; None where they are unknown.
        named: whether the description holds the names of the classes; those that were too long were left out.
    """
    client, kinds = connection.client, import_pymilvus().DataType
    description = {
        "ichash": 1,
        "fingerprint": manifest.fingerprint,
        "method": manifest.method,
        "bits": manifest.bits,
        "cut_from": None,
        "codes": {code.name: code.modality for code in manifest.codes},
        "modalities": list(manifest.dims),
        "label_names": list(manifest.label_names or ()) or None if named else None,
    }
    schema = client.create_schema(
        auto_id=False,
        enable_dynamic_field=True,
        description=json.dumps(description, ensure_ascii=False, separators=(",", ":")),
    )
    schema.add_field("id", kinds.VARCHAR, is_primary=True, max_length=512)
    for code in codes:
        schema.add_field(code, kinds.BINARY_VECTOR, dim=manifest.bits)
    for modality in manifest.dims:
        schema.add_field(f"has_{modality}", kinds.BOOL)
    client.create_collection(name, schema=schema, consistency_level="Strong")
    rows: list[dict[str, Any]] = []
    for i, key in enumerate(ids):
        row: dict[str, Any] = {"id": key} | {code: of[i].tobytes() for code, of in codes.items()}
        row |= {f"has_{modality}": bool(present[i, column]) for column, modality in enumerate(manifest.dims)}
        rows.append(row if labels[i] is None else row | {"labels": list(labels[i] or ())})
    client.upsert(name, rows)
    return HashIndex.open(connection, name)
