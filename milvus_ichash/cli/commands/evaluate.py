"""`milvus-ichash evaluate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from milvus_ichash.cli.measuring_options import (
    MEASURE,
    JsonFileOption,
    MeasuringOptions,
    QueriesArgument,
    check_files,
    write_result,
)
from milvus_ichash.cli.option_groups import given, refuse_given
from milvus_ichash.cli.option_values import each_listed
from milvus_ichash.cli.options import BundleOption, DataOptions, DeviceOption, MilvusOptions
from milvus_ichash.cli.output import OUTPUT, OutputOptions
from milvus_ichash.cli.retriever_options import RetrieverOptions, open_retrievers


def evaluate(
    queries: QueriesArgument,
    bundle: BundleOption,
    *,
    ranking: RetrieverOptions,
    at_k: Annotated[
        list[str] | None,
        typer.Option(
            "--at-k",
            help="Ranks k of mAP@k, P@k and NDCG@k, with commas between them, such as 10,50.",
            rich_help_panel=MEASURE,
            show_default="50",
        ),
    ] = None,
    measuring: MeasuringOptions,
    rows: DataOptions,
    milvus: MilvusOptions,
    device: DeviceOption = "auto",
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure",
            help="Draw precision over recall into this file (.png, .svg, .pdf).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    json_file: JsonFileOption = None,
    output: OutputOptions,
) -> None:
    """Measure retrieval: mAP, precision and NDCG of queries with labels against a collection or a file.

    A row is relevant to a query if they share a label. Queries are the query split of the file, the items that
    --holdout chooses, or all rows of a file without splits. With one code for each item, image->text and text->image
    are measured too by --via exact, which makes the codes of one modality alone that no collection holds.

    Examples:

        milvus-ichash evaluate items.parquet --holdout 500 --bundle runs/mine/bundle --collection items

        milvus-ichash evaluate fashion.npz --bundle runs/fashion/bundle --via exact --figure pr.png

        milvus-ichash evaluate fashion.npz --bundle runs/fashion/bundle -c fashion --via readback --json result.json

        milvus-ichash evaluate queries.npz -b runs/mine/bundle -c items_image -c items_text --via readback
    """
    from milvus_ichash.evaluation import report
    from milvus_ichash.evaluation.evaluate import evaluate as measure
    from milvus_ichash.io import open_database
    from milvus_ichash.runtime.encoder import HashEncoder

    ranking.check()
    if ranking.way == "exact":
        refuse_given(given(milvus), "--via exact ranks a file, without Milvus")
    address = None if ranking.way == "exact" else milvus.settings()
    settings = measuring.settings(tuple(each_listed(at_k, int, "--at-k", "10,50") or (50,)))
    check_files(figure, json_file)
    splits = rows.open_splits(queries)
    table = splits.choose(rows.split, "query").read()
    database = partial(open_database, splits, ranking.against, rows.column_names)
    encoder = HashEncoder.load(bundle, device=device, bits=ranking.bits)
    tasks = measuring.task
    with open_retrievers(
        ranking,
        database,
        encoder,
        address,
        len(table),
        tasks=tasks or (),
        masked=settings.query_pdr > 0,
        output=output,
    ) as retrievers:
        result = measure(encoder, table, retrievers, tasks=tasks, settings=settings, progress=output.progress)
    write_result(result, report, output, figure, json_file)
