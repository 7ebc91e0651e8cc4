"""Tasks: what a query is made from, which code answers it, and which rows of the database count."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from milvus_ichash.bundle import Manifest
from milvus_ichash.choices import DatabasePart
from milvus_ichash.errors import InputError, check_known
from milvus_ichash.features import FeatureTable, Mask

OBSERVED = "observed"
"""Name of the task of fused codes in which each query is made from whatever modalities it has."""


@dataclass(frozen=True)
class Task:
    """One way to query the database, such as with pictures for texts.

    Attributes:
        name: "image->text" for cross-modal codes. For fused codes "both" ("all" where there are three or more
            modalities), "image" or "observed"; or "image->text" where the database's codes are made from texts only.
        asked: modalities that a query is encoded from, the others hidden; None: all that the query has.
        query_code: name of the code that the encoder makes of the query.
        stored_code: name of the code that it is compared with.
        target: modality of the stored code, or the only one that it is made from; None where the code is made from all
            modalities that a row has.
        single_modality: whether the stored code is a fused code made from the target only (`single_modality_code`).
            No collection holds such codes: they are made for this task.
    """

    name: str
    asked: tuple[str, ...] | None
    query_code: str
    stored_code: str
    target: str | None
    single_modality: bool = False

    def queries(self, table: FeatureTable) -> FeatureTable:
        """Return the queries that have all modalities asked with, and of these queries only those modalities.

        The table may be empty.
        """
        if self.asked is None:
            return table
        if not set(self.asked) <= set(table.modalities):
            return table.take(np.zeros(0, np.intp))
        return table.only(*self.asked)

    def required(self, part: DatabasePart, modalities: Sequence[str]) -> tuple[str, ...]:
        """Return the modalities that a row of the database must have in order to count."""
        if part == "complete":
            return tuple(modalities)
        if self.target is not None and (part == "observed" or self.single_modality):
            return (self.target,)
        return ()


def available_tasks(manifest: Manifest) -> dict[str, Task]:
    """Return all tasks that a bundle's codes can be measured on, by name; those measured by default come first."""
    names = tuple(manifest.dims)
    fused = [code.name for code in manifest.codes if code.modality is None]
    tasks = [group(code, names) for code in fused for group in (fused_tasks, one_space_tasks)]
    tasks.append(cross_modal_tasks({code.modality: code.name for code in manifest.codes if code.modality is not None}))
    return {task.name: task for group in tasks for task in group}


def choose_tasks(
    manifest: Manifest, stored: Collection[str], names: Sequence[str] | None, *, masked: bool
) -> list[Task]:
    """Return the tasks of these names, or by default the usual ones that the stored codes allow.

    The usual tasks of cross-modal codes are every modality against every other. Those of fused codes are all modalities
    together and each alone; or, where modalities were hidden from the queries (`masked`), each query with the
    modalities that it has left. Tasks against codes made from a single modality are usual where such codes are stored.

    Raises:
        InputError: a task that is not known, or whose code is not stored.
    """
    known = available_tasks(manifest)
    if names:
        for name in names:
            _check_stored(name, known, stored)
        return [known[name] for name in dict.fromkeys(names)]
    usual = [task for task in known.values() if task.stored_code in stored and _is_usual(task, len(known), masked)]
    if not usual:
        raise InputError(
            f"none of the bundle's codes ({', '.join(code.name for code in manifest.codes)}) is stored; "
            f"stored: {', '.join(stored)}."
        )
    return usual


def _check_stored(name: str, known: dict[str, Task], stored: Collection[str]) -> None:
    check_known(name, known, "task")
    task = known[name]
    if task.stored_code in stored:
        return
    if task.single_modality:
        raise InputError(
            f"task '{name}' searches codes made from {task.target} alone, which no collection holds: measure it on a "
            "file (--via exact)."
        )
    raise InputError(f"task '{name}' needs '{task.stored_code}', and only {', '.join(stored)} is stored.")


def _is_usual(task: Task, tasks: int, masked: bool) -> bool:
    if task.target is None or task.single_modality:
        return (task.asked is None) == masked
    return task.asked != (task.target,) or tasks == 1


def fused_tasks(code: str, modalities: tuple[str, ...]) -> list[Task]:
    """Return the tasks of a fused code: all modalities together, each alone, and whatever a query has (`OBSERVED`)."""
    everything = {1: modalities[0], 2: "both"}.get(len(modalities), "all")
    asked = {everything: modalities, **{name: (name,) for name in modalities}, OBSERVED: None}
    return [Task(name, some, code, code, None) for name, some in asked.items()]


def one_space_tasks(code: str, modalities: tuple[str, ...]) -> list[Task]:
    """Return the tasks of a fused code in which each modality is searched with every other.

    Queries and database are made from a single modality each, and their codes lie in one space.
    """
    return [
        Task(f"{a}->{b}", (a,), code, single_modality_code(code, b), b, single_modality=True)
        for a, b in permutations(modalities, 2)
    ]


def single_modality_code(code: str, modality: str) -> str:
    """Return the name of a fused code that is made from this modality only, whatever else a row has."""
    return f"{code} from {modality} only"


def single_modality_targets(
    manifest: Manifest, names: Sequence[str], there: Collection[str], *, masked: bool
) -> tuple[str, ...]:
    """Return the modalities for which tasks need single-modality codes: the usual ones, or those that were asked for.

    Args:
        manifest: of the bundle.
        names: of the tasks; names of unknown tasks are ignored. Without names: the usual ones.
        there: the modalities of the database, for the usual tasks.
        masked: whether modalities are hidden from the queries, as in `choose_tasks`.
    """
    known = [task for task in available_tasks(manifest).values() if task.single_modality]
    wanted = [task for task in known if (task.name in names if names else not masked and task.target in there)]
    return tuple(dict.fromkeys(task.target for task in wanted if task.target is not None))


def cross_modal_tasks(codes: dict[str, str]) -> list[Task]:
    """Return the tasks of cross-modal codes: each modality against every other, then each against itself.

    Args:
        codes: name of the code by its modality.
    """
    pairs = [*permutations(codes, 2), *((name, name) for name in codes)]
    return [Task(f"{a}->{b}", (a,), codes[a], codes[b], b) for a, b in pairs]


def has_all(present: Mask, modalities: Sequence[str], wanted: Sequence[str]) -> Mask:
    """Return for each row whether it has all of the wanted modalities: bool (N,)."""
    return np.asarray(present[:, [modalities.index(name) for name in wanted]].all(axis=1))
