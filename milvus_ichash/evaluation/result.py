"""What an evaluation found, and what it was measured on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from milvus_ichash.evaluation.output_files import save_json


@dataclass(frozen=True)
class TaskResult:
    """The figures of one task.

    Attributes:
        task: its name: "image->text", "both", "image", ...
        asked: modalities that the queries were encoded from; None: whatever each query has.
        code: name of the stored code.
        rows: number of database rows that count.
        queries: number of queries that the means are over.
        without_modality: queries left out because they lack a modality that is asked with.
        unlabelled: queries left out because their labels are unknown.
        without_relevant: queries left out because no row that counts is relevant to them.
        searched: name of the collection or file that the rows are in, where it has one.
        metrics: mean over the queries by the metric's name; empty where no query is left.
        precision_at_recall: mean precision by recall in per cent (0: at the first relevant row).
        random_precision: mean precision of a random order, which is the same at every recall; None where no query is
            left.
        rows_missing: number of rows that were not returned, mean over the queries; they count as misses.
        relevant_missing: number of relevant rows among them, mean over the queries.
        nothing_near: number of queries with no row within Hamming radius 2 (their precision there counts as 0).
    """

    task: str
    asked: tuple[str, ...] | None
    code: str
    rows: int
    queries: int
    without_modality: int
    unlabelled: int
    without_relevant: int
    searched: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    precision_at_recall: dict[int, float] = field(default_factory=dict)
    random_precision: float | None = None
    rows_missing: float = 0.0
    relevant_missing: float = 0.0
    nothing_near: int = 0


@dataclass(frozen=True)
class MeasuredResult:
    """Anything that was measured, and on what.

    Attributes:
        measured_on: bundle fingerprint, method, bits, via, ties, collection, index, rows, versions, date, ...
    """

    measured_on: dict[str, Any]

    def save(self, path: str | Path) -> None:
        """Write everything as JSON, each attribute under its name.

        Raises:
            InputError: the file cannot be written.
        """
        save_json(asdict(self), path)


@dataclass(frozen=True)
class EvaluationResult(MeasuredResult):
    """Figures by task, what they were measured on, and notes for whoever reads the figures.

    Attributes:
        measured_on: as in a `MeasuredResult`.
        tasks: the result of each task by its name.
        notes: sentences, such as which queries were left out.
    """

    tasks: dict[str, TaskResult]
    notes: tuple[str, ...]
