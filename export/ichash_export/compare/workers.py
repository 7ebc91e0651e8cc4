"""Running of cases: one after the other in this process, or in worker processes that each have the data."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NoReturn

import torch

from ichash_export.compare.case import Case, ResultLine
from ichash_export.compare.dataset import DataFile, Dataset
from ichash_export.compare.measuring import run_together
from milvus_ichash.errors import IchashError, InputError

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SECONDS_TO_END = 10

Together = tuple[Case, ...]
"""The cases that one training serves: one case, or several that cut its codes."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        case: the case.
        figures: the figures that `measuring.run_together` returns; None where the case failed.
        failure: why the case failed, in a sentence.
        notes: remarks of the training, for the user.
    """

    case: Case
    figures: ResultLine | None = None
    failure: str = ""
    notes: tuple[str, ...] = ()


def run_here(trainings: Iterable[Together], data: Dataset, device: str) -> Iterator[Outcome]:
    """Run one training after the other in this process, and yield what became of each case."""
    for cases in trainings:
        yield from _outcomes(cases, data, device)


def run_in_workers(trainings: Iterable[Together], file: DataFile, device: str, workers: int) -> Iterator[Outcome]:
    """Run several trainings at a time in processes, and yield what became of each case as its training ends.

    `trainings` is asked for the next one only when a worker is free. The workers share out the threads of torch. They
    end when this iterator is closed, and when this process is gone for whatever reason.

    Args:
        trainings: the cases, by the training that serves them.
        file: where the workers read the data.
        device: device of the trainings.
        workers: number of processes.

    Raises:
        InputError: a worker was killed.
    """
    waiting = iter(trainings)
    pool: dict[Connection, _Worker] = {}
    try:
        for cases in islice(waiting, workers):
            worker = _start(file, device, max(1, torch.get_num_threads() // workers))
            pool[worker.pipe] = worker
            worker.give(cases)
        while pool:
            for pipe in wait(list(pool)):
                worker = pool[pipe]  # type: ignore[index]
                yield from worker.take()
                following = next(waiting, None)
                if following is None:
                    pool.pop(worker.pipe).end()
                else:
                    worker.give(following)
    finally:
        for worker in pool.values():
            worker.process.terminate()
        for worker in pool.values():
            worker.end()


class _Worker:
    """A process, the pipe to it, and the cases that it runs."""

    cases: Together

    def __init__(self, process: BaseProcess, pipe: Connection) -> None:
        self.process, self.pipe = process, pipe

    def give(self, cases: Together) -> None:
        """Send cases to run."""
        self.cases = cases
        try:
            self.pipe.send(cases)
        except OSError:
            self._gone()

    def take(self) -> list[Outcome]:
        """Wait for what became of them, and return it."""
        try:
            outcomes: list[Outcome] = self.pipe.recv()
            return outcomes
        except (EOFError, OSError):
            self._gone()

    def _gone(self) -> NoReturn:
        self.process.join()
        if self.process.exitcode == 1:
            raise RuntimeError(f"the worker process that ran {self.cases[0]} failed; its traceback is above.")
        raise InputError(
            f"the worker process that ran {self.cases[0]} was killed, most likely for want of memory: what has ended "
            "is kept; "
            "run the same command again with fewer --jobs."
        )

    def end(self) -> None:
        """Wait for the process to end, and kill it where it does not."""
        self.pipe.close()
        self.process.join(_SECONDS_TO_END)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _start(file: DataFile, device: str, threads: int) -> _Worker:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(there, file, device, threads), daemon=True)
    # OpenMP reads the environment as its library is loaded.
    with _environment(dict.fromkeys(_THREADS, str(threads))), _deaf_to_interrupts():
        process.start()
    there.close()
    return _Worker(process, here)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Keep Ctrl-C, which reaches all processes of a terminal, from those started inside: their parent ends them
    itself."""
    resource_tracker.ensure_running()  # its start would end the deafness
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_stopped = threading.Event()
"""This is set in a worker that was told to end."""


def _serve(pipe: Connection, file: DataFile, device: str, threads: int) -> None:
    """Run in the worker: receive cases and send outcomes until nobody sends any more, or until it is told to end."""
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        data = file.read()
        while True:
            pipe.send(_outcomes(pipe.recv(), data, device))
    except EOFError:
        return
    except BaseException:
        # An interrupted import, for example, may have raised another error.
        if not _stopped.is_set():
            raise


def _stop(number: int, frame: object) -> NoReturn:
    """Exit, so that no temporary files are left behind."""
    _stopped.set()
    sys.exit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_SECONDS_TO_END)
        os._exit(1)


def _outcomes(cases: Together, data: Dataset, device: str) -> list[Outcome]:
    notes: list[str] = []
    try:
        figures = run_together(cases, data, device=device, note=notes.append)
        return [Outcome(case, found, notes=tuple(notes)) for case, found in zip(cases, figures, strict=True)]
    except IchashError as error:
        return [Outcome(case, failure=str(error), notes=tuple(notes)) for case in cases]
