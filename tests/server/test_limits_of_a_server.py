"""What a server does not store is named before anything is written, and no collection is left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.gappy_parquet import gappy_columns, write_parquet

from milvus_ichash.errors import InputError, PartialIngestError
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.field_names import META_BYTES
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.ingestion.into_milvus import ingest
from milvus_ichash.runtime.encoder import HashEncoder

N = 50
BY_TEN = IngestOptions(batch_size=10, wait=False)


@pytest.fixture(scope="module")
def encoder(make_bundle: Callable[..., Path]) -> HashEncoder:
    return HashEncoder.load(make_bundle(modalities={"image": 3, "text": 2}, bits=64), device="cpu", threads=1)


def test_the_largest_payload(
    connection: Connection, encoder: HashEncoder, name: Callable[[], str], tmp_path: Path
) -> None:
    collection, most = name(), META_BYTES - len('{"title":"title 41","note":""}')
    for size, fits in ((most + 1, False), (most, True)):
        notes = ["x" * size if i == 41 else None for i in range(N)]
        source = write_parquet(tmp_path / f"{size}.parquet", gappy_columns(N, image=3, text=2, note=notes))
        if fits:
            assert ingest(source, encoder, connection, collection, BY_TEN).written == N
            continue
        with pytest.raises(InputError, match=r"^row 41 \(id 'k41'\) has labels and payload of 65,537 bytes"):
            ingest(source, encoder, connection, collection, BY_TEN)
        assert not HashIndex.exists(connection, collection)
    index = HashIndex.open(connection, collection)
    with pytest.raises(InputError, match="the item 'b' has labels and payload of"):
        index.upsert(
            ["a", "b"], {"code": np.zeros((2, 8), np.uint8)}, np.ones((2, 2), bool), None, {"note": ["", "x" * 70_000]}
        )
    assert index.count() == N


def test_labels_are_seen_with_their_batch(
    connection: Connection, encoder: HashEncoder, name: Callable[[], str], tmp_path: Path
) -> None:
    """They are read with the features: what was written before them stays, and the message says how to go on."""
    for row in (3, 33):
        collection = name()
        labels = [[f"class {c:05d}" for c in range(6000)] if i == row else ["class 00001"] for i in range(N)]
        source = write_parquet(tmp_path / "items.parquet", gappy_columns(N, image=3, text=2, labels=labels))
        with pytest.raises((InputError, PartialIngestError), match=rf"row {row} .*of them in 'labels'") as caught:
            ingest(source, encoder, connection, collection, BY_TEN)
        assert HashIndex.exists(connection, collection) == (row > 10)
        assert ("go on with" in str(caught.value)) == (row > 10)
