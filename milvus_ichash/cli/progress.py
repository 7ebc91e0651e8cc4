"""How far long work is, on stderr: a bar that fits into the terminal, or, without a terminal, a line every so often."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from milvus_ichash.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import ProgressColumn

SECONDS_BETWEEN_LINES = 30.0
SECONDS_WITHOUT_NEWS = 300.0
"""After so long without a step a line says that the work goes on."""
_SECONDS_LOOKED_BACK = 60.0
_STEPS_LOOKED_BACK = 5


class Advance(Protocol):
    """Moves a progress bar on; `said` is shown behind it."""

    def __call__(self, steps: float, said: str = "") -> None:
        """Go on by so many steps, or by a part of one."""


@dataclass
class Meter:
    """How far a piece of work is, and how long the rest of it will take.

    Attributes:
        description: what is done.
        total: number of steps; None where it is not known.
        unit: what a step is, such as "epoch"; it stands before the number.
        began: when the work began, in seconds of some clock.
        done: number of steps that are done.
        said: what the work said last.
        ended: whether the work has ended, which may be before the last step.
    """

    description: str
    total: float | None
    unit: str
    began: float
    done: float = 0
    said: str = ""
    ended: bool = False
    _samples: deque[tuple[float, float]] = field(init=False)

    def __post_init__(self) -> None:
        self._samples = deque([(self.began, self.done)])

    def step(self, steps: float, said: str, now: float) -> None:
        """Note that so many steps more are done at the time `now`."""
        self.done += steps
        self.said = printable(said) or self.said
        self._samples.append((now, self.done))
        # The rate is that of the last minute, or of the last few steps where these take longer.
        while len(self._samples) > _STEPS_LOOKED_BACK and self._samples[1][0] < now - _SECONDS_LOOKED_BACK:
            self._samples.popleft()

    def place(self) -> str:
        """Return the step in words, such as "epoch 3/50"."""
        number = f"{int(self.done + 1e-6):,}" + ("" if self.total is None else f"/{int(self.total):,}")
        return f"{self.unit} {number}".lstrip()

    def time(self, now: float) -> str:
        """Return how long the rest will take, or, where that is not known, how long the work has taken by now."""
        (then, before), (last, done) = self._samples[0], self._samples[-1]
        if self.ended or (self.total is not None and done >= self.total):
            return f"in {clock(now - self.began)}"
        if self.total is None or done <= before or last <= then:
            return f"{clock(now - self.began)} so far"
        left = (self.total - done) * (last - then) / (done - before) - (now - last)
        return f"{clock(max(0.0, left))} left"

    def line(self, now: float) -> str:
        """Return all of this as a line, such as "unihash, 32 bits: epoch 3/50, 0:01:20 left, loss 1.23"."""
        return f"{self.description}: " + ", ".join(filter(None, [self.place(), self.time(now), self.said]))


class ProgressLines:
    """The lines that are written where there is no terminal: at most one in 30 seconds, and one after the last step.

    Args:
        meter: how far the work is.
        write: writes a line.
        at_once: whether the first step is told at once; else work of less than 30 seconds is not told of at all.
    """

    def __init__(self, meter: Meter, write: Callable[[str], object], *, at_once: bool) -> None:
        self._meter, self._write = meter, write
        self._first_is_due = at_once
        self._told: float | None = None
        self._last = meter.began

    def stepped(self, now: float) -> None:
        """Write the line of the first step, if it is to be told at once."""
        if self._first_is_due and self._meter.done >= 1:
            self._line(now)

    def beat(self, now: float) -> None:
        """Write a line if it is time for one."""
        moved = self._meter.done != (self._told or 0)
        if now - self._last >= (SECONDS_BETWEEN_LINES if moved else SECONDS_WITHOUT_NEWS):
            self._line(now)

    def end(self, now: float) -> None:
        """Write the line of the last step, if lines were written before and this is not among them."""
        self._meter.ended = True
        if self._told is not None and self._told != self._meter.done:
            self._line(now)

    def _line(self, now: float) -> None:
        self._write(self._meter.line(now))
        self._first_is_due, self._told, self._last = False, self._meter.done, now


@contextmanager
def shown_progress(
    console: Console, description: str, total: float | None, *, unit: str = "", start: int = 0, at_once: bool = False
) -> Iterator[Advance]:
    """Show how far the work inside is; yields `advance(steps, said)`, which may be called from any thread.

    Args:
        console: stderr.
        description: what is done.
        total: number of steps; None where it is not known. For 0 nothing is shown.
        unit: what a step is, such as "epoch".
        start: number of steps that were done before.
        at_once: whether the first and the last step are told without a terminal too, however short the work is.
    """
    meter = Meter(printable(description), total, unit, time.monotonic(), start)
    if total == 0:
        yield lambda steps, said="": None
    elif console.is_terminal:
        with _bar(console, meter) as advance:
            yield advance
    else:
        with _lines(console, meter, at_once=at_once) as advance:
            yield advance


@contextmanager
def _bar(console: Console, meter: Meter) -> Iterator[Advance]:
    from rich.progress import Progress

    with Progress(*_columns(meter, console.width), console=console, expand=True) as bar:
        task = bar.add_task(meter.description, total=meter.total, completed=int(meter.done), said="")
        lock = threading.Lock()

        def advance(steps: float, said: str = "") -> None:
            with lock:
                meter.step(steps, said, time.monotonic())
            bar.update(task, completed=meter.done, said=meter.said)

        yield advance
        meter.ended = True


def _columns(meter: Meter, width: int) -> list[ProgressColumn]:
    """Return what stands in the line of the terminal: the step and the time left always, the rest where it fits."""
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Words(ProgressColumn):
        """Words that are made anew whenever the line is drawn."""

        def __init__(self, words: Callable[[], str]) -> None:
            super().__init__(table_column=Column(no_wrap=True))
            self._words = words

        def render(self, task: Task) -> Text:
            return Text(self._words())

    shortened = Column(no_wrap=True, overflow="ellipsis", max_width=max(8, width // 3))
    rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns: list[ProgressColumn] = [Words(meter.place), Words(lambda: meter.time(time.monotonic()))]
    if width >= 60:
        columns.insert(0, TextColumn("{task.description}", markup=False, table_column=shortened))
    if width >= 72:
        columns.insert(1, BarColumn(bar_width=10 if width < 120 else 24))
    return [*columns, TextColumn("{task.fields[said]}", markup=False, table_column=rest)]


@contextmanager
def _lines(console: Console, meter: Meter, *, at_once: bool) -> Iterator[Advance]:
    lines = ProgressLines(meter, lambda line: console.print(line, markup=False, soft_wrap=True), at_once=at_once)
    lock, ended = threading.Lock(), threading.Event()

    def advance(steps: float, said: str = "") -> None:
        with lock:
            now = time.monotonic()
            meter.step(steps, said, now)
            lines.stepped(now)

    def watch() -> None:
        while not ended.wait(1.0):
            with lock:
                try:
                    lines.beat(time.monotonic())
                except OSError:  # nobody reads stderr any more
                    return

    watcher = threading.Thread(target=watch, daemon=True, name="progress")
    watcher.start()
    try:
        yield advance
        with lock:
            lines.end(time.monotonic())
    finally:
        ended.set()
        watcher.join()


def towards(advance: Advance) -> Callable[[int, int], None]:
    """Return a listener that is told how much is done by now, and moves the progress bar there, never back."""
    before = 0

    def told(done: int, _: int) -> None:
        nonlocal before
        advance(max(0, done - before))
        before = max(before, done)

    return told


def clock(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds, such as "0:01:20"."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
