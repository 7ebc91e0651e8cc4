"""Which errors are worth another try: errors as pymilvus and gRPC really raise them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import grpc
import pytest

from milvus_ichash.errors import InputError, MilvusError
from milvus_ichash.index.connection import import_pymilvus
from milvus_ichash.index.retries import Retries, worth_retrying

exceptions = import_pymilvus().exceptions


def told_by(cause: Exception) -> MilvusError:
    try:
        raise MilvusError("Milvus at x could not write: reason.") from cause
    except MilvusError as error:
        return error


def lost_connection() -> grpc.RpcError:
    with grpc.insecure_channel("127.0.0.1:1") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/milvus.proto.milvus.MilvusService/Insert")(b"", timeout=5)
    assert isinstance(caught.value, grpc.RpcError)
    return caught.value


def no_answer_in_time() -> grpc.RpcError:
    with grpc.insecure_channel("127.0.0.1:1") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/x")(b"", timeout=0.0001)
    return caught.value


def pymilvus(code: int, message: str) -> Callable[[], Exception]:
    return lambda: exceptions.MilvusException(code, message)


@pytest.mark.parametrize(
    "cause",
    [
        lost_connection,
        no_answer_in_time,
        pymilvus(
            8, "request is rejected by grpc RateLimiter middleware, please retry later: rate limit exceeded[rate=0]"
        ),
        pymilvus(9, "quota exceeded[reason=memory quota exceeded, please allocate more resources]"),
        pymilvus(1, "[upsert] Retry timeout: 30s, message=rate limit exceeded"),
        pymilvus(65535, "rate limit exceeded"),
        pymilvus(503, "channel not available"),
        pymilvus(1, "Insert: Cannot invoke RPC on closed channel!"),
    ],
)
def test_what_may_pass(cause: Callable[[], Exception]) -> None:
    assert worth_retrying(told_by(cause()))


def test_what_pymilvus_wraps() -> None:
    """It gives up with an exception of its own, whose cause is gRPC's, or whose code is."""
    wrapped = exceptions.MilvusException(grpc.StatusCode.UNAVAILABLE, "[insert] Retry run out of 75 retry times")
    assert worth_retrying(told_by(wrapped))
    outer = exceptions.MilvusException(1, "x")
    outer.__cause__ = lost_connection()
    assert worth_retrying(told_by(outer))


@pytest.mark.parametrize(
    "cause",
    [
        pymilvus(100, "collection not found[collection=items]"),
        pymilvus(1100, "invalid expression"),
        pymilvus(65535, "auth check failure, please check username and password are correct"),
        pymilvus(1, "Insert missed an field `has_image` to collection without set nullable==true or set default_value"),
    ],
)
def test_what_will_not_go_away(cause: Callable[[], Exception]) -> None:
    assert not worth_retrying(told_by(cause()))
    calls = []

    def call() -> None:
        calls.append(1)
        raise told_by(cause())

    with pytest.raises(MilvusError, match=r"could not write: reason\.$"):
        Retries(60)(call)
    assert len(calls) == 1


def test_it_is_tried_again_and_told_once() -> None:
    said: list[str] = []
    calls: list[float] = []

    def call() -> str:
        calls.append(time.monotonic())
        if len(calls) < 3:
            raise told_by(exceptions.MilvusException(8, "rate limit exceeded"))
        return "done"

    retries = Retries(60, told=said.append)
    assert retries(call) == "done"
    first, second, third = calls
    assert second - first == pytest.approx(1, abs=0.3)
    assert third - second == pytest.approx(2, abs=0.3)
    del calls[:]
    assert retries(call) == "done"  # the next call, soon after
    assert said == ["Milvus at x could not write: reason. Trying again, for up to 60 s."]


def test_rows_that_were_not_acknowledged_are_sent_again() -> None:
    assert worth_retrying(MilvusError("Milvus acknowledged 5 of 10 rows written to 'items': write them again."))
    assert not worth_retrying(MilvusError("3 rows of 'items' were read, and it has 4."))


def test_patience_ends() -> None:
    cause = exceptions.MilvusException(8, "rate limit exceeded")

    def call() -> None:
        raise told_by(cause)

    began = time.monotonic()
    with pytest.raises(MilvusError, match=r"reason\. That was try 3, 2 s after the first\.") as caught:
        Retries(1.6)(call)
    assert 1.6 <= time.monotonic() - began < 3
    assert caught.value.__cause__ is cause
    with pytest.raises(MilvusError, match=r"reason\.$"):
        Retries(0)(call)


def test_somebody_waits_for_it_to_be_given_up() -> None:
    stopping = threading.Event()

    def call() -> None:
        raise told_by(exceptions.MilvusException(8, "rate limit exceeded"))

    threading.Timer(0.2, stopping.set).start()
    began = time.monotonic()
    with pytest.raises(MilvusError):
        Retries(60, stopping)(call)
    assert time.monotonic() - began < 2


def test_other_errors_pass_through() -> None:
    def call() -> None:
        raise InputError("torn")

    with pytest.raises(InputError, match="torn"):
        Retries(60)(call)
