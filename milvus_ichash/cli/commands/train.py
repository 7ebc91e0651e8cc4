"""`milvus-ichash train`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.choices import Level
from milvus_ichash.cli.command_again import command_again
from milvus_ichash.cli.options import FEATURE_FILES, DataOptions, TrainingDeviceOption
from milvus_ichash.cli.output import OUTPUT, OutputOptions
from milvus_ichash.cli.packages import TRAINING, require
from milvus_ichash.cli.raw_input_options import RawInputOptions
from milvus_ichash.cli.stopping import when_stopped
from milvus_ichash.errors import InputError, WriteError, check_once

if TYPE_CHECKING:
    from ichash_export.train.run_record import RunLog
    from milvus_ichash.cli.progress import Advance

_TRAINING = "Training"


def train(
    data: Annotated[
        Path,
        typer.Argument(help=f"Features and labels of the training items: a {FEATURE_FILES} file.", metavar="DATA"),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder of the run, for its checkpoint and, without --bundle, the bundle."),
    ],
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="Method to train; `milvus-ichash methods` lists them.",
            rich_help_panel=_TRAINING,
            show_default="unihash",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="Settings to start from: the name of a recipe, such as pmch/fashion, or a .toml file.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option("--bits", help="Length of the codes in bits.", rich_help_panel=_TRAINING, show_default="32"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of the method; may be given several times. `milvus-ichash methods NAME` lists them.",
            rich_help_panel=_TRAINING,
            metavar="NAME=VALUE",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Short for --set epochs=N.", rich_help_panel=_TRAINING)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            help="Random seed; it decides which modalities are hidden, the initial weights and the order of the items.",
            rich_help_panel=_TRAINING,
            show_default="0",
        ),
    ] = None,
    pdr: Annotated[
        float | None,
        typer.Option(
            "--pdr",
            help="Partial data ratio: the share of items from which one modality is hidden.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    level: Annotated[
        Level | None,
        typer.Option(
            "--level",
            help="Level at which modalities are hidden as in CICH and EGICH, in place of --pdr.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            "--validation",
            help="Share of the items that is held out to choose the epoch that is kept and to stop early; 0 holds out "
            "none.",
            rich_help_panel=_TRAINING,
            show_default="0.1",
        ),
    ] = None,
    device: TrainingDeviceOption = "auto",
    *,
    rows: DataOptions,
    raw: RawInputOptions,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", "-b", help="Folder of the bundle.", rich_help_panel=OUTPUT, show_default="OUT/bundle"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, as if it had never been interrupted.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run and bundle.")] = False,
    output: OutputOptions,
) -> None:
    """Train a method on features and labels, and write its bundle.

    Items may lack modalities, by nature or hidden with --pdr or --level. Of a file with splits, the train split is
    taken. Needs `pip install 'milvus-ichash[train]'`.

    Examples:

        milvus-ichash train items.parquet --bits 128 --out runs/mine

        milvus-ichash train fashion.npz --recipe pmch/fashion --set alpha=0.5 --out runs/fashion

        milvus-ichash train items.parquet --out runs/mine --resume
    """
    require(TRAINING, extra="train", what="training")
    from ichash_export.onnx.attachments import remember, remembered
    from ichash_export.onnx.to_onnx import export_bundle
    from ichash_export.papers.recipes import load_recipe
    from ichash_export.train.device import resolve_device
    from ichash_export.train.plan import make_plan, parse_settings
    from ichash_export.train.run_folder import record_to_resume
    from ichash_export.train.training import train as run_training
    from milvus_ichash.bundle import check_free

    target = bundle or out / "bundle"
    if target.resolve() == out.resolve():
        raise InputError("--bundle and --out cannot be the same folder: the run and its bundle are two.")
    replace = overwrite or (resume and bundle is None)
    resolve_device(device)
    others = None if resume else _written_at(out)
    before = record_to_resume(out, resume=resume, overwrite=overwrite)
    chosen = parse_settings(settings)
    if epochs is not None:
        check_once("epochs", chosen, "--set with --epochs")
        chosen["epochs"] = epochs
    plan = make_plan(
        recipe=load_recipe(recipe) if recipe else None,
        method=method,
        bits=bits,
        settings=chosen,
        options={"seed": seed, "pdr": pdr, "level": level, "validation": validation},
        going_on=None if before is None else before.identity,
    )
    check_free(target, overwrite=replace)
    with _resumable(out, others):
        table = rows.open(data, "train", "retrieval").read()
        attachments = {**(remembered(out) if resume else {}), **raw.attachments(table.dims)}
        remember(out, attachments)
        start = 0 if before is None else before.log.epoch
        name = f"{plan.method}, {plan.bits} bits"
        with output.progress(name, plan.epochs, unit="epoch", start=start, at_once=True) as advance:
            trained = run_training(
                table,
                plan.method,
                plan.bits,
                settings=plan.settings,
                options=plan.options,
                device=device,
                run=out,
                resume=resume,
                overwrite=overwrite,
                origin=rows.origin(data),
                progress=_Shown(advance, start),
                note=output.note,
            )
        manifest = export_bundle(trained, target, attachments=attachments, overwrite=replace)
    summary = trained.record.summary
    of_bundle = {"bundle": str(target), "method": manifest.method, "bits": manifest.bits}
    of_run = {"epochs": summary.epochs, "kept epoch": summary.kept_epoch, "seconds": summary.seconds}
    output.emit(
        [{**of_bundle, "fingerprint": manifest.fingerprint, "validation mAP": trained.validation_map, **of_run}]
    )


class _Shown:
    """A listener that moves the progress bar to where the run is, with the best validation and the losses behind it."""

    def __init__(self, advance: Advance, epoch: int) -> None:
        self._advance = advance
        self._epoch = epoch

    def __call__(self, log: RunLog) -> None:
        best = [f"mAP {log.best.mean:.4f} (epoch {log.best.epoch})"] if log.best else []
        losses = [f"{name} {value:.4g}" for name, value in log.history[-1].losses.items()]
        self._advance(log.epoch - self._epoch, "; ".join([*best, f"losses: {', '.join(losses)}"]))
        self._epoch = log.epoch


def _written_at(run: Path) -> int | None:
    """Return when the checkpoint of a run was written, in nanoseconds; None where there is none."""
    from ichash_export.train.checkpoint import CHECKPOINT

    checkpoint = run / CHECKPOINT
    return checkpoint.stat().st_mtime_ns if checkpoint.is_file() else None


def _kept(run: Path, others: int | None) -> str | None:
    """Return in words what is kept of a run that was stopped; None where that is nothing.

    Args:
        run: its folder.
        others: when the checkpoint of another run, which was there before this one, was written; None: there was none.
    """
    from ichash_export.train.checkpoint import CHECKPOINT, load_record

    if _written_at(run) in (None, others):
        return None
    log = load_record(run / CHECKPOINT).log
    return f"epoch {log.epoch} of {log.epochs} is kept"


@contextmanager
def _resumable(run: Path, others: int | None) -> Iterator[None]:
    """Have the program end with what is kept of the run, and how to go on, where what is inside is stopped.

    Raises:
        WriteError: a file cannot be written.
    """
    again = command_again("--resume", without=["--overwrite"])

    def interrupted() -> str:
        kept = _kept(run, others)
        if kept is None:
            return "interrupted before the first epoch: nothing was written."
        return f"interrupted; {kept}. Go on with: {again}"

    with when_stopped(interrupted):
        try:
            yield
        except WriteError as error:
            kept = _kept(run, others)
            cure = f"Make room; {kept}, so go on with: {again}" if kept else "Make room, or take another folder."
            raise WriteError(f"{error} {cure}") from error
