"""The figures of cases: train a method, export it, and measure the bundle that a user would get; or measure a
baseline."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime
import torch

from ichash_export.baselines.baseline import measure_baseline
from ichash_export.compare.case import COMPLETE, Case, ResultLine
from ichash_export.compare.dataset import Dataset
from ichash_export.compare.hidden_labels import with_labels
from ichash_export.compare.unseen_classes import without_unseen
from ichash_export.methods import registry
from ichash_export.onnx.to_onnx import export_bundle
from ichash_export.train.options import TrainingOptions
from ichash_export.train.run_record import RunLog
from ichash_export.train.training import train
from ichash_export.train.training_items import masked
from milvus_ichash.choices import DatabasePart
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.agreement import agreement
from milvus_ichash.evaluation.database import Database, encode_database
from milvus_ichash.evaluation.evaluate import evaluate
from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
from milvus_ichash.evaluation.exact_retriever import ExactRetriever
from milvus_ichash.evaluation.metrics import random_average_precision
from milvus_ichash.evaluation.scores import MAP, RANDOM
from milvus_ichash.features import FeatureTable
from milvus_ichash.incomplete import pdr_mask, training_rows
from milvus_ichash.io.feature_source import TableSource
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.temporary import TemporaryFolder
from milvus_ichash.version import __version__

DIGITS = 5
Progress = Callable[[RunLog], None]
"""Is told of each epoch of a training."""


@dataclass(frozen=True)
class CaseData:
    """The items that a case trains on and is measured with.

    Attributes:
        train: the training items. Where `options` hides modalities, they are not hidden yet: the training does it.
        query: the queries as the data has them; the evaluation hides what `query_pdr` says.
        retrieval: the database, with the gaps that `use` asks for.
        part: the rows of the database that count.
        options: options of the training.
    """

    train: FeatureTable
    query: FeatureTable
    retrieval: FeatureTable
    part: DatabasePart
    options: TrainingOptions


def case_data(case: Case, data: Dataset) -> CaseData:
    """Return the splits as a case sees them.

    With "discard", "enhance" and "extend" the retrieval split has gaps as the training split has, drawn by the same
    seed. With "discard" only complete items train, so the training has nothing left to hide.

    Raises:
        InputError: no item is left.
    """
    if case.protocol.unseen:
        data = without_unseen(data, case.protocol.unseen)
    data = replace(data, train=with_labels(data.train, case.protocol.labelled, case.seed))
    options = case.options()
    if case.protocol.use == COMPLETE:
        return CaseData(data.train, data.query, data.retrieval, "observed", options)
    training, retrieval = masked(data.train, options), masked(data.retrieval, options)
    rows = training_rows(training.present, case.protocol.use)
    if not rows.any():
        raise InputError(f"use 'discard': none of the {len(training)} training items is complete.")
    part: DatabasePart = "observed" if case.protocol.use == "extend" else "complete"
    if rows.all():
        return CaseData(data.train, data.query, retrieval, part, options)
    return CaseData(
        training.take(rows), data.query, retrieval, part, options.model_copy(update={"pdr": 0.0, "level": None})
    )


def run_together(
    cases: Sequence[Case],
    data: Dataset,
    *,
    device: str = "auto",
    note: Callable[[str], None] = lambda message: None,
    progress: Progress = lambda log: None,
) -> list[ResultLine]:
    """Train once, measure each case, and return its figures.

    Args:
        cases: one case, or several that cut the codes of the same training.
        data: the data to train on and to measure with.
        device: device of the training.
        note: called with what a user should know of the training.
        progress: called with the log of the training after each epoch.

    Returns:
        For each case a line without its identity:
        `map` and `random`, the tie-aware mAP@all of the codes and of a random order, by task;
        `queries` and `rows`, the numbers of queries in the mean and of rows searched, by task (methods only);
        `agreement` of the codes that a query's modalities have alone, for methods whose modalities share one space
        (`evaluation.agreement`);
        `seconds` and `cpu_seconds` of the training, on the clock and of all cores together (for a baseline with its
        measuring);
        and `threads`, `epochs`, `kept_epoch`, `validation`, `items`, `fingerprint` and `versions`.

    Raises:
        InputError: the method cannot be trained with these data or settings.
    """
    case = cases[0].whole
    chosen = case_data(case, data)
    return (
        [_baseline(case, chosen)]
        if case.is_baseline
        else _method(case, [each.bits for each in cases], chosen, device, note, progress)
    )


def _method(
    case: Case,
    lengths: Sequence[int],
    given: CaseData,
    device: str,
    note: Callable[[str], None],
    progress: Progress,
) -> list[ResultLine]:
    watch = _Watch()
    trained = train(
        given.train,
        case.method,
        case.bits,
        settings=case.settings,
        options=given.options,
        device=device,
        note=note,
        progress=progress,
    )
    taken = watch.read()
    threads = torch.get_num_threads()
    with TemporaryFolder() as folder:
        manifest = export_bundle(trained, folder / "bundle")
        encoder = HashEncoder.load(folder / "bundle", device="cpu", threads=threads)
        alone = given.retrieval.modalities if trained.model.method.one_space else ()
        database = encode_database(encoder, TableSource(folder, given.retrieval), alone)
        measured = [_measured(case, encoder.cut(length), database.cut(length), given) for length in lengths]
    of_the_training = {
        **taken,
        "threads": threads,
        "epochs": trained.record.log.epoch,
        "kept_epoch": trained.record.log.kept_epoch,
        "validation": trained.validation_map,
        "items": trained.record.counts.model_dump(),
        "fingerprint": manifest.fingerprint,
        "versions": {"milvus-ichash": __version__, **trained.record.versions, "onnxruntime": onnxruntime.__version__},
    }
    return [{**figures, **of_the_training} for figures in measured]


def _measured(case: Case, encoder: HashEncoder, database: Database, given: CaseData) -> ResultLine:
    settings = EvaluationSettings(part=given.part, query_pdr=case.protocol.query_pdr, seed=case.seed)
    result = evaluate(encoder, given.query, ExactRetriever(database, encoder.manifest.fingerprint), settings=settings)
    cells = {name: cell for name, cell in result.tasks.items() if cell.queries}
    one_space = registry.load(case.method).one_space and len(given.query.modalities) > 1
    complete = int(given.query.present.all(axis=1).sum())
    return {
        "map": {name: round(cell.metrics[MAP], DIGITS) for name, cell in cells.items()},
        "random": {name: round(cell.metrics[RANDOM], DIGITS) for name, cell in cells.items()},
        "queries": {name: cell.queries for name, cell in cells.items()},
        "rows": {name: cell.rows for name, cell in cells.items()},
        **({"agreement": round(agreement(encoder, given.query), DIGITS)} if one_space and complete > 1 else {}),
    }


def _baseline(case: Case, given: CaseData) -> ResultLine:
    training = masked(given.train, given.options)
    retrieval = (
        given.retrieval.take(np.all(given.retrieval.present, axis=1)) if given.part == "complete" else given.retrieval
    )
    query = given.query.hide(pdr_mask(given.query.present, case.protocol.query_pdr, case.seed))
    watch = _Watch()
    found = measure_baseline(
        case.method, train=training, queries=query, database=retrieval, bits=case.bits, seed=case.seed
    )
    return {
        "map": {name: round(value, DIGITS) for name, value in found.items()},
        "random": dict.fromkeys(found, round(_random(query, retrieval), DIGITS)),
        **watch.read(),
        "threads": torch.get_num_threads(),
        "items": {"training_items": len(training), "complete_items": int(training.present.all(axis=1).sum())},
        "versions": {"milvus-ichash": __version__, "numpy": np.__version__},
    }


class _Watch:
    """A clock that starts when it is made."""

    def __init__(self) -> None:
        self.clock, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Return the seconds on the clock, and those of all cores, which other work on the machine hardly changes."""
        return {
            "seconds": round(time.perf_counter() - self.clock, 1),
            "cpu_seconds": round(time.process_time() - self.cpu, 1),
        }


def _random(query: FeatureTable, retrieval: FeatureTable) -> float:
    """Return the mAP of a random order, over the queries that have a relevant row."""
    relevant = ((_float_labels(query) @ _float_labels(retrieval).T) > 0).sum(axis=1)
    relevant = relevant[relevant > 0]
    return float(random_average_precision(np.full(len(relevant), len(retrieval)), relevant).mean())


def _float_labels(table: FeatureTable) -> np.ndarray[Any, np.dtype[np.float32]]:
    return table.known_labels().astype(np.float32)
