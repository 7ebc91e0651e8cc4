"""The baselines: float features with cosine, and the hashing that faiss has.

A baseline is a file with a function `fit`, and a line of `_BASELINES`. `fit(train, bits, seed)` learns from a table
that may have gaps. It returns the function that embeds a table: one row per item, by the name of the code. No baseline
looks at labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt

from ichash_export.baselines import cca_itq, cosine, lsh, pca_itq
from milvus_ichash.codes import check_bits
from milvus_ichash.errors import InputError, check_known
from milvus_ichash.evaluation.metrics import mean_average_precision
from milvus_ichash.evaluation.tasks import Task, cross_modal_tasks, fused_tasks, has_all
from milvus_ichash.features import FeatureTable, MultiHot

Vectors = npt.NDArray[Any]
"""Codes, uint8 (N, bits / 8), or features, float32 (N, D)."""
Embed = Callable[[FeatureTable], dict[str, Vectors]]


@dataclass(frozen=True)
class Baseline:
    """One baseline.

    Attributes:
        family: "fused" (one embedding per item, `code`) or "cross-modal" (`<modality>_code` for each modality).
        fit: the function `fit(train, bits, seed)`.
        mean_ap: the tie-aware mAP@all of (queries, database, labels of the queries, labels of the database).
    """

    family: Literal["fused", "cross-modal"]
    fit: Callable[[FeatureTable, int, int], Embed]
    mean_ap: Callable[[Vectors, Vectors, MultiHot, MultiHot], float] = mean_average_precision


_BASELINES = {
    "cosine": Baseline("fused", cosine.fit, cosine.mean_ap),
    "lsh": Baseline("fused", lsh.fit),
    "pca-itq": Baseline("fused", pca_itq.fit),
    "cca-itq": Baseline("cross-modal", cca_itq.fit),
}


def baseline_names() -> tuple[str, ...]:
    """Return the names of all baselines."""
    return tuple(_BASELINES)


def measure_baseline(
    name: str, *, train: FeatureTable, queries: FeatureTable, database: FeatureTable, bits: int, seed: int = 0
) -> dict[str, float]:
    """Return the tie-aware mAP@all of a baseline by task; the tasks are named as `evaluate` names them.

    Fused baselines are measured with all modalities together ("both", or "all" for three and more), with each modality
    alone, and, where queries have gaps, with what each query has ("observed"). They search every row of the database.
    Cross-modal baselines are measured from each modality to each other ("image->text"), among the rows that have the
    target. A task is left out where no query can be asked or none shares a label with a row.

    Args:
        name: name of the baseline.
        train: the items to learn from, with the gaps that the caller made.
        queries: the queries, with labels.
        database: the rows to search, with labels.
        bits: code length; cosine has no codes and takes any.
        seed: random seed; the same seed on as many threads gives the same figures.

    Raises:
        InputError: there is no such baseline; the bits are no multiple of 8 or more than the data can give; there are
            too few training items; tables lack labels or have different modalities; or no task is left.
        BackendMissingError: faiss or scipy is needed and is not installed.
    """
    check_known(name, _BASELINES, "baseline")
    baseline = _BASELINES[name]
    check_bits(bits)
    queries = _checked(train, queries, database)
    embed = baseline.fit(train, bits, seed)
    stored = embed(database)
    result = {}
    for task in _tasks(baseline, train.modalities, gaps=not queries.present.all()):
        asked = task.queries(queries)
        rows = has_all(database.present, database.modalities, task.required("observed", database.modalities))
        labels, theirs = asked.known_labels(), database.known_labels()[rows]
        if (labels.any(axis=0) & theirs.any(axis=0)).any():
            result[task.name] = baseline.mean_ap(
                embed(asked)[task.query_code], stored[task.stored_code][rows], labels, theirs
            )
    if not result:
        raise InputError(f"{name}: no query shares a label with any row of the database: there is nothing to measure.")
    return result


def _tasks(baseline: Baseline, modalities: tuple[str, ...], *, gaps: bool) -> list[Task]:
    if baseline.family == "fused":
        return [task for task in fused_tasks("code", modalities) if gaps or task.asked is not None]
    return [task for task in cross_modal_tasks({m: f"{m}_code" for m in modalities}) if task.asked != (task.target,)]


def _checked(train: FeatureTable, queries: FeatureTable, database: FeatureTable) -> FeatureTable:
    """Return the queries with their labels in the order of the database's classes."""
    for what, table in (("queries", queries), ("database", database)):
        if table.dims != train.dims:
            raise InputError(f"the {what} have {_sizes(table)} features, the training items {_sizes(train)}.")
        table.known_labels(f"the {what}")
    if database.label_names is not None:
        queries = queries.with_classes(database.label_names)
    ours, theirs = (table.known_labels().shape[1] for table in (queries, database))
    if ours != theirs:
        raise InputError(f"the queries have {ours} classes, the database {theirs}.")
    return queries


def _sizes(table: FeatureTable) -> str:
    return ", ".join(f"{size} {name}" for name, size in table.dims.items())
