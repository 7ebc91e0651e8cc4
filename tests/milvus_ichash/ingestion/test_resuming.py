"""Going on after an ingest broke off: in the end, the collection is as if it had been ingested in one go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.broken_source import BreaksOff
from support.gappy_parquet import gappy_columns, label_lists, write_parquet

from milvus_ichash.errors import InputError, PartialIngestError
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.ingestion.into_milvus import ingest
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.runtime.encoder import HashEncoder

N = 60
BY_TEN = IngestOptions(batch_size=10)
RESUME = replace(BY_TEN, resume=True)


@pytest.fixture(scope="module")
def encoder(make_bundle: Callable[..., Path]) -> HashEncoder:
    bundle = make_bundle(modalities={"image": 3, "text": 2}, label_names=("a", "b", "c"))
    return HashEncoder.load(bundle, device="cpu", threads=1)


def columns(**changed: Sequence[Any] | None) -> dict[str, Any]:
    return gappy_columns(N, image=3, text=2, labels=label_lists(N), year=list(range(N))) | changed


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> FeatureSource:
    return write_parquet(tmp_path_factory.mktemp("data") / "old.parquet", columns())


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> FeatureSource:
    """The same ids with other features, gaps, labels and titles; every tenth item is as it was."""
    old, titles = columns(), [f"new title {i}" for i in range(N)]
    image, text = [*old["image"][4:], *old["image"][:4]], [None if i == 2 else row for i, row in enumerate(old["text"])]
    whole = columns(title=titles, labels=[*label_lists(N)[1:], ["b"]], image=image, text=text)
    for values, before in ((whole[name], old[name]) for name in whole):
        values[::10] = before[::10]
    return write_parquet(tmp_path_factory.mktemp("data") / "new.parquet", whole)


def contents(connection: Connection, collection: str) -> list[dict[str, Any]]:
    """All rows with all fields, as another client sees them."""
    rows = connection.client.query(collection, filter="id >= ''", output_fields=["*"], limit=1000)
    return sorted((dict(row) for row in rows), key=lambda row: str(row["id"]))


@pytest.mark.parametrize("error", [InputError("torn"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
@pytest.mark.parametrize("rows", [0, 10, 30, 50])
def test_a_replacement_that_broke_off_leaves_no_old_row(
    rows: int,
    error: BaseException,
    connection: Connection,
    encoder: HashEncoder,
    old: FeatureSource,
    new: FeatureSource,
    name: Callable[[], str],
) -> None:
    collection, fresh = name(), name()
    ingest(old, encoder, connection, collection, BY_TEN)
    with pytest.raises((InputError, PartialIngestError, KeyboardInterrupt)):
        ingest(BreaksOff(new, rows, error), encoder, connection, collection, BY_TEN)
    report = ingest(new, encoder, connection, collection, RESUME)
    ingest(new, encoder, connection, fresh, BY_TEN)
    assert contents(connection, collection) == contents(connection, fresh)
    assert report.rows == report.written + report.unchanged == N
    # The items that are as they were, one of ten, are not written again, nor are those that Milvus acknowledged.
    assert report.unchanged >= N // 10
    again = ingest(new, encoder, connection, collection, RESUME)
    assert (again.rows, again.written, again.unchanged) == (N, 0, N)


@pytest.mark.parametrize(
    "changed",
    [
        {"title": ["title 0", "another", *(f"title {i}" for i in range(2, N))]},
        {"year": [0, 1.0, *range(2, N)]},
        {"year": None},
        {"labels": [["a"], None, *label_lists(N)[2:]]},
        {"tags": [[], *([["x"]] * (N - 1))]},
    ],
    ids=["title", "whole number or not", "column less", "labels unknown", "column more"],
)
def test_what_is_not_just_so_is_written(
    changed: dict[str, Any],
    connection: Connection,
    encoder: HashEncoder,
    old: FeatureSource,
    name: Callable[[], str],
    tmp_path: Path,
) -> None:
    source = write_parquet(tmp_path / "changed.parquet", columns(**changed))
    collection, fresh = name(), name()
    ingest(old, encoder, connection, collection)
    assert ingest(source, encoder, connection, collection, RESUME).written > 0
    ingest(source, encoder, connection, fresh)
    assert contents(connection, collection) == contents(connection, fresh)


def test_rows_that_went_missing_are_written_again(
    connection: Connection, encoder: HashEncoder, old: FeatureSource, collection: str
) -> None:
    ingest(old, encoder, connection, collection)
    HashIndex.open(connection, collection).delete([f"k{i}" for i in range(20, 27)])
    report = ingest(old, encoder, connection, collection, RESUME)
    assert (report.written, report.unchanged) == (7, N - 7)


def test_other_options_are_other_rows(
    connection: Connection, encoder: HashEncoder, old: FeatureSource, name: Callable[[], str]
) -> None:
    collection, fresh = name(), name()
    ingest(old, encoder, connection, collection)
    bare = IngestOptions(fields=["title"], labels=False)
    assert ingest(old, encoder, connection, collection, replace(bare, resume=True)).written == N
    ingest(old, encoder, connection, fresh, bare)
    assert contents(connection, collection) == contents(connection, fresh)


def test_numbers_as_ids(connection: Connection, encoder: HashEncoder, collection: str, tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "numbers.parquet", columns(id=list(range(-5, N - 5))))
    ingest(source, encoder, connection, collection)
    report = ingest(source, encoder, connection, collection, RESUME)
    assert (report.written, report.unchanged) == (0, N)
    assert HashIndex.open(connection, collection).read_back().ids.tolist() == np.arange(-5, N - 5).tolist()
