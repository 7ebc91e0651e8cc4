"""What must be in a collection: for each item the versions that it may have, one where nothing is in doubt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from chaos.items import Row, expected

Change = Mapping[int, int | None]
"""By number of an item the version that is written, or None where it is deleted."""


class Model:
    """The rows that there may be.

    `attempt` says that a change may have happened, in part or in whole; `done` that it has. An item whose writing was
    cut off may lack its row until it is written again: Milvus Lite replaces by deleting and inserting.
    """

    def __init__(self) -> None:
        self.possible: dict[int, set[int | None]] = {}

    def attempt(self, change: Change) -> None:
        for number, version in change.items():
            self.possible.setdefault(number, {None}).update({version, None})

    def done(self, *changes: Change) -> None:
        """Where several changes ran at once, an item has the version of one of them."""
        by_number: dict[int, set[int | None]] = {}
        for change in changes:
            for number, version in change.items():
                by_number.setdefault(number, set()).add(version)
        self.possible.update(by_number)

    def saw(self, rows: Iterable[Row]) -> None:
        """Take what is there for what must be there from now on; `problems` said that it may be."""
        found = {row.number: row.version for row in rows}
        self.possible = {number: {found.get(number)} for number in self.possible}

    @property
    def there(self) -> list[int]:
        """Numbers of the items that must be there."""
        return sorted(number for number, versions in self.possible.items() if None not in versions)

    def problems(self, rows: Iterable[Row]) -> list[str]:
        """What is lost, doubled, stale or mixed up."""
        rows = list(rows)
        found = Counter(row.number for row in rows)
        lost = [number for number in self.there if not found[number]]
        doubled = [number for number, times in found.items() if times > 1]
        stale = [row.number for row in rows if row.version not in self.possible.get(row.number, {None})]
        mixed = [row.number for row in rows if row != expected(row.number, row.version)]
        kinds = {"lost": lost, "doubled": doubled, "stale": stale, "mixed": mixed}
        return [f"{len(numbers)} {kind}: {sorted(numbers)[:5]}" for kind, numbers in kinds.items() if numbers]
