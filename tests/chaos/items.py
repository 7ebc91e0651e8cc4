"""Items whose every stored value follows from their number and version, so that a stale or mixed row gives itself away.

The bundle's code of an item is the sign of its picture's features, so the file of a version decides the codes of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.bundles import build_bundle

BITS = 64
Versions = dict[int, int]
"""The version of each item, by its number."""


@dataclass(frozen=True)
class Row:
    """An item as Milvus has it."""

    number: int
    version: int
    code: bytes
    title: str
    has_text: bool


def expected(number: int, version: int) -> Row:
    """What must be stored of an item."""
    return Row(number, version, _code(number, version), _title(number, version), _has_text(number, version))


def key_of(number: int) -> str:
    """The item's id."""
    return f"Käfer's {number}"


def number_of(key: str) -> int:
    """The number of the item with this id."""
    return int(key.rpartition(" ")[2])


def make_bundle(folder: Path) -> Path:
    """A bundle for these items."""
    weights = {"image": np.eye(BITS), "text": np.zeros((4, BITS))}
    return build_bundle(folder, modalities={"image": BITS, "text": 4}, bits=BITS, weights=weights)


def write_items(path: Path, items: Mapping[int, int]) -> Path:
    """Write items of these versions into a file, in this order."""
    bits = np.array([np.unpackbits(np.frombuffer(_code(*item), np.uint8)) for item in items.items()])
    table = {
        "id": [key_of(number) for number in items],
        "image": (2.0 * bits - 1).astype(np.float32).tolist(),
        "text": [[1.0] * 4 if _has_text(*item) else None for item in items.items()],
        "title": [_title(*item) for item in items.items()],
        "version": list(items.values()),
    }
    pq.write_table(pa.table(table), path, row_group_size=500)
    return path


def _code(number: int, version: int) -> bytes:
    return hashlib.sha256(f"{number}/{version}".encode()).digest()[: BITS // 8]


def _title(number: int, version: int) -> str:
    return f"title {version} of '{number}'"


def _has_text(number: int, version: int) -> bool:
    return (number + version) % 3 > 0
