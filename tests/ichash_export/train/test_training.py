"""The training frame: same seed, same weights, whatever happens in between."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from support.tiny import make_table

from ichash_export.methods.base import MOST
from ichash_export.train import training
from ichash_export.train.checkpoint import CHECKPOINT, load, load_record
from ichash_export.train.options import TrainingOptions
from ichash_export.train.run_record import RunLog
from ichash_export.train.trained_model import TrainedModel, load_trained
from ichash_export.train.training import train
from milvus_ichash.errors import BackendMissingError, InputError
from milvus_ichash.features import FeatureTable
from milvus_ichash.temporary import held

pytestmark = pytest.mark.usefixtures("tiny_methods")


def _train(
    table: FeatureTable | None = None,
    method: str = "tiny",
    *,
    epochs: int = 4,
    more: dict | None = None,
    **options: Any,
) -> TrainedModel:
    arguments = {
        name: options.pop(name)
        for name in ("run", "resume", "overwrite", "progress", "note", "device")
        if name in options
    }
    settings = {"epochs": epochs, **(more or {})}
    chosen = TrainingOptions(**{"validate_every": 2, **options})
    return train(table or make_table(), method, 16, settings=settings, options=chosen, **arguments)


def _equal(a: TrainedModel, b: TrainedModel) -> bool:
    x, y = a.model.state_dict(), b.model.state_dict()
    return list(x) == list(y) and all(torch.equal(x[name], y[name]) for name in x)


def test_same_seed_same_weights_and_the_callers_randomness_is_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = _train()
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(99)
    assert _equal(first, _train())
    assert not _equal(first, _train(seed=1))
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("method", ["tiny", "tiny-cross"])
def test_training_learns(method: str) -> None:
    """Better than the random ranking, whose mAP is about the share of relevant items: a quarter."""
    trained = _train(method=method, epochs=15)
    assert trained.validation_map > 0.6
    losses = [sum(epoch.losses.values()) for epoch in trained.record.log.history]
    assert losses[-1] < losses[0]
    assert not trained.model.training


class StopError(Exception):
    """Stands for whatever ends a process."""


def _stopped(epoch: int, **options: Any) -> None:
    """Train until something ends the process after this epoch."""

    def progress(report: RunLog) -> None:
        if report.epoch == epoch:
            raise StopError

    with pytest.raises(StopError):
        _train(**options, progress=progress)


@pytest.fixture
def checkpoint_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SHARE", 1e9)


@pytest.fixture
def best_is_third(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each six validations figures of which the third is best, whatever a processor makes of the weights."""
    figures = itertools.cycle([0.3, 0.4, 0.6, 0.5, 0.2, 0.1])
    monkeypatch.setattr(training, "validate", lambda *_: {"image": (figure := next(figures)), "text": figure / 2})


@pytest.mark.usefixtures("checkpoint_each_epoch")
@pytest.mark.parametrize("stops", [[1], [2, 3], [5], [1, 2, 3, 4, 5]])
@pytest.mark.parametrize(("method", "validation"), [("tiny", 0.1), ("tiny", 0.0), ("tiny-cross", 0.1)])
def test_a_resumed_run_makes_the_same_weights(tmp_path: Path, stops: list[int], method: str, validation: float) -> None:
    whole = _train(method=method, epochs=6, validation=validation)
    for i, epoch in enumerate(stops):
        _stopped(epoch, method=method, epochs=6, validation=validation, run=tmp_path, resume=i > 0)
        assert load_record(tmp_path / CHECKPOINT).log.epoch == epoch
    torch.manual_seed(1234)
    resumed = _train(method=method, epochs=6, validation=validation, run=tmp_path, resume=True)
    assert _equal(whole, resumed)
    assert [e.losses for e in resumed.record.log.history] == [e.losses for e in whole.record.log.history]
    timed = whole.record.summary.model_copy(update={"seconds": resumed.record.summary.seconds})
    assert resumed.record.summary == timed


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoint_each_epoch")
def test_a_killed_process_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """kill -9 at a random moment, twice; the checkpoint is whole each time, and the weights are those of an untouched
    run."""
    more, path = {"pause": 0.02}, tmp_path / CHECKPOINT
    seen = 0

    def wait_at_the_end(report: RunLog) -> None:
        if report.epoch == 39:
            time.sleep(10**6)

    for again in (False, True):
        child = multiprocessing.get_context("fork").Process(
            target=_train,
            kwargs={"epochs": 40, "more": more, "run": tmp_path, "resume": again, "progress": wait_at_the_end},
        )
        child.start()
        while child.is_alive() and not (path.exists() and load_record(path).log.epoch > seen + 4):
            time.sleep(0.003)
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        before, seen = seen, load(path).record.log.epoch
        assert before < seen < 40
    resumed = _train(epochs=40, more=more, run=tmp_path, resume=True)
    assert _equal(resumed, _train(epochs=40, more=more))


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = _train(run=tmp_path)
    reports: list[RunLog] = []
    assert _equal(first, _train(run=tmp_path, resume=True, progress=reports.append))
    assert not reports
    assert _equal(first, load_trained(tmp_path))
    assert _equal(first, load_trained(tmp_path / CHECKPOINT))


