"""What of a grid is there already, and running what is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ichash_export.compare.case import Case, Line, changes, key
from ichash_export.compare.dataset import DataFile, Dataset
from ichash_export.compare.results_file import ResultsFile, refusal
from ichash_export.compare.workers import Outcome, run_here, run_in_workers
from milvus_ichash.errors import InputError

State = Literal["there", "to run", "changed"]


@dataclass(frozen=True)
class PlannedCase:
    """A case and what the results file knows of it.

    Attributes:
        case: the case.
        identity: what its line begins with.
        line: the line of its cell, if there is one.
        changed: what that line was made with that differs from the case, in words.
    """

    case: Case
    identity: Line
    line: Line | None
    changed: tuple[str, ...]

    @property
    def state(self) -> State:
        """Whether there is anything left to do."""
        if self.line is None:
            return "to run"
        return "changed" if self.changed else "there"


def plan_cases(cases: Sequence[Case], data: Dataset, records: ResultsFile) -> list[PlannedCase]:
    """Hold a grid against the results.

    Raises:
        InputError: the file holds something else.
    """
    lines, digests = records.read(), data.digests()
    planned = []
    for case in cases:
        identity = case.identity(data.name, digests)
        line = lines.get(key(identity))
        planned.append(PlannedCase(case, identity, line, tuple(changes(line, identity)) if line else ()))
    return planned


def refuse_changed(planned: Sequence[PlannedCase], records: ResultsFile) -> None:
    """Raise InputError where cells are there that were made with something else."""
    changed = [(each.identity, list(each.changed)) for each in planned if each.changed]
    if changed:
        raise InputError(refusal(records.path, changed))


def still_to_run(planned: Sequence[PlannedCase], *, replace: bool = False) -> list[PlannedCase]:
    """What is to be run: cells that are not there, and with `replace` those that are there with something else."""
    return [each for each in planned if each.state == "to run" or (replace and each.state == "changed")]


def lines_of(planned: Sequence[PlannedCase], records: ResultsFile) -> list[Line]:
    """The lines of these cases that are there now, in the order of the cases."""
    there = records.read()
    return [there[key(each.identity)] for each in planned if key(each.identity) in there]


def run_planned(
    planned: Sequence[PlannedCase],
    records: ResultsFile,
    data: Dataset,
    file: DataFile,
    *,
    jobs: int = 1,
    device: str = "auto",
    replace: bool = False,
) -> Iterator[Outcome]:
    """Run what is not there, write each line as its run ends, and say what became of it.

    Cases that cut the codes of one training are run together. A case that another process has run in the meantime is
    not run again. With `replace`, changed cells are run too, and their new lines take the place of the old.
    """
    identities = {key(each.identity): each.identity for each in planned}
    together: dict[tuple[object, ...], list[PlannedCase]] = {}
    for each in still_to_run(planned, replace=replace):
        together.setdefault(key(each.case.whole.identity(data.name, {})), []).append(each)

    def due() -> Iterator[tuple[Case, ...]]:
        for group in together.values():
            lines = records.read()
            cases = tuple(each.case for each in group if _is_due(each, lines.get(key(each.identity)), replace))
            if cases:
                yield cases

    workers = min(jobs, len(together))
    outcomes = run_here(due(), data, device) if workers < 2 else run_in_workers(due(), file, device, workers)
    for outcome in outcomes:
        if outcome.figures is not None:
            identity = identities[key(outcome.case.identity(data.name, {}))]
            records.add({**identity, "recipe": outcome.case.recipe, **outcome.figures}, replace=replace)
        yield outcome


def _is_due(each: PlannedCase, line: Line | None, replace: bool) -> bool:
    return line is None or (replace and bool(changes(line, each.identity)))
