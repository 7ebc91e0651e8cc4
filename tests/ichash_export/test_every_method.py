"""What the frame promises holds for every method there is, not only for the tiny ones of these tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import make_table

from ichash_export.methods import registry
from ichash_export.train import training
from ichash_export.train.options import TrainingOptions
from ichash_export.train.run_record import EpochReport
from ichash_export.train.training import train

SMALLER: dict[str, dict[str, Any]] = {
    "nch": {"neighbour_epochs": 1, "anchors": 30},
    "egich": {"selection": "none"},
    "jcpmh": {"classifier_epochs": 1, "autoencoder_epochs": 1, "autoencoder_hidden": 64},
}
"""Settings without which a method cannot train on 240 items in 3 epochs."""


class StopError(Exception):
    """Stands for whatever ends a process."""


def _stop(report: EpochReport) -> None:
    if report.epoch == 2:
        raise StopError


@pytest.mark.parametrize("method", registry.method_names())
def test_a_resumed_run_makes_the_same_weights(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SHARE", 1e9)
    settings = {"epochs": 3, "batch_size": 64, **SMALLER.get(method, {})}
    given: dict[str, Any] = {"settings": settings, "options": TrainingOptions(validate_every=1)}
    whole = train(make_table(240), method, 16, **given)
    with pytest.raises(StopError):
        train(make_table(240), method, 16, **given, run=tmp_path, progress=_stop)
    resumed = train(make_table(240), method, 16, **given, run=tmp_path, resume=True)
    expected = whole.model.state_dict()
    for name, x in resumed.model.state_dict().items():
        assert torch.equal(x, expected[name]), name
    assert [epoch.losses for epoch in resumed.record.log.history] == [
        epoch.losses for epoch in whole.record.log.history
    ]
