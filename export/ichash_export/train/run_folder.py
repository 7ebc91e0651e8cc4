"""Whether a run may start in a folder, or go on there: only with the method, settings and data that it had."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ichash_export.train.checkpoint import CHECKPOINT, load_record, partial_of
from ichash_export.train.run_record import RunIdentity, RunRecord
from milvus_ichash.errors import InputError, check_can_be_folder, writing
from milvus_ichash.features import FeatureTable
from milvus_ichash.temporary import held

MOST_NAMED = 8
"""So many differences between two runs are named."""


def record_to_resume(run: Path, *, resume: bool, overwrite: bool) -> RunRecord | None:
    """Return the record of the run to go on with; None where a new one starts.

    Raises:
        InputError: a run is there that may neither be replaced nor go on; or none is there to go on with; or `run` is
            a file.
    """
    check_can_be_folder(run, "the run")
    path = run / CHECKPOINT
    if resume:
        return load_record(path)
    if path.exists() and not overwrite:
        raise InputError(
            f"'{run}' holds a run already: --resume goes on with it, --overwrite starts anew in its place."
        )
    return None


@contextmanager
def alone_in(run: Path) -> Iterator[None]:
    """Hold the folder of a run, which is made where it is not there, and remove what a killed run left half written.

    Raises:
        InputError: another run is there, or the folder cannot be made.
    """
    with writing(f"the run '{run}'"):
        run.mkdir(parents=True, exist_ok=True)
    with held(run):
        partial_of(run / CHECKPOINT).unlink(missing_ok=True)
        yield


def digest(table: FeatureTable) -> dict[str, Any]:
    """Return what identifies a table: its sizes, and a digest of each of its parts, so that a difference can be named.

    Ids and payload do not count.
    """
    arrays: dict[str, npt.NDArray[Any] | None] = {f"features of {name}": x for name, x in table.features.items()}
    arrays |= {"present": table.present, "labels": table.labels, "labelled": table.labelled}
    parts: dict[str, Any] = {"number of items": len(table), "modalities": table.dims}
    for name, array in arrays.items():
        parts[name] = (
            None if array is None else hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).hexdigest()
        )
    return parts


def refuse_changes(saved: RunIdentity, given: RunIdentity, run: Path) -> None:
    """Check that a run goes on as the run that it was.

    Raises:
        InputError: the identities differ; the message names what differs.
    """
    differences = _differences(_flat(saved), _flat(given))
    if saved.method != given.method:
        differences = differences[:1]  # all settings differ then
    named = [f"{name} (was {was}, is {now})" for name, was, now in differences]
    named[MOST_NAMED:] = [f"and {len(named) - MOST_NAMED} more"] * (len(named) > MOST_NAMED)
    data = [name for name, _, _ in _differences(saved.data, given.data)]
    if data:
        named.append(f"the data ({', '.join(data)})")
    if named:
        raise InputError(
            f"the run in '{run}' was made with something else and cannot go on as the same run: {'; '.join(named)}. "
            "Give it what it had, or start anew with --overwrite."
        )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)]


def _flat(identity: RunIdentity) -> dict[str, Any]:
    return {"method": identity.method, "bits": identity.bits, **identity.settings, **dict(identity.options)}
