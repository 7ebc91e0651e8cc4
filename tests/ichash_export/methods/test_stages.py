"""Stages: each trains its own part only, and the learning rate of the last one follows the schedule."""

from __future__ import annotations

import pytest
import torch
from support.small_methods import shown, small
from support.train_data import items, run

from ichash_export.methods.base import Method
from ichash_export.methods.jcpmh.method import JCPMH
from ichash_export.methods.nch.method import NCH


@pytest.mark.parametrize(
    ("method", "parts", "used"),
    [
        (NCH, {0: {"neighbours"}, 2: {"generators", "encoders", "head"}}, {"neighbours"}),
        (
            JCPMH,
            {0: {"classifiers"}, 2: {"autoencoder"}, 3: {"hashing", "fusion", "generators"}, 1: {"classifiers"}},
            set(),
        ),
    ],
    ids=["NCH", "JCPMH"],
)
def test_each_stage_trains_its_own_part_only(method: type[Method], parts: dict[int, set[str]], used: set[str]) -> None:
    """All of it, the running statistics of BatchNorm included, and nothing of another part.

    Of parts that are used in training mode by a stage that does not train them, the statistics may change.
    """
    data, made = items(unit=("text",)), small(method)
    made.begin(data)
    optimizers = made.optimizers()
    for epoch, expected in parts.items():
        before = {name: x.clone() for name, x in made.state_dict().items()}
        run(made.eval(), data, [epoch], optimizers)
        changed = {name for name, x in made.state_dict().items() if not torch.equal(x, before[name])}
        learnt = {name for name in before if name.split(".")[0] in expected}
        statistics = {name for name, _ in made.named_buffers() if name.split(".")[0] in used}
        assert changed - statistics == learnt - statistics, epoch


@pytest.mark.parametrize(("schedule", "rates"), [("constant", [0.1, 0.1, 0.1]), ("cosine", [0.1, 0.05, 0.0146447])])
@pytest.mark.parametrize(
    ("method", "epochs", "seen", "first"),
    [(NCH, 6, (2, 4, 5), "neighbours"), (JCPMH, 7, (3, 5, 6), "classifiers")],
    ids=shown,
)
def test_the_schedule_is_that_of_the_last_stage(
    method: type[Method], epochs: int, seen: tuple[int, ...], first: str, schedule: str, rates: list[float]
) -> None:
    data, made = items(unit=("text",)), small(method, schedule=schedule, learning_rate=0.1, epochs=epochs)
    made.begin(data)
    optimizers, found = made.optimizers(), []
    run(made, data, [0], optimizers)
    for epoch in seen:
        run(made, data, [epoch], optimizers)
        found.append(optimizers["codes"].param_groups[0]["lr"])
    assert found == pytest.approx(rates, rel=1e-4) and optimizers[first].param_groups[0]["lr"] == 0.1
