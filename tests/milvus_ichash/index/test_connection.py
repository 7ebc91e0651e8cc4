from __future__ import annotations

import base64
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import ClassVar

import grpc
import numpy as np
import pytest

from milvus_ichash.bundle import Manifest
from milvus_ichash.errors import InputError, MilvusError
from milvus_ichash.index.connection import Connection, connect, import_pymilvus
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.settings import MilvusSettings

CLOSED = "http://127.0.0.1:1"


class _Refusing(grpc.GenericRpcHandler):
    """A gRPC server that turns everybody away, and is careless with what it was told."""

    shown: ClassVar[set[str]] = set()
    """Tokens that it was shown."""

    def __init__(self, code: grpc.StatusCode, says: str) -> None:
        self.code, self.says = code, says

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        self.shown.update(base64.b64decode(v).decode() for k, v in details.invocation_metadata if k == "authorization")
        return grpc.unary_unary_rpc_method_handler(lambda request, context: context.abort(self.code, self.says))


@pytest.fixture
def refusing() -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((_Refusing(grpc.StatusCode.UNAUTHENTICATED, "auth check failure for root:sesame"),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(0)


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that is open, behind which nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_closed_port_is_told_before_pymilvus_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Connection, "open")
    with pytest.raises(MilvusError, match=r"not reached at http://127.0.0.1:1 \(Connection refused\)") as caught:
        connect(MilvusSettings(uri=CLOSED, timeout=30))
    assert caught.value.may_pass


def test_silent_port_is_given_up_at_the_timeout(silent: str) -> None:
    with pytest.raises(MilvusError, match="could not answer"):
        connect(MilvusSettings(uri=silent, timeout=1))


def test_refused_token_is_never_printed(refusing: str) -> None:
    with pytest.raises(MilvusError, match="refused the token") as caught:
        connect(MilvusSettings(uri=refusing, token="root:sesame", timeout=5))
    assert ("sesame" in str(caught.value), caught.value.may_pass) == (False, False)


@pytest.mark.parametrize(
    ("token", "arrives"), [(None, "root:S3/CRET"), ("key", "key")], ids=["of the address", "of its own"]
)
def test_user_and_password_in_the_address_reach_the_server(refusing: str, token: str | None, arrives: str) -> None:
    _Refusing.shown.clear()
    with pytest.raises(MilvusError, match="refused the token"):
        connect(uri=refusing.replace("://", "://root:S3%2FCRET@"), token=token, timeout=5)
    assert _Refusing.shown == {arrives}


def test_an_error_that_repeats_the_address_is_shortened(monkeypatch: pytest.MonkeyPatch, silent: str) -> None:
    uri = silent.replace("://", "://root:S3%2FCRET@")

    def fails(*arguments: object, **options: object) -> None:
        raise import_pymilvus().MilvusException(2, f"Fail connecting to {uri}, user root:S3/CRET, via http://a:b@h:1")

    monkeypatch.setattr(import_pymilvus(), "MilvusClient", fails)
    with pytest.raises(MilvusError, match=r"Fail connecting to \*\*\*, user \*\*\*, via http://\.\.\.@h:1\.$"):
        connect(uri=uri)


def test_password_in_the_address_is_never_printed() -> None:
    with pytest.raises(MilvusError, match=r"http://127\.0\.0\.1:1") as caught:
        connect(MilvusSettings(uri="http://root:sesame@127.0.0.1:1"))
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("uri", ["http://[bad", "http://127.0.0.1:99999", "ftp://somewhere", "http://", "x.txt"])
def test_what_is_no_address_is_named(uri: str) -> None:
    with pytest.raises(InputError, match="is no address"):
        connect(MilvusSettings(uri=uri))


def test_file_that_is_not_there_is_made_only_where_that_is_meant(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no database"):
        connect(MilvusSettings(uri=str(tmp_path / "x.db")), create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_environment_does_not_break_the_import(tmp_path: Path) -> None:
    """A plain `import pymilvus` fails here, and a `.env` that it finds would end up in our environment."""
    code = (
        "import os\n"
        "from milvus_ichash.index.connection import connect, import_pymilvus\n"
        "from milvus_ichash.settings import load_settings\n"
        "before = dict(os.environ)\n"
        "import_pymilvus()\n"
        "assert dict(os.environ) == before\n"
        "with connect(load_settings(uri='./x.db')) as c: print(c.client.list_collections())\n"
    )
    env = {**os.environ, "MILVUS_URI": "./x.db", "MILVUS_DEFAULT_CONNECTION": "./y.db"}
    plain, ours = (
        subprocess.run(
            [sys.executable, "-c", program], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        for program in ("import pymilvus", code)
    )
    assert plain.returncode != 0
    assert (ours.returncode, ours.stdout.strip()) == (0, "[]"), ours.stderr


def test_errors_are_one_sentence_and_nothing_else_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import_pymilvus()
    assert not logging.getLogger("pymilvus.decorators").isEnabledFor(logging.CRITICAL)
    with connect(MilvusSettings(uri=str(tmp_path / "x.db"))) as connection:
        says = "could not describe it: collection not found"
        with pytest.raises(MilvusError, match=says) as caught, connection.calling("describe it"):
            connection.client.describe_collection("nothing")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_closing_twice_is_nothing(tmp_path: Path) -> None:
    connection = connect(MilvusSettings(uri=str(tmp_path / "x.db")))
    connection.close()
    connection.close()


def test_use_after_close(fused: Manifest, tmp_path: Path) -> None:
    connection = connect(MilvusSettings(uri=str(tmp_path / "x.db")))
    index = HashIndex.create(connection, "items", fused)
    codes, present = np.zeros((1, 2), np.uint8), np.ones((1, 2), bool)
    connection.close()
    connection.close()
    for use in (
        lambda: index.search(codes),
        lambda: index.upsert(["a"], {"code": codes}, present),
        lambda: index.delete(["a"]),
        lambda: index.existing(["a"]),
        lambda: list(index.rank_all(codes)),
        index.count,
        index.read_back,
        index.load,
        index.summary,
        lambda: HashIndex.open(connection, "items"),
        lambda: HashIndex.ensure(connection, "items", fused),
        lambda: connection.client.list_collections(),
    ):
        with pytest.raises(InputError, match=r"^the connection to .*x\.db is closed: connect anew"):
            use()
