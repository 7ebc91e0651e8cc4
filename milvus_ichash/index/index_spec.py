"""How codes are indexed: BIN_FLAT or BIN_IVF_FLAT with its parameters, and the defaults for what is left open.

The rule for the defaults (`default_index`, `default_nlist`, `default_nprobe`): BIN_FLAT, which finds everything, up to
a million rows, and always on Milvus Lite. Above that BIN_IVF_FLAT, with nlist the power of two nearest to the square
root of the number of rows, and nprobe a 64th of nlist, but at least 8. docs/scale.md shows what they cost and find.
"""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, ValidationError

from milvus_ichash.choices import IndexKind
from milvus_ichash.errors import InputError

METRIC = "HAMMING"
NLIST = (1, 65_536)
"""Fewest and most cells of BIN_IVF_FLAT."""
FLAT_ROWS = 1_000_000
"""Up to this many rows, BIN_FLAT is the default."""


class IndexSpec(BaseModel):
    """How codes are indexed.

    Attributes:
        kind: "BIN_FLAT" compares with every code, "BIN_IVF_FLAT" with those in the `nprobe` nearest of `nlist` cells.
        nlist: number of cells of BIN_IVF_FLAT, in each segment; None for BIN_FLAT.
    """

    model_config = ConfigDict(frozen=True)

    kind: IndexKind = "BIN_FLAT"
    nlist: int | None = None

    @classmethod
    def of(cls, kind: str | None, nlist: int | None, rows: int | None, *, lite: bool) -> IndexSpec:
        """Return the index that was asked for, with the defaults for what is left open.

        Args:
            kind: "BIN_FLAT", "BIN_IVF_FLAT", or None for the default.
            nlist: 1 to 65,536, both included, or None for the default.
            rows: how many rows the collection will hold, or None where that is not known.
            lite: True for a collection on Milvus Lite.

        Raises:
            InputError: no such index, an nlist out of range or for BIN_FLAT, or BIN_IVF_FLAT on Milvus Lite.

        Example:
            >>> IndexSpec.of(None, None, 5_000_000, lite=False)
            IndexSpec(kind='BIN_IVF_FLAT', nlist=2048)
        """
        if kind is None:
            kind = "BIN_IVF_FLAT" if nlist is not None else default_index(rows, lite=lite)
        if nlist is not None and kind == "BIN_FLAT":
            raise InputError(
                f"nlist is {nlist}, and BIN_FLAT has no cells: leave --nlist out, or take --index BIN_IVF_FLAT."
            )
        if nlist is not None and not NLIST[0] <= nlist <= NLIST[1]:
            raise InputError(f"nlist is {nlist}; BIN_IVF_FLAT takes {NLIST[0]} to {NLIST[1]:,} cells.")
        if kind == "BIN_IVF_FLAT":
            if lite:
                raise InputError(
                    "Milvus Lite has BIN_FLAT only, which is exact: leave BIN_IVF_FLAT out, "
                    "or give the address of a Milvus server (--uri)."
                )
            nlist = nlist or default_nlist(rows)
        try:
            return cls.model_validate({"kind": kind, "nlist": nlist})
        except ValidationError as error:
            raise InputError(f"there is no index '{kind}' here: take BIN_FLAT or BIN_IVF_FLAT.") from error

    def __str__(self) -> str:
        """Return how messages name it: "BIN_IVF_FLAT of nlist 32"."""
        return self.kind if self.nlist is None else f"{self.kind} of nlist {self.nlist}"

    def choose_nprobe(self, nprobe: int | None) -> int | None:
        """Return the nprobe of a search: the one given, or the default where it is None. BIN_FLAT has none.

        Raises:
            InputError: an nprobe for BIN_FLAT, or one that is not from 1 to nlist, both included.
        """
        if self.kind == "BIN_FLAT" or self.nlist is None:
            if nprobe is not None:
                raise InputError(
                    f"nprobe is {nprobe}, and the index is BIN_FLAT, which looks at every code: leave --nprobe out."
                )
            return None
        if nprobe is None:
            return default_nprobe(self.nlist)
        if not 1 <= nprobe <= self.nlist:
            raise InputError(
                f"nprobe is {nprobe}; this collection's index has nlist {self.nlist}: take 1 to {self.nlist}."
            )
        return nprobe


def default_index(rows: int | None, *, lite: bool) -> IndexKind:
    """Return BIN_FLAT up to a million rows, where their number is not known, and on Milvus Lite; else BIN_IVF_FLAT."""
    return "BIN_FLAT" if lite or rows is None or rows <= FLAT_ROWS else "BIN_IVF_FLAT"


def default_nlist(rows: int | None) -> int:
    """Return the power of two nearest to the square root of the rows, 16 to 65,536; 1,024 where they are unknown."""
    return 1024 if not rows else max(16, min(NLIST[1], 2 ** round(math.log2(math.sqrt(rows)))))


def default_nprobe(nlist: int) -> int:
    """Return a 64th of nlist, but at least 8, and at most nlist."""
    return min(nlist, max(8, nlist // 64))
