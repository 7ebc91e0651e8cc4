"""`milvus-ichash export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from milvus_ichash.cli.output import FormatOptions
from milvus_ichash.cli.packages import TRAINING, require
from milvus_ichash.cli.raw_input_options import RawInputOptions


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or a checkpoint file.", metavar="RUN")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder into which the bundle is written.")],
    *,
    raw: RawInputOptions,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
    output: FormatOptions,
) -> None:
    """Make a bundle from a checkpoint: its best weights so far, checked in onnxruntime against torch.

    The same checkpoint gives the same fingerprint every time. The vocabularies and picture towers that were given to
    `train` go into the bundle too; those given here replace them. Needs `pip install 'milvus-ichash[train]'`.

    Examples:

        milvus-ichash export runs/mine --out bundles/mine

        milvus-ichash export runs/mine --out bundles/mine --vocabulary text=vocabulary.json --overwrite
    """
    require(TRAINING, extra="train", what="exporting")
    from ichash_export.onnx.attachments import remembered
    from ichash_export.onnx.to_onnx import export_bundle
    from ichash_export.train.trained_model import load_trained
    from milvus_ichash.bundle import check_free

    check_free(out, overwrite=overwrite)
    trained = load_trained(run)
    folder = run if run.is_dir() else run.parent
    attachments = {**remembered(folder), **raw.attachments(trained.model.spec.dims)}
    manifest = export_bundle(trained, out, attachments=attachments, overwrite=overwrite)
    row = {
        "bundle": str(out),
        "method": manifest.method,
        "bits": manifest.bits,
        "fingerprint": manifest.fingerprint,
        "validation mAP": trained.validation_map,
        "kept epoch": trained.record.log.kept_epoch,
    }
    output.emit([row])
