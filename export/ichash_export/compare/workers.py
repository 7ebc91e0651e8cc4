"""Running of cases: one after the other in this process, or in worker processes that each have the data."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NoReturn

import torch

from ichash_export.compare.case import Case, ResultLine
from ichash_export.compare.dataset import DataFile, Dataset
from ichash_export.compare.measuring import Progress, run_together
from ichash_export.train.run_record import RunLog
from milvus_ichash.errors import IchashError, InputError, WriteError

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SECONDS_TO_END = 10

Together = tuple[Case, ...]
"""The cases that one training serves: one case, or several that cut its codes."""
Watch = Callable[[Together, int, int], None]
"""Is told of cases that are run, how many epochs are done of their training, and how many there are to be. It is told
of the beginning too: 0 of 0."""
_SECONDS_BETWEEN_REPORTS = 1.0


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


def unwatched(cases: Together, epoch: int, epochs: int) -> None:
    """Do nothing: a `Watch` for those who do not want to know."""


def run_here(trainings: Iterable[Together], data: Dataset, device: str, watch: Watch = unwatched) -> Iterator[Outcome]:
    """Run one training after the other in this process, and yield what became of each case.

    Raises:
        WriteError: a file cannot be written, as where a disk is full: that would be so for all cases.
    """
    for cases in trainings:
        watch(cases, 0, 0)
        yield from _outcomes(cases, data, device, partial(_tell, watch, cases))


def run_in_workers(
    trainings: Iterable[Together], file: DataFile, device: str, workers: int, watch: Watch = unwatched
) -> Iterator[Outcome]:
    """Run several trainings at a time in processes, and yield what became of each case as its training ends.

    `trainings` is asked for the next one only when a worker is free. The workers share out the threads of torch. They
    end when this iterator is closed, and when this process is gone for whatever reason.

    Args:
        trainings: the cases, by the training that serves them.
        file: where the workers read the data.
        device: device of the trainings.
        workers: number of processes.
        watch: is told how far the trainings are.

    Raises:
        InputError: a worker was killed.
        WriteError: a file cannot be written.
    """
    waiting = iter(trainings)
    pool: dict[Connection, _Worker] = {}
    try:
        for cases in islice(waiting, workers):
            worker = _start(file, device, max(1, torch.get_num_threads() // workers))
            pool[worker.pipe] = worker
            watch(cases, 0, 0)
            worker.give(cases)
        while pool:
            for pipe in wait(list(pool)):
                worker = pool[pipe]  # type: ignore[index]
                news = worker.take()
                if isinstance(news, _Epoch):
                    watch(worker.cases, news.done, news.of)
                    continue
                yield from news
                following = next(waiting, None)
                if following is None:
                    pool.pop(worker.pipe).end()
                else:
                    watch(following, 0, 0)
                    worker.give(following)
    finally:
        for worker in pool.values():
            worker.process.terminate()
        for worker in pool.values():
            worker.end()


@dataclass(frozen=True)
class _Epoch:
    """What a worker says of a training that goes on."""

    done: int
    of: int


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

    def take(self) -> list[Outcome] | _Epoch:
        """Wait for how far they are, or what became of them, and return it.

        Raises:
            WriteError: the worker cannot write a file.
        """
        try:
            news: list[Outcome] | _Epoch | WriteError = self.pipe.recv()
        except (EOFError, OSError):
            self._gone()
        if isinstance(news, WriteError):
            raise news
        return news

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
            report = _Reports(pipe)
            try:
                pipe.send(_outcomes(pipe.recv(), data, device, report))
            except WriteError as error:
                pipe.send(error)
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


class _Reports:
    """Sends the epochs of a training to the parent, at most one in a second."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._last = pipe, time.monotonic()

    def __call__(self, log: RunLog) -> None:
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_REPORTS:
            self._last = time.monotonic()
            self._pipe.send(_Epoch(log.epoch, log.epochs))


def _tell(watch: Watch, cases: Together, log: RunLog) -> None:
    watch(cases, log.epoch, log.epochs)


def _outcomes(cases: Together, data: Dataset, device: str, progress: Progress) -> list[Outcome]:
    notes: list[str] = []
    try:
        figures = run_together(cases, data, device=device, note=notes.append, progress=progress)
        return [Outcome(case, found, notes=tuple(notes)) for case, found in zip(cases, figures, strict=True)]
    except WriteError:
        raise
    except IchashError as error:
        return [Outcome(case, failure=str(error), notes=tuple(notes)) for case in cases]
