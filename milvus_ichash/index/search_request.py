"""What is asked of Milvus in a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from milvus_ichash.errors import InputError

LIMIT = 16_384
"""Most rows that Milvus gives for one query or one search vector."""


class SearchOptions(TypedDict, total=False):
    """What a search may be told beside the codes, by keyword: `HashIndex.search` explains the options."""

    code: str | None
    top_k: int
    radius: int | None
    nprobe: int | None
    filter: str
    output_fields: Sequence[str]


@dataclass(frozen=True)
class SearchRequest:
    """What is searched, and how.

    Attributes:
        collection: its name.
        code: the field that holds the codes.
        top_k: at most so many items for each query, 1 to 16,384.
        radius: largest distance, itself included, or None.
        nprobe: number of cells of BIN_IVF_FLAT that are looked through; None for BIN_FLAT.
        filter: Milvus expression; empty for all items.
        output_fields: fields of each item that Milvus is to return.
    """

    collection: str
    code: str | None = None
    top_k: int = 10
    radius: int | None = None
    nprobe: int | None = None
    filter: str = ""
    output_fields: Sequence[str] = ()

    @property
    def params(self) -> dict[str, int]:
        """Search parameters, as Milvus calls them.

        Milvus takes items nearer than `radius`, so its radius is one more than the largest distance. With cells
        to probe, the radius is left to us: in Milvus 2.3 such a search passes over nprobe, and finds next to nothing.
        """
        if self.nprobe is not None:
            return {"nprobe": self.nprobe}
        return {} if self.radius is None else {"radius": self.radius + 1}


def check_reach(top_k: int, radius: int | None, bits: int) -> None:
    """Raise InputError where Milvus cannot give so many items, or no two codes of this length are so far apart."""
    if not 1 <= top_k <= LIMIT:
        raise InputError(
            f"top-k is {top_k}; Milvus gives 1 to {LIMIT} items for a query (HashIndex.search_within has no "
            "limit, and rank_all ranks all of them)."
        )
    # Milvus cuts a fractional radius to a whole one.
    if radius is not None and not (isinstance(radius, int | np.integer) and 0 <= radius <= bits):
        raise InputError(
            f"the radius is {radius}; Hamming distances of {bits}-bit codes are whole numbers from 0 to {bits}."
        )
