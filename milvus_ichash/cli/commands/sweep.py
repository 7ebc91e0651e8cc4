"""`milvus-ichash sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from milvus_ichash.cli.measuring_options import (
    MEASURE,
    JsonFileOption,
    MeasuringOptions,
    QueriesArgument,
    check_files,
    check_named_once,
    write_result,
)
from milvus_ichash.cli.option_values import each_listed, listed
from milvus_ichash.cli.options import MILVUS, BundleOption, DataOptions, DeviceOption, MilvusOptions
from milvus_ichash.cli.output import OUTPUT, OutputOptions
from milvus_ichash.cli.retriever_options import open_indexes


def sweep(
    queries: QueriesArgument,
    bundle: BundleOption,
    collection: Annotated[
        list[str],
        typer.Option(
            "--collection",
            "-c",
            help="Collection with BIN_IVF_FLAT; may be given several times, where the codes are in several "
            "collections.",
            rich_help_panel=MILVUS,
        ),
    ],
    nprobe: Annotated[
        str,
        typer.Option(
            "--nprobe",
            help="Numbers of cells to search in, with commas between them, such as 1,2,4,8,16,32,64.",
            rich_help_panel=MEASURE,
        ),
    ],
    flat: Annotated[
        list[str] | None,
        typer.Option(
            "--flat",
            help="Collection of the same rows with BIN_FLAT, to compare with; may be given several times, for several "
            "--collection.",
            rich_help_panel=MILVUS,
            show_default=False,
        ),
    ] = None,
    at_k: Annotated[
        list[str] | None,
        typer.Option(
            "--at-k",
            help="Ranks k of recall@k and mAP@k, with commas between them, such as 10,100.",
            rich_help_panel=MEASURE,
            show_default="10 and 100",
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            help="Number of rows that each search asks for.",
            rich_help_panel=MEASURE,
            show_default="the largest --at-k",
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            "--bits",
            help="Length that the codes of the collections must have.",
            rich_help_panel=MEASURE,
            show_default="any",
        ),
    ] = None,
    *,
    measuring: MeasuringOptions,
    rows: DataOptions,
    milvus: MilvusOptions,
    device: DeviceOption = "auto",
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure",
            help="Draw recall and mAP over latency into this file (.png, .svg, .pdf).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    json_file: JsonFileOption = None,
    output: OutputOptions,
) -> None:
    """Measure recall, mAP and latency of BIN_IVF_FLAT at several nprobe, beside the exact ranking.

    The last line of each task searches in all cells. Queries are the query split of the file, the items that --holdout
    chooses, or all rows of a file without splits.

    Examples:

        milvus-ichash sweep items.parquet --holdout 500 -b runs/mine/bundle -c items --nprobe 1,2,4,8,16

        milvus-ichash sweep queries.npz -b runs/mine/bundle -c items --nprobe 1,4,16,64 --flat items_flat --figure
        sweep.png
    """
    from milvus_ichash.evaluation import sweep_report
    from milvus_ichash.evaluation.sweep import sweep as measure
    from milvus_ichash.index.connection import connect
    from milvus_ichash.runtime.encoder import HashEncoder

    check_named_once("--collection", collection)
    check_named_once("--flat", flat or [])
    nprobes = listed(nprobe, int, "--nprobe", "1,2,4,8,16,32,64")
    address = milvus.settings()
    settings = measuring.settings(tuple(each_listed(at_k, int, "--at-k", "10,100") or (10, 100)))
    check_files(figure, json_file)
    table = rows.open(queries, "query").read()
    encoder = HashEncoder.load(bundle, device=device, bits=bits)
    with connect(address, create=False) as connection:
        result = measure(
            encoder,
            table,
            open_indexes(connection, collection, encoder, bits),
            nprobes,
            flat=open_indexes(connection, flat or (), encoder, bits),
            tasks=measuring.task,
            top_k=top_k,
            settings=settings,
            progress=output.progress,
        )
    write_result(result, sweep_report, output, figure, json_file)
