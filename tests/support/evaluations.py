"""Retrievers over codes in memory, and comparing the figures of two evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from milvus_ichash.evaluation.database import Database
from milvus_ichash.evaluation.exact_retriever import ExactRetriever
from milvus_ichash.evaluation.result import TaskResult
from milvus_ichash.features import FeatureTable
from milvus_ichash.runtime.encoder import HashEncoder


def in_memory(encoder: HashEncoder, table: FeatureTable, label_names: tuple[str, ...] | None = None) -> ExactRetriever:
    """A retriever over the codes of a table."""
    table = table.take(np.argsort(table.ids))
    codes = encoder.encode_table(table)
    return ExactRetriever(
        Database(table.ids, table.labels, label_names, table.present, table.modalities, codes),
        encoder.manifest.fingerprint,
    )


def assert_same_figures(a: Mapping[str, TaskResult], b: Mapping[str, TaskResult]) -> None:
    """Every figure of every task is the same, to 1e-9, wherever the rows were searched."""
    assert a.keys() == b.keys()
    for name, one in a.items():
        other = b[name]
        floats = [
            {**task.metrics, **task.precision_at_recall, "random": task.random_precision, "rows": task.rows_missing,
             "relevant": task.relevant_missing}
            for task in (one, other)
        ]  # fmt: skip
        assert floats[0] == pytest.approx(floats[1], abs=1e-9), name
        same = {"metrics": {}, "precision_at_recall": {}, "random_precision": 0.0, "searched": None}
        same |= {"rows_missing": 0.0, "relevant_missing": 0.0}
        assert replace(one, **same) == replace(other, **same)