def test_a_run_that_is_there_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    _train(run=tmp_path)
    with pytest.raises(InputError, match=r"holds a run already: --resume goes on with it, --overwrite starts anew"):
        _train(run=tmp_path)
    assert _train(run=tmp_path, overwrite=True, seed=1).record.identity.options.seed == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": 9}, r"epochs \(was 6, is 9\)"),
        ({"more": {"width": 8}}, r"width \(was 16, is 8\)"),
        ({"seed": 2}, r"seed \(was 0, is 2\)"),
        ({"pdr": 0.2, "validation": 0.2}, r"pdr \(was 0.0, is 0.2\); validation \(was 0.1, is 0.2\)"),
        ({"table": make_table(190)}, r"the same run: the data \(number of items, "),
        ({"table": make_table(200, noise=0.81)}, r"run: the data \(features of image, features of text\)\. "),
        (
            {"table": make_table(200, dims={"image": 12, "sound": 8})},
            r"run: the data \(modalities, features of text, features of sound\)\. ",
        ),
    ],
)
def test_a_run_cannot_go_on_as_another(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    _stopped(2, epochs=6, run=tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(InputError, match=named):
        _train(**{"epochs": 6, "run": tmp_path, "resume": True, **change})
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_missing_rows_do_not_count_as_data_that_was_changed_by_masks_only() -> None:
    """What a missing row holds makes no difference to the weights."""
    table = make_table()
    junk = make_table()
    for i, x in enumerate(junk.features.values()):
        x[~junk.present[:, i]] = 1e30
    assert np.isnan(table.features["image"]).any()
    assert _equal(_train(table), _train(junk))


@pytest.mark.usefixtures("best_is_third")
def test_the_best_epoch_is_kept() -> None:
    whole = _train(epochs=12)
    assert whole.record.log.kept_epoch == 6
    assert whole.record.summary.validation == pytest.approx({"mean": 0.45, "image": 0.6, "text": 0.3})
    # Tiny has no schedule, so a run that ends there has the same weights.
    assert _equal(whole, _train(epochs=6))


def test_what_a_killed_run_left_half_written_is_removed_and_a_live_one_is_left_alone(tmp_path: Path) -> None:
    _stopped(2, epochs=6, run=tmp_path)
    torn = tmp_path / f"{CHECKPOINT}.part"
    torn.write_bytes(b"killed in the middle")
    with held(tmp_path), pytest.raises(InputError, match=f"another run is writing into '{tmp_path}'"):
        _train(epochs=6, run=tmp_path, resume=True)
    assert torn.exists()
    with pytest.raises(KeyboardInterrupt):
        _train(epochs=6, run=tmp_path, resume=True, progress=Mock(side_effect=KeyboardInterrupt))
    assert not torn.exists()


@pytest.mark.usefixtures("checkpoint_each_epoch", "best_is_third")
@pytest.mark.parametrize("after", [0, 1, 3])
def test_the_best_weights_survive_a_resume(tmp_path: Path, after: int) -> None:
    """The run ends with weights from before it was stopped."""
    whole = _train(epochs=12)
    _stopped(6 + after, epochs=12, run=tmp_path)
    assert _equal(whole, load_trained(tmp_path))
    assert _equal(whole, _train(epochs=12, run=tmp_path, resume=True))


@pytest.mark.usefixtures("best_is_third")
def test_training_stops_when_patience_is_out() -> None:
    trained = _train(epochs=300, validate_every=1, patience=3)
    assert (trained.record.log.kept_epoch, trained.record.log.epoch) == (3, 6)
    assert trained.record.log.finished


def test_validation_waits_for_the_warmup() -> None:
    trained = _train(epochs=8, more={"warmup_epochs": 5}, validate_every=2)
    assert [e.epoch for e in trained.record.log.history if e.validation] == [6, 8]
    none = _train(epochs=4, more={"warmup_epochs": 5})
    assert (none.validation_map, none.record.log.kept_epoch) == (None, 4)


def test_without_validation_all_items_train_and_the_last_epoch_is_kept() -> None:
    trained = _train(validation=0)
    assert trained.record.counts.training_items == 200
    assert (trained.validation_map, trained.record.log.kept_epoch) == (None, 4)
    assert trained.model.state_dict()["method.middle"].any(), "finish was not called"


def test_scaling_is_learnt_from_the_observed_rows_of_the_training_part() -> None:
    table = make_table()
    trained = _train(table, "tiny-cross", validation=0, epochs=1)
    image = table.features["image"][table.present[:, 0]]
    text = table.features["text"][table.present[:, 1]]
    standard, minmax = trained.model.scaling
    np.testing.assert_allclose(standard.shift, image.mean(0), atol=1e-5)
    np.testing.assert_allclose(1 / standard.scale, image.std(0), rtol=1e-4)
    np.testing.assert_allclose(minmax.shift, text.min(0))
    np.testing.assert_allclose(1 / minmax.scale, np.ptp(text, axis=0), rtol=1e-5)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MOST, "learning_rate", 1e38)  # a rate that is refused, else
    with pytest.raises(
        InputError,
        match=r"the (loss 'similarity'|weight '\S+') is no longer a finite number in epoch 1: .*learning rate",
    ):
        _train(more={"learning_rate": 1e37}, run=tmp_path)
    assert load_record(tmp_path / CHECKPOINT).log.epoch == 0
    assert all(torch.isfinite(x).all() for x in load(tmp_path / CHECKPOINT).weights.values())
    with pytest.raises(InputError, match="has no validated weights yet"):
        load_trained(tmp_path)


def test_the_run_of_another_method_is_told_by_the_method_alone(tmp_path: Path) -> None:
    _train(run=tmp_path)
    with pytest.raises(InputError, match=r"something else .*: method \(was tiny, is tiny-cross\)\. Give it"):
        _train(method="tiny-cross", run=tmp_path, resume=True)


def test_a_training_that_diverged_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MOST, "learning_rate", 1e38)
    notes: list[str] = []
    _train(note=notes.append)
    assert notes == []
    _train(more={"learning_rate": 1e6}, note=notes.append)
    assert len(notes) == 1 and notes[0].startswith("weights have grown to") and "smaller learning rate" in notes[0]


