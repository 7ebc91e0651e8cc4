"""A real Milvus server for these tests: that of MILVUS_URI, else one of our own in a closed network (`make test` sees to it).

Where there is neither, the tests are skipped with the reason; with ICHASH_SERVER=required, as in CI, they fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from support import milvus_server

from milvus_ichash.bundle import Manifest, read_manifest
from milvus_ichash.index.client import Connection, connect
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import MilvusSettings


def no_server() -> str | None:
    """Why there is none; None where there is one."""
    if os.environ.get("MILVUS_URI"):
        return None
    if not milvus_server.installed():
        return "the test server is not installed (PyPI milvus==2.3.5, Linux x86-64), and MILVUS_URI is not set"
    if not milvus_server.network_is_closed():
        return "the test server listens on all interfaces, so it starts in a closed network only: run `make test`, or set MILVUS_URI"
    return None


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the server that all tests share."""
    reason = no_server()
    if reason and os.environ.get("ICHASH_SERVER") == "required":
        pytest.fail(f"ICHASH_SERVER=required, and {reason}")
    if reason:
        pytest.skip(reason)
    if os.environ.get("MILVUS_URI"):
        yield os.environ["MILVUS_URI"]
        return
    with milvus_server.MilvusServer(tmp_path_factory.mktemp("server")) as server:
        yield server.uri


@pytest.fixture(scope="module", params=["in columns", "row by row"])
def connection(request: pytest.FixtureRequest, uri: str) -> Iterator[Connection]:
    """Twice: by the columnar calls of this pymilvus, and without them."""
    columnar = request.param == "in columns"
    with connect(MilvusSettings(uri=uri, token=os.environ.get("MILVUS_TOKEN", "")), columnar=columnar) as opened:
        assert (opened.columnar is not None) is columnar
        yield opened


@pytest.fixture
def name(request: pytest.FixtureRequest, uri: str) -> Iterator[Callable[[], str]]:
    """Names for collections, new at each call; they are dropped afterwards."""
    numbers, made = count(), []

    def new() -> str:
        made.append(f"ichash_test_{os.getpid()}_{abs(hash(request.node.name)) % 100_000}_{next(numbers)}")
        return made[-1]

    yield new
    with connect(MilvusSettings(uri=uri, token=os.environ.get("MILVUS_TOKEN", ""))) as opened:
        for collection in made:
            opened.client.drop_collection(collection)


@pytest.fixture(scope="session")
def fused(make_bundle: Callable[..., object]) -> Manifest:
    """Bundle with one code of 64 bits."""
    return read_manifest(make_bundle(bits=64, label_names=("fruit", "car", "tree", "sky")))


@pytest.fixture(scope="session")
def encoder(make_bundle: Callable[..., object]) -> HashEncoder:
    """A bundle with one code of 64 bits."""
    return HashEncoder.load(make_bundle(bits=64, label_names=("fruit", "car", "tree", "sky")), device="cpu")
