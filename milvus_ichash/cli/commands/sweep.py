"""The part of `milvus-ichash evaluate` that measures several nprobe."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from milvus_ichash.cli.options import Format
from milvus_ichash.cli.output import emit, note, progress
from milvus_ichash.errors import InputError

if TYPE_CHECKING:
    from milvus_ichash.cli.output import Advance
    from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
    from milvus_ichash.features import FeatureTable
    from milvus_ichash.runtime.encoder import HashEncoder
    from milvus_ichash.settings import MilvusSettings


def parse(sweep: str) -> list[int]:
    """'nprobe=1,2,4' as [1, 2, 4].

    Raises:
        InputError: it is not like that.
    """
    name, sign, values = sweep.partition("=")
    try:
        numbers = [int(value) for value in values.split(",")]
    except ValueError:
        numbers = []
    if name.strip() != "nprobe" or not sign or not numbers:
        raise InputError(f"--sweep takes nprobe and whole numbers, such as nprobe=1,2,4,8,16,32,64; got '{sweep}'.")
    return numbers


def run(
    encoder: HashEncoder,
    queries: FeatureTable,
    milvus: MilvusSettings,
    collections: Sequence[str],
    flat: Sequence[str],
    nprobes: Sequence[int],
    *,
    bits: int | None,
    tasks: Sequence[str] | None,
    top_k: int | None,
    settings: EvaluationSettings,
    figure: Path | None,
    json_file: Path | None,
    style: Format,
    quiet: bool,
) -> None:
    """Measure, and write table, JSON and picture."""
    from milvus_ichash.cli.retriever_options import open_indexes
    from milvus_ichash.evaluation import sweep_report
    from milvus_ichash.evaluation.sweep import sweep
    from milvus_ichash.index.connection import connect

    def bar(name: str, total: int) -> AbstractContextManager[Advance]:
        return progress(name, total, quiet=quiet)

    with connect(milvus, create=False) as connection:
        result = sweep(
            encoder,
            queries,
            open_indexes(connection, collections, encoder, bits),
            nprobes,
            flat=open_indexes(connection, flat, encoder, bits),
            tasks=tasks,
            top_k=top_k,
            settings=settings,
            progress=bar,
        )
    for remark in result.notes:
        note(remark, quiet=quiet)
    if json_file:
        result.save(json_file)
    if figure:
        sweep_report.figure(result, figure)
    emit(sweep_report.table(result), style, title=sweep_report.title(result))
