"""Options that `evaluate` and `sweep` share: how to measure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from milvus_ichash.choices import DatabasePart, Ties
from milvus_ichash.cli.option_groups import given, refuse_given
from milvus_ichash.cli.options import FEATURE_FILES
from milvus_ichash.cli.output import OUTPUT, OutputOptions
from milvus_ichash.errors import InputError

if TYPE_CHECKING:
    from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
    from milvus_ichash.evaluation.result import EvaluationResult
    from milvus_ichash.evaluation.sweep import SweepResult

MEASURE = "How to measure"

QueriesArgument = Annotated[
    Path, typer.Argument(help=f"Features and labels of the queries: a {FEATURE_FILES} file.", metavar="QUERIES")
]


JsonFileOption = Annotated[
    Path | None,
    typer.Option(
        "--json", help="Write all figures, and what they were measured on, into this file.", rich_help_panel=OUTPUT
    ),
]


@dataclass(frozen=True)
class MeasuringOptions:
    """The tasks, the rows that take part, and the metrics."""

    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            help="What queries have and what they look for: 'image->text' or 'image->image' (codes for each modality); "
            "both, image, text or observed (one code an item); may be given several times.",
            rich_help_panel=MEASURE,
            show_default="the usual ones",
        ),
    ] = None
    database: Annotated[
        DatabasePart,
        typer.Option(
            "--database",
            help="Rows to search among. observed: rows that have the target modality; all: also rows whose code was "
            "completed; complete: rows that lack nothing.",
            rich_help_panel=MEASURE,
        ),
    ] = "observed"
    ties: Annotated[
        Ties,
        typer.Option(
            "--ties",
            help="Order of rows at the same distance. expected: the mean over all orders; stable: by id, as papers do.",
            rich_help_panel=MEASURE,
        ),
    ] = "expected"
    normalise: Annotated[
        Literal["relevant", "hits"],
        typer.Option(
            "--normalise",
            help="Divisor of mAP@k. relevant: min(R, k), where R rows are relevant; hits: the relevant rows among the "
            "first k.",
            rich_help_panel=MEASURE,
        ),
    ] = "relevant"
    query_pdr: Annotated[
        float,
        typer.Option(
            "--query-pdr",
            help="Share of the queries from which one modality is hidden (partial data ratio).",
            rich_help_panel=MEASURE,
        ),
    ] = 0.0
    seed: Annotated[int, typer.Option("--seed", help="Random seed for --query-pdr.", rich_help_panel=MEASURE)] = 0

    def settings(self, at_k: tuple[int, ...]) -> EvaluationSettings:
        """Return the settings of the evaluation, with metrics at these ranks.

        Raises:
            InputError: a rank below 1, or a seed for which there is nothing to draw.
        """
        if not self.query_pdr:
            refuse_given(given(self, "seed"), "it draws what --query-pdr hides")
        from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings

        return EvaluationSettings(
            part=self.database,
            ties=self.ties,
            at_k=at_k,
            normalisation="hits" if self.normalise == "hits" else "min(R,k)",
            query_pdr=self.query_pdr,
            seed=self.seed,
        )


def check_files(figure: Path | None, json_file: Path | None) -> None:
    """Raise InputError where the figure or the JSON file cannot be written, before anything is measured."""
    from milvus_ichash.evaluation.output_files import check_figure, check_folder

    if figure is not None:
        check_figure(figure)
    if json_file is not None:
        check_folder(json_file)


def write_result(
    result: EvaluationResult | SweepResult,
    report: Any,
    output: OutputOptions,
    figure: Path | None,
    json_file: Path | None,
) -> None:
    """Write remarks, the JSON file, the figure and the table of a result, as its report module makes them."""
    for remark in result.notes:
        output.note(remark)
    if json_file:
        result.save(json_file)
    if figure:
        report.figure(result, figure)
    output.emit(report.table(result), title=report.title(result))


def check_named_once(option: str, collections: list[str]) -> None:
    """Raise InputError where an option names a collection twice."""
    if len(set(collections)) < len(collections):
        raise InputError(f"{option} names '{max(collections, key=collections.count)}' twice: once is enough.")
