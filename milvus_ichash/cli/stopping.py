"""Ctrl-C and SIGTERM: the first one stops the program politely, the second one at once.

Where the program has not stopped a minute after the first one, it is ended: a signal that arrives within a call of gRPC
may leave a lock of gRPC taken for ever, and whatever calls Milvus afterwards, be it to close the connection, waits for
it. What was written stays as good as after a kill.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from milvus_ichash.errors import ExitCode, Terminated

_STOPS: dict[int, tuple[type[KeyboardInterrupt], ExitCode]] = {
    signal.SIGINT: (KeyboardInterrupt, ExitCode.INTERRUPTED),
    signal.SIGTERM: (Terminated, ExitCode.TERMINATED),
}


PATIENCE = 60.0
"""Seconds after which a program that was to stop is ended."""


class Stop:
    """Listens to signals.

    Attributes:
        exit_code: that of the first signal that arrived; None before.
    """

    exit_code: ExitCode | None = None
    _over = False

    def __init__(self) -> None:
        here = threading.current_thread() is threading.main_thread()  # elsewhere, Python lets nobody listen
        handlers = {number: signal.getsignal(number) for number in _STOPS if here}
        # What this process was told to ignore (as by `nohup`) stays ignored.
        self._before = {
            number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)
        }

    def listen(self) -> None:
        """Have the first signal raise its error."""
        for number in self._before:
            signal.signal(number, self._arrived)

    def next_one_kills(self) -> None:
        """Have the next signal end this process, as if nobody listened."""
        for number in self._before:
            signal.signal(number, signal.SIG_DFL)

    def no_longer(self) -> None:
        """Have signals do what they did before."""
        self._over = True
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _arrived(self, number: int, frame: FrameType | None) -> NoReturn:
        self.next_one_kills()
        error, self.exit_code = _STOPS[number]
        # Not a `Thread`, whose start waits: the signal may have come at any moment.
        _thread.start_new_thread(self._end_at_last, (self.exit_code,))
        raise error

    def _end_at_last(self, code: ExitCode) -> None:
        time.sleep(PATIENCE)
        if not self._over:
            sys.stderr.write(f"Error: not stopped within {PATIENCE:g} s, so it is ended; --resume may go on with it.\n")
            sys.stderr.flush()
            os._exit(code)


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """Have Ctrl-C and SIGTERM raise `KeyboardInterrupt` and `Terminated` inside; yield what knows whether they did."""
    stop = Stop()
    stop.listen()
    try:
        yield stop
    finally:
        stop.no_longer()


@contextmanager
def when_stopped(say: Callable[[], str]) -> Iterator[None]:
    """Have the program end with the sentence of `say`, where Ctrl-C or SIGTERM stops what is inside."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise type(stop)(say()) from None
