"""Two things at once: the next items are made while the last ones are written in a thread beside.

The threads meet at SimpleQueues only. Ctrl-C may come at any moment, and in `queue.Queue`, as in all that is built on
`threading.Condition`, it may leave a lock taken for ever: the program would hang in its clearing up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import TypeVar

from milvus_ichash.errors import IchashError

T = TypeVar("T")

WAITING = 2
"""Number of items that may wait to be written: more would only take memory."""


def write_in_background(items: Iterable[T], write: Callable[[T], object], stopping: threading.Event) -> None:
    """Draw items in this thread, and write them in their order in another one, at most `WAITING` of them behind.

    Where the items end with an IchashError, those before it are still written, then it is raised. Any other error,
    Ctrl-C included, drops those that wait; the one that is being written is finished first, or given up by a `write`
    that watches `stopping`.

    Args:
        items: what is to be written; none of them is None.
        write: writes one item; it is called in the other thread.
        stopping: an event that is set as soon as nothing more is to be written; `write` may watch it.

    Raises:
        Whatever `write` or `items` raised; no more items are drawn or written after it.
    """
    waiting: SimpleQueue[T | None] = SimpleQueue()  # None is behind the last item
    places: SimpleQueue[None] = SimpleQueue()
    for _ in range(WAITING):
        places.put(None)
    failure: list[BaseException] = []

    def work() -> None:
        while (item := waiting.get()) is not None:
            places.put(None)
            # After a failure the queue is emptied, lest the other side waits at a full one.
            if not failure and not stopping.is_set():
                try:
                    write(item)
                except BaseException as error:
                    failure.append(error)

    # A daemon, so that a second Ctrl-C ends the program even where a call to Milvus hangs.
    writer = threading.Thread(target=work, name="writer", daemon=True)
    writer.start()
    broken: IchashError | None = None
    try:
        try:
            for item in items:
                if failure:
                    break
                places.get()
                waiting.put(item)
        except IchashError as error:
            broken = error
        waiting.put(None)
        writer.join()
    except BaseException:
        stopping.set()
        waiting.put(None)
        writer.join()
        raise
    if failure:
        raise failure[0]
    if broken is not None:
        raise broken
