"""Calls that Milvus could not do just now: tried again for a while, where that may help."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from milvus_ichash.errors import MilvusError

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds for which a call is tried again: a server that was killed may take a minute to be back."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0
_SILENCE = 60.0
_GRPC = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED")
# Of Milvus (pkg/util/merr): not available, memory, requests in flight, disk, rate, quota, time tick; collection being
# loaded;
# replicas, channels and nodes that are gone for now; message queue and object storage.
_MILVUS = {2, 3, 4, 7, 8, 9, 11, 101, 103, 104, 106, 400, 401, 500, 501, 503, 901, 902, 903, 1001, 1302}
# What releases before 2.3.3, and pymilvus itself, say without a code of their own.
_SAYS = re.compile(
    r"rate limit|quota|not ready|unavailable|not available|no available|not healthy|not loaded|channel not found|"
    r"closed channel|socket closed|stream removed|rst_stream|goaway|connection (refused|reset)|retry timeout|retry run out|"
    r"node (not match|offline)|context (canceled|deadline)",
    re.IGNORECASE,
)


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
        """What `call` returns.

        Raises:
            MilvusError: of the last try; or of the first, where another would not help (`worth_retrying`).
        """
        began, pause, tries = time.monotonic(), _FIRST_PAUSE, 0
        while True:
            tries += 1
            try:
                return call()
            except MilvusError as error:
                passed = time.monotonic() - began
                if not self.patience or self.stopping.is_set() or not worth_retrying(error):
                    raise
                if passed >= self.patience:
                    raise MilvusError(
                        f"{error} That was try {tries}, {passed:.0f} s after the first."
                    ) from error.__cause__
                if tries == 1:
                    self._tell(f"{error} Trying again, for up to {self.patience:g} s.")
                if self.stopping.wait(min(pause, self.patience - passed)):
                    raise
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _tell(self, sentence: str) -> None:
        """A rate limit may stop every second call of a long run."""
        now = time.monotonic()
        if now - self._told_at >= _SILENCE:
            self._told_at = now
            self.told(sentence)


def worth_retrying(error: MilvusError) -> bool:
    """True where the same call may do later: a lost connection, a server that is busy or starting, a rate limit or quota.

    Not for what will not go away by itself: a refused token, a schema, an expression, a collection that is not there.
    """
    if error.__cause__ is None:
        return "acknowledged" in str(error)  # fewer rows than were sent
    return any(map(_passes, _causes(error)))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _passes(cause: BaseException) -> bool:
    code = getattr(cause, "code", None)
    code = code() if callable(code) else code
    if getattr(code, "name", None) in _GRPC or (isinstance(code, int) and int(code) in _MILVUS):
        return True
    return bool(_SAYS.search(str(getattr(cause, "message", "") or cause)))
