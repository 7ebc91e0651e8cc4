"""One Milvus Lite for all tests of a file, and encoders that many tests evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import load_settings


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A Milvus Lite for the collections of a file."""
    with connect(load_settings(uri=str(tmp_path_factory.mktemp("milvus") / "items.db"))) as connection:
        yield connection


@pytest.fixture(scope="session")
def fused_encoder(make_bundle: Callable[..., Path]) -> HashEncoder:
    """One code of 16 bits, of image and text."""
    return HashEncoder.load(make_bundle())


@pytest.fixture(scope="session")
def cross_encoder(make_bundle: Callable[..., Path]) -> HashEncoder:
    """Two codes of 16 bits, one of images and one of texts."""
    return HashEncoder.load(make_bundle(fused=False))
