"""Tasks: what is asked with, which code answers, and which rows of the database take part."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from milvus_ichash.bundle import Manifest
from milvus_ichash.choices import DatabasePart
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable, Mask

"""Rows of the database that take part: those whose target modality is observed (`Extend`; for fused codes that is every
row), all of them, completed codes too, or those with every modality (`Enhance`)."""

OBSERVED = "observed"
"""The task of fused codes that asks with whatever modalities each query has."""


@dataclass(frozen=True)
class Task:
    """One way to ask.

    Attributes:
        name: "image->text" for cross-modal codes; "both" ("all" where there are three or more), "image" or "observed"
            for fused ones, and "image->text" for those whose database is coded from words alone.
        asked: modalities that a query is encoded from, the others hidden; None: all that the query has.
        query_code: name of the code that the encoder makes of the query.
        stored_code: name of the code that it is held against.
        target: modality of the stored code, or the only one that it is made from; None where it is made from all that a
            row has.
        alone: the stored code is fused, made for this task from the target alone (`alone_code`); no collection holds
            it.
    """

    name: str
    asked: tuple[str, ...] | None
    query_code: str
    stored_code: str
    target: str | None
    alone: bool = False

    def queries(self, table: FeatureTable) -> FeatureTable:
        """The queries that have what is asked with, and nothing else of them. May be empty."""
        if self.asked is None:
            return table
        if not set(self.asked) <= set(table.modalities):
            return table.take(np.zeros(0, np.intp))
        return table.only(*self.asked)

    def rows(self, part: DatabasePart, modalities: Sequence[str]) -> tuple[str, ...]:
        """Modalities that a row of the database must have in order to take part."""
        if part == "complete":
            return tuple(modalities)
        if self.target is not None and (part == "observed" or self.alone):
            return (self.target,)
        return ()


def available_tasks(manifest: Manifest) -> dict[str, Task]:
    """All tasks that a bundle's codes can be measured on, by name, those measured by default first."""
    names = tuple(manifest.dims)
    fused = [code.name for code in manifest.codes if code.modality is None]
    tasks = [group(code, names) for code in fused for group in (fused_tasks, one_space_tasks)]
    tasks.append(cross_modal_tasks({code.modality: code.name for code in manifest.codes if code.modality is not None}))
    return {task.name: task for group in tasks for task in group}


def choose_tasks(
    manifest: Manifest, stored: Collection[str], names: Sequence[str] | None, *, masked: bool
) -> list[Task]:
    """The tasks asked for, or the usual ones that the stored codes allow.

    The usual ones: every modality against every other for cross-modal codes; for fused codes all modalities together
        and each
    alone, or, where modalities were hidden from the queries (`masked`), each query with what it has left. Those against
    codes made from one modality are usual where such codes are stored.

    Raises:
        InputError: a task that is not known, or whose code is not stored.
    """
    known = available_tasks(manifest)
    if names:
        for name in names:
            if name not in known:
                raise InputError(f"there is no task '{name}' for this bundle; there are: {', '.join(known)}.")
            if known[name].alone and known[name].stored_code not in stored:
                raise InputError(
                    f"task '{name}' searches codes made from {known[name].target} alone, which no collection holds: measure it on a file "
                    "(--via exact)."
                )
            if known[name].stored_code not in stored:
                raise InputError(
                    f"task '{name}' needs '{known[name].stored_code}', and only {', '.join(stored)} is stored."
                )
        return [known[name] for name in dict.fromkeys(names)]
    usual = [task for task in known.values() if task.stored_code in stored and _is_usual(task, len(known), masked)]
    if not usual:
        raise InputError(
            f"none of the bundle's codes ({', '.join(code.name for code in manifest.codes)}) is stored; stored: {', '.join(stored)}."
        )
    return usual


def _is_usual(task: Task, tasks: int, masked: bool) -> bool:
    if task.target is None or task.alone:
        return (task.asked is None) == masked
    return task.asked != (task.target,) or tasks == 1


def fused_tasks(code: str, modalities: tuple[str, ...]) -> list[Task]:
    """The tasks of a fused code of this name: all modalities together, each alone, and whatever each query has (`OBSERVED`)."""
    everything = {1: modalities[0], 2: "both"}.get(len(modalities), "all")
    asked = {everything: modalities, **{name: (name,) for name in modalities}}
    return [Task(name, some, code, code, None) for name, some in asked.items()] + [
        Task(OBSERVED, None, code, code, None)
    ]


def one_space_tasks(code: str, modalities: tuple[str, ...]) -> list[Task]:
    """Each modality against every other in the one space of a fused code: queries and database are made from one modality each."""
    return [Task(f"{a}->{b}", (a,), code, alone_code(code, b), b, alone=True) for a, b in permutations(modalities, 2)]


def alone_code(code: str, modality: str) -> str:
    """Name of a fused code that is made from this modality alone, whatever else a row has."""
    return f"{code} of {modality} alone"


def alone_targets(manifest: Manifest, names: Sequence[str]) -> tuple[str, ...]:
    """Modalities that the database has to be coded from alone for the tasks of these names; names that are not known are left out."""
    known = available_tasks(manifest)
    chosen = [known[name] for name in names if name in known]
    return tuple(dict.fromkeys(task.target for task in chosen if task.alone and task.target is not None))


def cross_modal_tasks(codes: dict[str, str]) -> list[Task]:
    """The tasks of codes by modality (modality -> name of its code): each modality against every other, then each against itself."""
    pairs = [*permutations(codes, 2), *((name, name) for name in codes)]
    return [Task(f"{a}->{b}", (a,), codes[a], codes[b], b) for a, b in pairs]


def has_all(present: Mask, modalities: Sequence[str], wanted: Sequence[str]) -> Mask:
    """bool (N,): rows that have all of the wanted modalities."""
    return np.asarray(present[:, [modalities.index(name) for name in wanted]].all(axis=1))
