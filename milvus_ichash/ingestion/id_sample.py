"""Some ids of a run, which are looked up again in its end: each must have exactly one row.

Milvus acknowledges rows that another program deletes or, by insert, writes a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from milvus_ichash.errors import PartialIngestError
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.lookups import Lookup
from milvus_ichash.index.retries import Retries
from milvus_ichash.ingestion.ingest_options import IngestOptions

IDS = 1000
"""About how many ids are looked up: two requests."""
_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds until they are looked up again."""


class IdSample:
    """The ids of rows that lie evenly over a source of so many rows."""

    def __init__(self, rows: int) -> None:
        self._step = max(1, rows // IDS)
        self._ids: list[Any] = []

    def add(self, first_row: int, ids: Sequence[Any]) -> None:
        """Take some of these ids, which are those of the rows from `first_row` on."""
        self._ids += ids[-first_row % self._step :: self._step]

    def check(self, index: HashIndex, retries: Retries, options: IngestOptions) -> None:
        """Look the ids up.

        Raises:
            PartialIngestError: one is missing, or has several rows; says what to do.
            MilvusError: Milvus could not.
        """
        found = self._settled(index, retries)
        looked_up = f"Of the {found.asked:,} ids of this run that were looked up again in '{index.collection}'"
        if found.missing:
            raise PartialIngestError(
                f"{looked_up}, {len(found.missing):,} are missing ({found.missing[0]!r}, for one): another program "
                f"deletes items, or made the collection anew. Go on with: {options.resume_hint}"
            )
        if found.surplus > 0:
            named = "" if found.doubled is None else f"; {found.doubled!r}, for one"
            raise PartialIngestError(
                f"{looked_up}, some have several rows ({found.surplus:,} too many{named}): another program inserts the "
                "same ids. When it is through, write them once more, which leaves one row of each id: "
                f"{options.repair_hint}"
            )

    def _settled(self, index: HashIndex, retries: Retries) -> Lookup:
        """Return what became of the ids, after some seconds where not all is well at once.

        Where several programs replace an item in the same moment, a server may show its new row before it hides the
        old one.
        """
        for pause in _PAUSES:
            found = retries(lambda: index.look_up(self._ids))
            if not found.missing and found.surplus <= 0:
                return found
            retries.stopping.wait(pause)
        return retries(lambda: index.look_up(self._ids))
