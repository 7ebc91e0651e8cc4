"""Which errors may pass: errors as pymilvus, gRPC and older servers really raise them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from milvus_ichash.bundle import Manifest
from milvus_ichash.errors import MilvusError
from milvus_ichash.index.connection import Connection, import_pymilvus
from milvus_ichash.index.hash_index import HashIndex

exceptions = import_pymilvus().exceptions


def from_grpc(method: str, timeout: float) -> Exception:
    """What a call to a port raises at which nobody listens."""
    with grpc.insecure_channel("127.0.0.1:1") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(b"", timeout=timeout)
    assert isinstance(caught.value, Exception)
    return caught.value


def lost_connection() -> Exception:
    return from_grpc("/milvus.proto.milvus.MilvusService/Insert", 5)


def wrapped() -> Exception:
    """Pymilvus gives up with an exception of its own, whose cause is gRPC's."""
    error = exceptions.MilvusException(1, "x")
    error.__cause__ = lost_connection()
    return error


def caused_by_itself() -> Exception:
    """As pymilvus 3.0 raises what a server says."""
    error: Exception = exceptions.MilvusException(100, "collection not found[collection=items]")
    error.__cause__ = error
    return error


def of_milvus(code: Any, message: str = "x") -> Callable[[], Exception]:
    return lambda: exceptions.MilvusException(code, message)


MAY_PASS = [
    lost_connection,
    lambda: from_grpc("/x", 0.0001),  # no answer in time
    wrapped,
    of_milvus(grpc.StatusCode.UNAVAILABLE),
    *map(of_milvus, (8, 9, 503)),
    of_milvus(1, "[upsert] Retry timeout: 30s, message=rate limit exceeded"),
    of_milvus(1, "[insert] Retry run out of 75 retry times"),
    of_milvus(65535, "rate limit exceeded"),
    of_milvus(1, "Insert: Cannot invoke RPC on closed channel!"),
]
STAYS = [
    caused_by_itself,
    of_milvus(1100, "invalid expression"),
    of_milvus(65535, "auth check failure, please check username and password are correct"),
    of_milvus(1, "Insert missed an field `has_image` to collection without set nullable==true or default_value"),
]


@pytest.mark.parametrize(
    ("error", "may_pass"), [*((error, True) for error in MAY_PASS), *((error, False) for error in STAYS)]
)
def test_which_errors_may_pass(error: Callable[[], Exception], may_pass: bool, connection: Connection) -> None:
    cause = error()
    with pytest.raises(MilvusError) as caught, connection.calling("write"):
        raise cause
    assert (caught.value.may_pass, caught.value.__cause__) == (may_pass, cause)


def test_rows_that_were_not_acknowledged_may_be_sent_again(
    connection: Connection, fused: Manifest, name: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = HashIndex.create(connection, name(), fused, id_kind="int64")
    batch = index.batch([1, 2], {"code": np.zeros((2, 2), np.uint8)}, np.ones((2, 2), bool))
    if connection.columnar is None:
        monkeypatch.setattr(connection.client, "upsert", lambda *_, **__: {"upsert_count": 1})
    else:
        monkeypatch.setattr(connection.columnar, "write", lambda *_, **__: 1)
    for new in (False, True):
        with pytest.raises(MilvusError, match="1 of 2 rows") as caught:
            index.write(batch, insert=new)
        assert caught.value.may_pass


def test_a_count_that_differs_will_not_pass(connection: Connection, fused: Manifest, name: Callable[[], str]) -> None:
    index = HashIndex.create(connection, name(), fused, id_kind="int64")
    with pytest.raises(MilvusError, match=r"1 rows .* it has 0") as caught:
        next(index.distances_to(np.array([1]), np.zeros((1, 2), np.uint8)))
    assert not caught.value.may_pass
