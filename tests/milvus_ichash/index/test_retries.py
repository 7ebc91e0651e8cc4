"""Calls that are tried again: which is told by `MilvusError.may_pass`, never by the words of a message."""

from __future__ import annotations

import threading
from collections.abc import Callable
from unittest.mock import Mock

import pytest

from milvus_ichash.errors import InputError, MilvusError
from milvus_ichash.index import retries
from milvus_ichash.index.retries import Retries


class Clock(threading.Event):
    """Somebody who never wants a call given up, and a clock that moves only while the next try is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout or 0)
        return self.is_set()

    def monotonic(self) -> float:
        return sum(self.pauses)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(retries, "time", clock)
    return clock


def failing(times: int, *, may_pass: bool = True) -> tuple[Callable[[], str], list[MilvusError]]:
    """A call that fails so many times, and the errors that it has raised."""
    raised: list[MilvusError] = []

    def call() -> str:
        if len(raised) == times:
            return "done"
        raised.append(MilvusError("No.", may_pass=may_pass))
        raise raised[-1] from KeyError(len(raised))

    return call, raised


def test_it_is_tried_again_and_told_once_a_minute(clock: Clock) -> None:
    said: list[str] = []
    patient = Retries(200, clock, said.append)
    for _ in range(2):
        assert patient(failing(3)[0]) == "done"
    assert clock.pauses == [1, 2, 4, 1, 2, 4]
    assert said == ["No. Trying again, for up to 200 s."]
    assert patient(failing(7)[0]) == "done"
    assert clock.pauses[6:] == [1, 2, 4, 8, 15, 15, 15]
    assert patient(failing(1)[0]) == "done"
    assert len(said) == 2


def test_what_will_not_pass_is_not_tried_again(clock: Clock) -> None:
    call, raised = failing(9, may_pass=False)
    with pytest.raises(MilvusError) as caught:
        Retries(60, clock)(call)
    assert (raised, clock.pauses) == ([caught.value], [])


def test_patience_ends(clock: Clock) -> None:
    call, raised = failing(9)
    with pytest.raises(MilvusError, match=r"^No\. That was try 3, 2 s after the first\.$") as caught:
        Retries(1.6, clock)(call)
    assert (caught.value.__cause__, caught.value.may_pass) == (raised[2].__cause__, True)
    call, raised = failing(9)
    with pytest.raises(MilvusError, match=r"^No\.$"):
        Retries(0, clock)(call)
    assert len(raised) == 1


def test_somebody_waits_for_it_to_be_given_up() -> None:
    stopping = threading.Event()
    threading.Timer(0.1, stopping.set).start()
    call, raised = failing(9)
    for tries in (1, 2):
        with pytest.raises(MilvusError):
            Retries(600, stopping)(call)
        assert len(raised) == tries


def test_other_errors_pass_through(clock: Clock) -> None:
    with pytest.raises(InputError, match="torn"):
        Retries(60, clock)(Mock(side_effect=InputError("torn")))
    assert clock.pauses == []
