"""The names of a collection's fields, which everything here shares; this module imports nothing."""

from __future__ import annotations

ID = "id"
LABELS = "labels"
META = "$meta"
"""Milvus's name for the JSON field that holds whatever the schema does not name: labels and payload."""
ID_BYTES = 512
"""Longest string id, in bytes of UTF-8."""
META_BYTES = 65_536
"""Most bytes of an item's labels and payload, as JSON, that a server stores; Milvus Lite has no such limit."""


def has(modality: str) -> str:
    """Return the name of the field that says whether an item has this modality: False where it is missing."""
    return f"has_{modality}"
