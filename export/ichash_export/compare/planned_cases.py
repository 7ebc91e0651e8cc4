"""Planned cases: which of them the results file has already, and running those that it has not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ichash_export.compare.case import Case, ResultLine, changes, key
from ichash_export.compare.dataset import DataFile, Dataset
from ichash_export.compare.results_file import ResultsFile, refusal
from ichash_export.compare.workers import Outcome, Watch, run_here, run_in_workers, unwatched
from milvus_ichash.errors import InputError

State = Literal["there", "to run", "changed"]


@dataclass(frozen=True)
class PlannedCase:
    """A case, and what the results file has of it.

    Attributes:
        case: the case.
        identity: what the line of the case begins with.
        line: the line that the file has of the case, if any.
        changed: what that line was made with that differs now, in words.
    """

    case: Case
    identity: ResultLine
    line: ResultLine | None
    changed: tuple[str, ...]

    @property
    def state(self) -> State:
        """Whether the case has to be run."""
        if self.line is None:
            return "to run"
        return "changed" if self.changed else "there"


def plan_cases(cases: Sequence[Case], data: Dataset, records: ResultsFile) -> list[PlannedCase]:
    """Look up cases in the results file.

    Raises:
        InputError: the file holds something else than results.
    """
    lines, digests = records.read(), data.digests()
    planned = []
    for case in cases:
        identity = case.identity(data.name, digests)
        line = lines.get(key(identity))
        planned.append(PlannedCase(case, identity, line, tuple(changes(line, identity)) if line else ()))
    return planned


def refuse_changed(planned: Sequence[PlannedCase], records: ResultsFile) -> None:
    """Raise InputError where the file has lines of these cases that were made with other data or settings."""
    changed = [(each.identity, list(each.changed)) for each in planned if each.changed]
    if changed:
        raise InputError(refusal(records.path, changed))


def still_to_run(planned: Sequence[PlannedCase], *, replace: bool = False) -> list[PlannedCase]:
    """Return the cases to run: those that the file has not, and with `replace` those that were made with something
    else."""
    return [each for each in planned if each.state == "to run" or (replace and each.state == "changed")]


def lines_of(planned: Sequence[PlannedCase], records: ResultsFile) -> list[ResultLine]:
    """Return the lines that the file has of these cases now, in the order of the cases."""
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
    watch: Watch = unwatched,
) -> Iterator[Outcome]:
    """Run the cases that the file has not, write each line as its run ends, and yield what became of it.

    Cases that cut the codes of one training are run together. A case that another process has run in the meantime is
    not run again.

    Args:
        planned: the cases as `plan_cases` looked them up.
        records: the results file.
        data: the data, in this process.
        file: where other processes read the data.
        jobs: number of processes; 1: this process alone.
        device: device of the trainings.
        replace: whether to run changed cases too, so that their new lines take the place of the old ones.
        watch: is told how far the trainings are.

    Raises:
        InputError: a worker process was killed.
        WriteError: the file cannot be written, or another that a case needs.
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
    outcomes = (
        run_here(due(), data, device, watch) if workers < 2 else run_in_workers(due(), file, device, workers, watch)
    )
    for outcome in outcomes:
        if outcome.figures is not None:
            identity = identities[key(outcome.case.identity(data.name, {}))]
            records.add({**identity, "recipe": outcome.case.recipe, **outcome.figures}, replace=replace)
        yield outcome


def _is_due(each: PlannedCase, line: ResultLine | None, replace: bool) -> bool:
    return line is None or (replace and bool(changes(line, each.identity)))
