"""What an evaluation found, and what it was measured on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from milvus_ichash.errors import InputError


@dataclass(frozen=True)
class TaskResult:
    """One task.

    Attributes:
        task: its name: "image->text", "both", "image", ...
        asked: modalities that the queries were encoded from; None: whatever each query has.
        code: name of the stored code.
        rows: rows of the database that took part.
        queries: queries in the means.
        without_modality: queries left out because they lack what is asked with.
        unlabelled: queries left out because their labels are unknown.
        without_relevant: queries left out because no row that took part is relevant to them.
        metrics: means by name; empty where no query was left.
        precision_at_recall: mean precision by recall in per cent (0: at the first relevant row).
        random_precision: mean precision of a random order, at every recall.
        rows_missing: rows that were not returned, mean over the queries; they count as misses.
        relevant_missing: the relevant ones of them, mean over the queries.
        nothing_near: queries without any row within Hamming radius 2 (their precision there counts as 0).
        searched: name of the collection or file that the rows are in, where it has one.
    """

    task: str
    asked: tuple[str, ...] | None
    code: str
    rows: int
    queries: int
    without_modality: int
    unlabelled: int
    without_relevant: int
    metrics: dict[str, float]
    precision_at_recall: dict[int, float]
    random_precision: float | None
    rows_missing: float
    relevant_missing: float
    nothing_near: int
    searched: str | None = None


@dataclass(frozen=True)
class EvaluationResult:
    """Figures by task, what they were measured on, and remarks that a reader of them should know.

    Attributes:
        tasks: one for each task, by its name.
        measured_on: bundle fingerprint, method, bits, via, ties, collection, index, rows, versions, date, ...
        notes: sentences.
    """

    tasks: dict[str, TaskResult]
    measured_on: dict[str, Any]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it in types that JSON knows."""
        return {
            "measured_on": self.measured_on,
            "tasks": {name: asdict(task) for name, task in self.tasks.items()},
            "notes": list(self.notes),
        }

    def save(self, path: str | Path) -> None:
        """Write it as JSON.

        Raises:
            InputError: where the file cannot be written.
        """
        save_json(self.to_dict(), path)


def save_json(document: dict[str, Any], path: str | Path) -> None:
    """Write a document as a JSON file.

    Raises:
        InputError: where the file cannot be written.
    """
    try:
        Path(path).write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise InputError(f"'{path}' cannot be written: {error.strerror}.") from error
