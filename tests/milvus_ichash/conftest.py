"""One Milvus Lite for all tests of a file: a start takes a moment, a collection does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from milvus_ichash.bundle import Manifest, read_manifest
from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.settings import MilvusSettings


@pytest.fixture(scope="module", params=["in columns", "row by row"])
def connection(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Twice: by the columnar calls of this pymilvus, and without them."""
    columnar = request.param == "in columns"
    with connect(MilvusSettings(uri=str(tmp_path_factory.mktemp("milvus") / "test.db")), columnar=columnar) as opened:
        assert (opened.columnar is not None) is columnar
        yield opened


_NUMBERS = count()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Names for collections, new at each call."""
    return lambda: f"{request.node.originalname}_{next(_NUMBERS)}"


@pytest.fixture
def collection(name: Callable[[], str]) -> str:
    """A new name for a collection."""
    return name()


@pytest.fixture(scope="session")
def fused(make_bundle: Callable[..., Path]) -> Manifest:
    """Bundle with one code of 16 bits."""
    return read_manifest(make_bundle(label_names=("fruit", "car")))


@pytest.fixture(scope="session")
def cross(make_bundle: Callable[..., Path]) -> Manifest:
    """Bundle with two codes of 16 bits, of image and text."""
    return read_manifest(make_bundle(fused=False))