def test_labels_that_are_unknown_reach_a_method_that_can_use_them() -> None:
    table = make_table()
    known = np.arange(200) % 2 == 0
    table.labels[~known] = 0
    table = FeatureTable(table.ids, table.features, table.present, table.labels, labelled=known)
    notes: list[str] = []
    trained = _train(table, "tiny-cross", note=notes.append)
    assert (trained.record.counts.training_items, notes) == (190, [])
    assert _train(table, "tiny", note=notes.append).record.counts.training_items == 90
    assert len(notes) == 1


def test_the_summary_says_what_was_done() -> None:
    reports: list[RunLog] = []
    trained = _train(pdr=0.5, progress=lambda log: reports.append(log.model_copy(deep=True)))
    summary = trained.record.summary
    assert (summary.epochs, summary.options.pdr, summary.settings["width"]) == (4, 0.5, 16)
    assert summary.items.training_items == 180
    assert set(summary.validation) == {"mean", "observed", "image", "text"}
    assert [(r.epoch, r.epochs) for r in reports] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert reports[0].history[-1].validation is None
    assert reports[-1].best.epoch == summary.kept_epoch
    assert trained.record.label_names == ("class 0", "class 1", "class 2", "class 3")


@pytest.mark.usefixtures("checkpoint_each_epoch")
def test_an_unfinished_run_gives_its_best_weights_or_says_that_there_are_none(tmp_path: Path) -> None:
    _stopped(3, epochs=8, run=tmp_path / "a")
    trained = load_trained(tmp_path / "a")
    assert (trained.record.log.kept_epoch, trained.record.log.epoch, trained.record.log.finished) == (2, 3, False)
    _stopped(1, epochs=8, run=tmp_path / "b")
    with pytest.raises(InputError, match="epoch 1 of 8 and has no validated weights yet"):
        load_trained(tmp_path / "b")


def test_checkpoints_take_their_share_of_the_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SHARE", 0.0)
    _stopped(3, run=tmp_path)
    assert load_record(tmp_path / CHECKPOINT).log.epoch == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda _: train(make_table(), "tiny", 12), InputError, "12 bits cannot be stored"),
        (lambda _: train(make_table(), "tinny", 16), InputError, "no method 'tinny'"),
        (
            lambda _: train(make_table(dims={"values": 3}), "tiny", 16),
            InputError,
            "cannot be called 'values', which is a word of torch's",
        ),
        (
            lambda _: train(make_table(dims={"an image": 3}), "tiny", 16),
            InputError,
            "'an image' cannot name a modality",
        ),
        (lambda path: _train(run=path / "nowhere", resume=True), InputError, "there is no checkpoint at"),
        pytest.param(
            lambda _: _train(device="cuda"),
            BackendMissingError,
            "--device cuda: this torch",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here"),
        ),
    ],
    ids=["bits", "method", "a word of torch's", "no name of a modality", "no checkpoint", "no CUDA"],
)
def test_bad_input(tmp_path: Path, call: Callable[[Path], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(tmp_path)


def test_patience_counts_validations_only() -> None:
    log = RunLog(epochs=99)
    assert [log.add({}, v and {"t": v}) for v in (None, 0.5, None, 0.6, None, 0.6, 0.4)] == [
        False,
        True,
        False,
        True,
        False,
        False,
        False,
    ]
    assert [log.out_of_patience(p) for p in (0, 1, 2, 3)] == [False, True, True, False]
    assert (log.kept_epoch, log.epoch) == (4, 7)
