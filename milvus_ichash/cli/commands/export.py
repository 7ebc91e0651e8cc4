"""`milvus-ichash export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from milvus_ichash.cli.options import Format, FormatOption
from milvus_ichash.cli.output import emit
from milvus_ichash.cli.raw_input_options import (
    PictureFit,
    PictureFitOption,
    PictureMeanOption,
    PictureSizeOption,
    PictureStdOption,
    PictureTowerOption,
    VocabularyOption,
    attachments,
)


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or a checkpoint file.", metavar="RUN")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the bundle goes.")],
    vocabulary: VocabularyOption = None,
    picture_tower: PictureTowerOption = None,
    picture_size: PictureSizeOption = None,
    picture_mean: PictureMeanOption = None,
    picture_std: PictureStdOption = None,
    picture_fit: PictureFitOption = PictureFit.stretch,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle that is there.")] = False,
    style: FormatOption = Format.table,
) -> None:
    """Make a bundle from a checkpoint: its best weights so far, checked in onnxruntime against torch.

    The same checkpoint gives the same fingerprint again. Vocabularies and towers given to `train` are taken over; those
    given here replace them. Needs `pip install 'milvus-ichash[train]'`.

    Examples:

        milvus-ichash export runs/mine --out bundles/mine

        milvus-ichash export runs/mine --out bundles/mine --vocabulary text=vocabulary.json --overwrite
    """
    from milvus_ichash.cli.backends import TRAINING, require

    require(TRAINING, extra="train", what="exporting")
    from ichash_export.onnx.attachments import remembered
    from ichash_export.onnx.to_onnx import export_bundle
    from ichash_export.train.trained_model import load_trained
    from milvus_ichash.bundle import check_free

    check_free(out, overwrite=overwrite)
    trained = load_trained(run)
    folder = run if run.is_dir() else run.parent
    given = attachments(
        trained.model.spec.dims, vocabulary, picture_tower, picture_size, picture_mean, picture_std, picture_fit
    )
    manifest = export_bundle(trained, out, attachments={**remembered(folder), **given}, overwrite=overwrite)
    row = {
        "bundle": str(out),
        "method": manifest.method,
        "bits": manifest.bits,
        "fingerprint": manifest.fingerprint,
        "validation mAP": trained.validation_map,
        "kept epoch": trained.record.log.kept_epoch,
    }
    emit([row], style)
