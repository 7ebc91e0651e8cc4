"""What a user would pick instead of a trained method: float features with cosine, and hashing that faiss has.

A baseline is a file with a function `fit` and a line of `_BASELINES`. `fit(train, bits, seed)` learns from a table that may
have gaps and returns the function that embeds a table: by name of the code, one row per item. Labels are never looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ichash_export.baselines import cca_itq, cosine, lsh, pca_itq
from milvus_ichash.codes import check_bits
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.metrics import mean_average_precision
from milvus_ichash.evaluation.tasks import Task, cross_modal_tasks, fused_tasks, has_all
from milvus_ichash.features import FeatureTable

Vectors = npt.NDArray[Any]
"""uint8 (N, bits / 8) codes, or float32 (N, D) features."""
Embed = Callable[[FeatureTable], dict[str, Vectors]]


@dataclass(frozen=True)
class Baseline:
    """One baseline.

    Attributes:
        family: "fused" (one embedding per item, `code`) or "cross-modal" (`<modality>_code` for each modality).
        fit: `fit(train, bits, seed)`.
        mean_ap: tie-aware mAP@all of (queries, database, labels of the queries, labels of the database).
    """

    family: Literal["fused", "cross-modal"]
    fit: Callable[[FeatureTable, int, int], Embed]
    mean_ap: Callable[[Vectors, Vectors, npt.NDArray[np.uint8], npt.NDArray[np.uint8]], float] = mean_average_precision


_BASELINES = {
    "cosine": Baseline("fused", cosine.fit, cosine.mean_ap),
    "lsh": Baseline("fused", lsh.fit),
    "pca-itq": Baseline("fused", pca_itq.fit),
    "cca-itq": Baseline("cross-modal", cca_itq.fit),
}


def baseline_names() -> tuple[str, ...]:
    """The names of all baselines."""
    return tuple(_BASELINES)


def measure_baseline(
    name: str, *, train: FeatureTable, queries: FeatureTable, database: FeatureTable, bits: int, seed: int = 0
) -> dict[str, float]:
    """Tie-aware mAP@all by task, named as `evaluate` names them.

    Fused baselines: "both" ("all" of three or more modalities), then each modality alone, and "observed" where queries
        have gaps;
    against every row of the database.
    Cross-modal ones: "image->text" and the like, against the rows that have the target. A task is left out where no
    query has what is asked with or shares a label with a row.

    Args:
        name: of a baseline.
        train: what it learns from, incomplete as the caller masked it.
        queries: with labels.
        database: with labels.
        bits: code length; cosine has none, and takes any.
        seed: of every random choice; the same seed on as many threads gives the same figures.

    Raises:
        InputError: no such baseline; bits that are no multiple of 8, or more than the data can give; too few training
            items; tables without labels or of different modalities; no task left.
        BackendMissingError: faiss or scipy is needed and not installed.
    """
    if name not in _BASELINES:
        raise InputError(f"there is no baseline '{name}'; there are: {', '.join(_BASELINES)}.")
    baseline = _BASELINES[name]
    check_bits(bits)
    queries = _checked(train, queries, database)
    embed = baseline.fit(train, bits, seed)
    stored = embed(database)
    result = {}
    for task in _tasks(baseline, train.modalities, gaps=not queries.present.all()):
        asked = task.queries(queries)
        rows = has_all(database.present, database.modalities, task.required("observed", database.modalities))
        labels, theirs = _labels(asked), _labels(database)[rows]
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
    """The queries, with their labels over the database's classes."""
    for what, table in (("queries", queries), ("database", database)):
        if table.dims != train.dims:
            raise InputError(f"the {what} have {_sizes(table)} features, the training items {_sizes(train)}.")
        if table.labels is None:
            raise InputError(
                f"the {what} have no labels: what is relevant cannot be told. Name their column with --labels-column."
            )
    if database.label_names is not None:
        queries = queries.with_classes(database.label_names)
    if _labels(queries).shape[1] != _labels(database).shape[1]:
        raise InputError(
            f"the queries have {_labels(queries).shape[1]} classes, the database {_labels(database).shape[1]}."
        )
    return queries


def _sizes(table: FeatureTable) -> str:
    return ", ".join(f"{size} {name}" for name, size in table.dims.items())


def _labels(table: FeatureTable) -> npt.NDArray[np.uint8]:
    return np.zeros((len(table), 0), np.uint8) if table.labels is None else table.labels
