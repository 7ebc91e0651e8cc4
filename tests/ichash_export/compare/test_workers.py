"""Worker processes: the same figures as in one process, failures told apart, and what happens when one is killed."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.grids import data_file, figures_of, tiny_case, write_splits

from ichash_export.compare.case import BASELINE, Case, Protocol
from ichash_export.compare.dataset import DataFile
from ichash_export.compare.workers import run_here, run_in_workers
from milvus_ichash.errors import InputError

pytestmark = pytest.mark.usefixtures("tiny_methods")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> DataFile:
    return data_file(write_splits(tmp_path_factory.mktemp("jobs") / "items.npz"))


@pytest.mark.slow
def test_workers_find_what_one_process_finds(file: DataFile) -> None:
    """Baselines, for the sake of time; a failure is an outcome like others, and the rest of the cases still run."""
    too_long = Case("pca-itq", BASELINE, 32, 0, Protocol())
    cases = [*(Case("pca-itq", BASELINE, 8, seed, Protocol(pdr=0.5)) for seed in range(3)), too_long]
    here = {str(o.case): o for o in run_here([(case,) for case in cases], file.read(), "cpu")}
    asked: list[Case] = []

    def one_by_one() -> Iterator[tuple[Case]]:
        for case in cases:
            asked.append(case)
            yield (case,)

    outcomes = run_in_workers(one_by_one(), file, "cpu", 2)
    first = next(outcomes)
    assert len(asked) == 2  # the third is asked for when a worker is free
    there = {str(o.case): o for o in (first, *outcomes)}
    assert there.keys() == here.keys()
    for name, outcome in here.items():
        assert there[name].failure == outcome.failure
        one, other = (figures_of(figures or {}) for figures in (there[name].figures, outcome.figures))
        # Workers have fewer threads, which may turn a bit near zero.
        assert one.pop("map", {}) == pytest.approx(other.pop("map", {}), abs=0.003)
        assert one == other
    assert here[str(too_long)].failure.startswith("pca-itq has at most one bit for each of the 20 features")
    assert [o.failure for o in here.values()].count("") == 3
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_workers_tell_how_far_they_are(file: DataFile) -> None:
    cases = [(replace(tiny_case(seed=seed), settings={"epochs": 6, "pause": 0.4}),) for seed in range(2)]
    told: list[tuple[int, int, int]] = []
    list(run_in_workers(cases, file, "cpu", 2, lambda c, epoch, epochs: told.append((c[0].seed, epoch, epochs))))
    for seed in range(2):
        steps = [(epoch, epochs) for of, epoch, epochs in told if of == seed]
        assert steps[0] == (0, 0) and len(steps) > 1 and steps == sorted(steps) and steps[-1][1] == 6


@pytest.mark.slow
def test_a_worker_that_is_killed_is_named_and_the_others_end(file: DataFile) -> None:
    slow = [(replace(tiny_case(seed=seed), settings={"epochs": 1000, "pause": 0.1}),) for seed in range(2)]

    def kill_one() -> None:
        while len(multiprocessing.active_children()) < 2:
            time.sleep(0.01)
        multiprocessing.active_children()[0].kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(
        InputError, match=r"the worker process that ran tiny, 16 bits, PDR 0, seed [01] was killed.*fewer --jobs"
    ):
        list(run_in_workers(slow, file, "cpu", 2))
    killer.join()
    assert multiprocessing.active_children() == []
