"""How far a grid of runs is, for `compare` and `reproduce`: which run of how many, and which epoch of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from milvus_ichash.cli.output import OutputOptions
from milvus_ichash.cli.progress import Advance
from milvus_ichash.cli.stopping import when_stopped
from milvus_ichash.errors import InputError, WriteError

if TYPE_CHECKING:
    from ichash_export.compare.case import Case
    from ichash_export.compare.workers import Outcome

_SHARE_OF_TRAINING = 0.9
"""What of a run is its training; the rest is exporting and measuring."""


class GridProgress:
    """Moves a progress bar, whose steps are runs, on by parts of a run as epochs end.

    Args:
        advance: moves the bar.
    """

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._shares: dict[str, float] = {}

    def watch(self, cases: tuple[Case, ...], epoch: int, epochs: int) -> None:
        """Be told how far the training is that serves these cases (`ichash_export.compare.workers.Watch`)."""
        share = _SHARE_OF_TRAINING * epoch / epochs if epochs else 0.0
        moved = sum(share - self._shares.get(str(case), 0.0) for case in cases)
        self._shares.update({str(case): share for case in cases})
        self._advance(max(0.0, moved), f"{cases[0]}: epoch {epoch}/{epochs}" if epochs else str(cases[0]))

    def passing(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Yield the outcomes, and show each."""
        for outcome in outcomes:
            maps = (outcome.figures or {"map": {}})["map"]
            said = ", ".join(f"{task} {value:.3f}" for task, value in maps.items())
            left = 1 - self._shares.pop(str(outcome.case), 0.0)
            self._advance(left, f"{outcome.case}: {said or 'failed'}")
            yield outcome


@contextmanager
def resumable(there: Callable[[], str]) -> Iterator[None]:
    """Have the program end with what is there already, and how to go on, where what is inside is stopped.

    Args:
        there: says what is there, as a sentence without its full stop.

    Raises:
        WriteError: a file cannot be written.
    """
    with when_stopped(lambda: f"interrupted; {there()}. The same command goes on."):
        try:
            yield
        except WriteError as error:
            raise WriteError(f"{error} When there is room, the same command goes on; {there()}.") from error


class Failures:
    """The runs of a grid that failed, and what trainings had to remark.

    Args:
        output: where remarks and failures are written.

    Attributes:
        cases: the cases that failed, as words, with the reason.
    """

    def __init__(self, output: OutputOptions) -> None:
        self._output = output
        self._noted: set[str] = set()
        self.cases: dict[str, str] = {}

    def among(self, outcomes: Iterable[Outcome]) -> None:
        """Go through the outcomes of all runs: keep the failures, and note each remark once."""
        for outcome in outcomes:
            for remark in outcome.notes:
                if remark not in self._noted:
                    self._output.note(f"{outcome.case.title}: {remark}")
                self._noted.add(remark)
            if outcome.figures is None:
                self.cases[str(outcome.case)] = outcome.failure

    def tell(self, *, anything_there: bool) -> None:
        """Write a sentence for each reason why runs failed.

        Raises:
            InputError: nothing is there: no run has figures; its message has these sentences.
        """
        reasons: dict[str, list[str]] = {}
        for case, why in self.cases.items():
            reasons.setdefault(why, []).append(case)
        said = [
            f"{len(cases)} {'run' if len(cases) == 1 else 'runs'} failed ({'; '.join(cases[:5])}"
            f"{'; ...' * (len(cases) > 5)}): {why}"
            for why, cases in reasons.items()
        ]
        if said and not anything_there:
            raise InputError(" ".join(said))
        for sentence in said:
            self._output.note(sentence)
