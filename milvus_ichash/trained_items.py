"""What a bundle remembers of the items that it was trained on, so that they are noticed where they come as queries.

Items are known by their features, whatever their ids are and whatever file they stand in: by a hash of 48 bits over the
names and the float32 values of their modalities. A bundle keeps the 2,048 smallest of these hashes. Queries whose hash
is below the largest one are looked up, and they are a fair sample of all queries.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.features import FeatureTable
from milvus_ichash.strict_model import StrictModel

TRAINED_ITEMS = "trained_items"
"""The name in `Manifest.training`."""
_BYTES = 6
_MOST = 2048

Hashes = npt.NDArray[np.uint64]


class TrainedItems(StrictModel):
    """The items that a run was trained on or validated with."""

    items: int
    """Number of them."""
    sample: str
    """Their smallest hashes, rising, 6 bytes each, in base64."""

    @classmethod
    def of(cls, table: FeatureTable) -> TrainedItems:
        """Return what is kept of the items of a table, before any modality of theirs is hidden."""
        hashes = np.sort(hashes_of(table))[:_MOST]
        packed = b"".join(int(value).to_bytes(_BYTES, "big") for value in hashes)
        return cls(items=len(table), sample=base64.b64encode(packed).decode())

    def among(self, queries: FeatureTable) -> int:
        """Return how many queries are such items: exactly for up to 2,048 items, else about so many.

        Raises:
            ValueError: `sample` is no base64 of whole hashes.
        """
        packed = base64.b64decode(self.sample, validate=True)
        known = np.array([int.from_bytes(packed[i : i + _BYTES], "big") for i in range(0, len(packed), _BYTES)], "u8")
        asked = hashes_of(queries)
        if not len(known):
            return 0
        if self.items > len(known):
            asked = asked[asked <= known.max()]
        found = int(np.isin(asked, known).sum())
        return round(found / len(asked) * len(queries)) if found else 0


def hashes_of(table: FeatureTable) -> Hashes:
    """Return a hash of each item, uint64 (N,), from the features of the modalities that it has."""
    columns = [
        (name.encode(), np.ascontiguousarray(table.features[name]), table.present[:, table.modalities.index(name)])
        for name in sorted(table.modalities)
    ]
    hashes = np.empty(len(table), np.uint64)
    for row in range(len(table)):
        digest = blake2b(digest_size=_BYTES)
        for name, x, there in columns:
            if there[row]:
                digest.update(name)
                digest.update(x[row].data)
        hashes[row] = int.from_bytes(digest.digest(), "big")
    return hashes


def note_on_queries(training: Mapping[str, Any], queries: FeatureTable) -> list[str]:
    """Return a note where queries are items that the bundle was trained on, else nothing.

    Args:
        training: `Manifest.training`, which anything may have written.
        queries: as they are asked, with nothing hidden.
    """
    if training and training.get(TRAINED_ITEMS) is None:
        return [
            "the bundle does not say what it was trained on, so that nobody can tell whether it knows the queries; "
            "if it was trained with --holdout by a version before 0.2, give --holdout-by order here."
        ]
    try:
        kept = TrainedItems.model_validate(training.get(TRAINED_ITEMS))
        seen = kept.among(queries)
    except ValueError:
        return []
    about = "" if kept.items <= _MOST else "about "
    what = "queries have exactly the features of items that the bundle was trained on, which flatters the figures"
    return [f"{about}{seen} of {len(queries)} {what}: {_cure(training.get('data'))}."] if seen else []


def _cure(data: object) -> str:
    if isinstance(data, dict) and data.get("holdout"):
        return (
            f"it was trained with --holdout {data['holdout']} --holdout-by {data.get('holdout_by')}, so give the same; "
            "where that is given, the file has items more than once"
        )
    return "ask items that were held out"
