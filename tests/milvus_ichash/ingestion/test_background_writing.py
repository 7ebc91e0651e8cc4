from __future__ import annotations

import _thread
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from milvus_ichash.errors import InputError, MilvusError
from milvus_ichash.ingestion.background_writing import WAITING, write_in_background


def drawn_until(last: int, drawn: list[int], error: BaseException | None = None) -> Iterator[int]:
    for item in range(last):
        drawn.append(item)
        yield item
    if error is not None:
        raise error


def test_items_are_written_in_their_order_beside_the_drawing() -> None:
    written: list[int] = []
    threads: set[int] = set()

    def write(item: int) -> None:
        threads.add(threading.get_ident())
        written.append(item)

    write_in_background(iter(range(100)), write, threading.Event())
    assert written == list(range(100))
    assert threads.isdisjoint({threading.get_ident()})


def test_the_next_items_are_made_while_one_is_written_but_not_many() -> None:
    """Item 0 is being written until the others wait: the drawing stops with the queue full and one in hand."""
    drawn: list[int] = []
    full = threading.Event()
    at_most = 0

    def items() -> Iterator[int]:
        for item in drawn_until(20, drawn):
            if item == WAITING + 1:
                full.set()
            yield item

    def write(item: int) -> None:
        nonlocal at_most
        full.wait()
        time.sleep(0.02)  # time to draw more, which must not happen
        at_most = max(at_most, len(drawn) - item)

    write_in_background(items(), write, threading.Event())
    assert at_most == WAITING + 2  # the one that is written, those that wait, and the one drawn behind them


def test_what_came_before_an_error_of_the_source_is_written() -> None:
    written: list[int] = []
    with pytest.raises(InputError, match="torn"):
        write_in_background(drawn_until(5, [], InputError("torn")), written.append, threading.Event())
    assert written == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("error", [MilvusError("gone"), RuntimeError("a bug")])
def test_an_error_of_the_writing_ends_the_drawing(error: Exception) -> None:
    drawn: list[int] = []
    tried: list[int] = []

    def write(item: int) -> None:
        tried.append(item)
        if item == 3:
            raise error

    with pytest.raises(type(error), match=str(error)):
        write_in_background(drawn_until(1000, drawn), write, threading.Event())
    assert tried == [0, 1, 2, 3]
    assert len(drawn) < 1000


def test_the_error_of_the_writing_is_told_where_both_sides_fail() -> None:
    def write(item: int) -> None:
        raise MilvusError("gone")

    with pytest.raises(MilvusError, match="gone"):
        write_in_background(drawn_until(1, [], InputError("torn")), write, threading.Event())


INTERRUPTED = """
import faulthandler, random, signal, threading
from milvus_ichash.ingestion.background_writing import write_in_background
signal.signal(signal.SIGALRM, signal.default_int_handler)
def items(seconds):
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield from range(10**9)
for seed in range(3000):
    faulthandler.dump_traceback_later(20, exit=True)
    written = []
    try:
        write_in_background(items(0.0001 + 0.001 * random.Random(seed).random()), written.append, threading.Event())
    except KeyboardInterrupt:
        assert written == list(range(len(written)))
    else:
        raise AssertionError
"""


@pytest.mark.slow
def test_ctrl_c_at_any_moment_ends_it() -> None:
    """Thousands of moments, some of them within a queue's own lines."""
    subprocess.run([sys.executable, "-c", INTERRUPTED], check=True, capture_output=True)


def test_ctrl_c_while_the_last_items_are_written() -> None:
    """All items are drawn, and the writing waits for something: it is told to stop."""
    stopping, written = threading.Event(), []

    def write(item: int) -> None:
        if item == 1:
            _thread.interrupt_main()
            assert stopping.wait()
        written.append(item)

    with pytest.raises(KeyboardInterrupt):
        write_in_background(iter(range(3)), write, stopping)
    assert written == [0, 1]
    assert "writer" not in [thread.name for thread in threading.enumerate()]
