"""Calls that Milvus could not do just now: tried again for a while, where that may help."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from milvus_ichash.errors import MilvusError

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds for which a call is tried again: a server that was killed may take a minute to be back."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0
_SILENCE = 60.0


@dataclass
class Retries:
    """Calls a function, and calls it again where Milvus was busy or not there. Threads may share one.

    Attributes:
        patience: seconds after which no more tries are begun; 0 for one try.
        stopping: set where somebody waits for the call to be given up.
        told: given one sentence when a first try failed, once a minute at the most.
    """

    patience: float = PATIENCE
    stopping: threading.Event = field(default_factory=threading.Event)
    told: Callable[[str], object] = lambda message: None
    _told_at: float = float("-inf")

    def __call__(self, call: Callable[[], T]) -> T:
        """Return what `call` returns.

        Raises:
            MilvusError: of the last try; or of the first one where another would not help (`MilvusError.may_pass`).
        """
        began, pause, tries = time.monotonic(), _FIRST_PAUSE, 0
        while True:
            tries += 1
            try:
                return call()
            except MilvusError as error:
                passed = time.monotonic() - began
                if not self.patience or self.stopping.is_set() or not error.may_pass:
                    raise
                if passed >= self.patience:
                    told = f"{error} That was try {tries}, {passed:.0f} s after the first."
                    raise MilvusError(told, may_pass=True) from error.__cause__
                if tries == 1:
                    self._tell(f"{error} Trying again, for up to {self.patience:g} s.")
                if self.stopping.wait(min(pause, self.patience - passed)):
                    raise
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _tell(self, sentence: str) -> None:
        # Once a minute: a rate limit may stop every second call of a long run.
        now = time.monotonic()
        if now - self._told_at >= _SILENCE:
            self._told_at = now
            self.told(sentence)
