"""`milvus-ichash train`."""

from __future__ import annotations

import shlex
import sys
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.cli.options import (
    Device,
    Format,
    FormatOption,
    HoldoutOption,
    IdColumnOption,
    LabelsColumnOption,
    ModalityOption,
    QuietOption,
    SplitOption,
    mapping,
)
from milvus_ichash.cli.output import complain, emit, note, progress
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
from milvus_ichash.errors import InputError

if TYPE_CHECKING:
    from ichash_export.train.run_record import EpochReport
    from milvus_ichash.cli.output import Advance

_TRAINING = "Training"
_DATA = "Data"
_OUTPUT = "Output"


class Level(str, Enum):
    """Shares of paired, image-only and text-only items."""

    easy = "easy"
    medium = "medium"
    hard = "hard"


def train(
    data: Annotated[
        Path,
        typer.Argument(help="Features and labels of the training items: .parquet, .npz, .h5, .mat.", metavar="DATA"),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the run: its checkpoint, and the bundle unless --bundle.")
    ],
    method: Annotated[
        str | None,
        typer.Option(
            "--method", help="Method (see `milvus-ichash methods`).", rich_help_panel=_TRAINING, show_default="unihash"
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="Settings to start from: a recipe such as pmch/fashion, or a .toml file.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    bits: Annotated[
        int | None, typer.Option("--bits", help="Code length.", rich_help_panel=_TRAINING, show_default="32")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="NAME=VALUE: a setting of the method; repeat it.",
            rich_help_panel=_TRAINING,
            metavar="NAME=VALUE",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Short for --set epochs=N.", rich_help_panel=_TRAINING)
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of everything random.", rich_help_panel=_TRAINING, show_default="0")
    ] = None,
    pdr: Annotated[
        float | None,
        typer.Option(
            "--pdr",
            help="Hide one modality of this share of the items (partial data ratio).",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    level: Annotated[
        Level | None,
        typer.Option(
            "--level", help="Hide modalities as CICH and EGICH do, in place of --pdr.", rich_help_panel=_TRAINING
        ),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            "--validation",
            help="Share held out to choose the epoch that is kept, and to stop early; 0: none.",
            rich_help_panel=_TRAINING,
            show_default="0.1",
        ),
    ] = None,
    device: Annotated[
        Device, typer.Option("--device", help="auto: CUDA where torch has it.", rich_help_panel=_TRAINING)
    ] = Device.auto,
    split: SplitOption = None,
    holdout: HoldoutOption = None,
    modality: ModalityOption = None,
    id_column: IdColumnOption = None,
    labels_column: LabelsColumnOption = None,
    vocabulary: VocabularyOption = None,
    picture_tower: PictureTowerOption = None,
    picture_size: PictureSizeOption = None,
    picture_mean: PictureMeanOption = None,
    picture_std: PictureStdOption = None,
    picture_fit: PictureFitOption = PictureFit.stretch,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", "-b", help="Where the bundle goes.", rich_help_panel=_OUTPUT, show_default="OUT/bundle"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, as if it had not stopped.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run and the bundle that are there.")
    ] = False,
    style: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Train a method on features and labels, and write its bundle.

    Items may lack modalities, by nature or hidden with --pdr or --level. Of a file with splits the train split is
    taken. Needs `pip install 'milvus-ichash[train]'`.

    Examples:

        milvus-ichash train items.parquet --bits 128 --out runs/mine

        milvus-ichash train fashion.npz --recipe pmch/fashion --set alpha=0.5 --out runs/fashion

        milvus-ichash train items.parquet --out runs/mine --resume
    """
    from milvus_ichash.cli.backends import TRAINING, require

    require(TRAINING, extra="train", what="training")
    from ichash_export.onnx.attachments import remember, remembered
    from ichash_export.onnx.to_onnx import export_bundle
    from ichash_export.papers.recipes import load_recipe
    from ichash_export.train.device import resolve_device
    from ichash_export.train.plan import make_plan, parse_settings
    from ichash_export.train.run_folder import record_to_resume
    from ichash_export.train.training import train as run_training
    from milvus_ichash.bundle import check_free
    from milvus_ichash.io import ColumnNames, open_splits

    target = bundle or out / "bundle"
    if target.resolve() == out.resolve():
        raise InputError("--bundle and --out cannot be the same folder: the run and its bundle are two.")
    replace = overwrite or (resume and bundle is None)
    resolve_device(device.value)
    began = time.time()
    before = record_to_resume(out, resume=resume, overwrite=overwrite)
    plan = make_plan(
        recipe=load_recipe(recipe) if recipe else None,
        method=method,
        bits=bits,
        settings={**parse_settings(settings), **({} if epochs is None else {"epochs": epochs})},
        options={"seed": seed, "pdr": pdr, "level": level and level.value, "validation": validation},
        going_on=None if before is None else before.identity,
    )
    check_free(target, overwrite=replace)
    try:
        columns = ColumnNames(mapping(modality, "--modality"), id_column, labels_column)
        table = open_splits(data, columns, holdout).choose(split.value if split else None, "train", "retrieval").read()
        given = attachments(table.dims, vocabulary, picture_tower, picture_size, picture_mean, picture_std, picture_fit)
        raw = {**(remembered(out) if resume else {}), **given}
        remember(out, raw)
        with progress(f"{plan.method}, {plan.bits} bits", plan.epochs, quiet=quiet) as advance:
            trained = run_training(
                table,
                plan.method,
                plan.bits,
                settings=plan.settings,
                options=plan.options,
                device=device.value,
                run=out,
                resume=resume,
                overwrite=overwrite,
                progress=_Shown(advance),
                note=lambda message: note(message, quiet=quiet),
            )
        manifest = export_bundle(trained, target, attachments=raw, overwrite=replace)
    except KeyboardInterrupt:
        complain(_interrupted(out, began))
        raise typer.Exit(130) from None
    summary = trained.record.summary
    row = {
        "bundle": str(target),
        "method": manifest.method,
        "bits": manifest.bits,
        "fingerprint": manifest.fingerprint,
        "validation mAP": trained.validation_map,
        "epochs": summary.epochs,
        "kept epoch": summary.kept_epoch,
        "seconds": summary.seconds,
    }
    emit([row], style)


class _Shown:
    """Moves the progress bar to where the run is, with the loss and the validation behind it."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._epoch = 0

    def __call__(self, report: EpochReport) -> None:
        said = ", ".join(f"{name} {value:.4g}" for name, value in report.losses.items())
        if report.best:
            said += f"; validation mAP {report.best.mean:.4f} at epoch {report.best.epoch}"
        self._advance(report.epoch - self._epoch, said)
        self._epoch = report.epoch


def _interrupted(run: Path, began: float) -> str:
    """What is left of the run, and how it goes on. A checkpoint from before it began is another run's, or the one it goes on with."""
    from ichash_export.train.checkpoint import CHECKPOINT, load_record

    resumed = "--resume" in sys.argv
    if not (run / CHECKPOINT).is_file() or (not resumed and (run / CHECKPOINT).stat().st_mtime < began):
        return "interrupted before the first epoch: nothing was written."
    log = load_record(run / CHECKPOINT).log
    again = [word for word in sys.argv[1:] if word not in ("--overwrite", "--resume")]
    command = shlex.join(["milvus-ichash", *again, "--resume"])
    return f"interrupted; epoch {log.epoch} of {log.epochs} is kept. Go on with: {command}"
