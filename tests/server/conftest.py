"""Connections to a real Milvus server (`uri` of tests/conftest.py), and collections of their own for the tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from milvus_ichash.bundle import Manifest, read_manifest
from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import MilvusSettings


@pytest.fixture(scope="module", params=["in columns", "row by row"])
def connection(request: pytest.FixtureRequest, uri: str) -> Iterator[Connection]:
    """Twice: by the columnar calls of this pymilvus, and without them."""
    columnar = request.param == "in columns"
    with connect(MilvusSettings(uri=uri), columnar=columnar) as opened:
        assert (opened.columnar is not None) is columnar
        yield opened


_NUMBERS = count()


@pytest.fixture
def name(uri: str) -> Iterator[Callable[[], str]]:
    """Names for collections, new at each call; they are dropped afterwards."""
    made = []

    def new() -> str:
        made.append(f"ichash_test_{os.getpid()}_{next(_NUMBERS)}")
        return made[-1]

    yield new
    with connect(MilvusSettings(uri=uri)) as opened:
        for collection in made:
            opened.client.drop_collection(collection)


@pytest.fixture(scope="session")
def fused(make_bundle: Callable[..., object]) -> Manifest:
    """Bundle with one code of 64 bits."""
    return read_manifest(make_bundle(bits=64, label_names=("fruit", "car", "tree", "sky")))


@pytest.fixture(scope="session")
def encoder(make_bundle: Callable[..., object]) -> HashEncoder:
    """A bundle with one code of 64 bits."""
    return HashEncoder.load(make_bundle(bits=64), device="cpu")
