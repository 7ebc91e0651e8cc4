"""Ids and payload that a server does not store are named before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.gappy_parquet import gappy_columns, write_parquet

from milvus_ichash.errors import InputError
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.field_names import META_BYTES
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.ingestion.first_pass import _most_bytes, check_before
from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.ingestion.into_files import to_parquet
from milvus_ichash.ingestion.into_milvus import ingest
from milvus_ichash.io import open_source
from milvus_ichash.io.feature_source import FeatureSource, Holdout
from milvus_ichash.io.subsets import holdout_splits
from milvus_ichash.runtime.encoder import HashEncoder

N = 50
FITS = META_BYTES - len('{"title":"title 41","note":""}')
"""So many characters in the column `note` of item 41 are just what a server stores."""


def source(path: Path, **columns: Any) -> FeatureSource:
    return write_parquet(path / "items.parquet", gappy_columns(N, image=3, text=2) | columns)


def texts(characters: int, letter: str = "x") -> dict[str, list[str | None]]:
    return {"note": [letter * characters if row == 41 else None for row in range(N)]}


@pytest.fixture(scope="module")
def encoder(make_bundle: Callable[..., Path]) -> HashEncoder:
    return HashEncoder.load(make_bundle(modalities={"image": 3, "text": 2}), device="cpu", threads=1)


@pytest.mark.parametrize(("letter", "size"), [("x", 1), ("ä", 2), ("\n", 2), ("\x01", 6), ("😀", 4)])
def test_the_first_item_that_is_too_large_is_named(letter: str, size: int, tmp_path: Path) -> None:
    most = FITS // size
    check_before(source(tmp_path, **texts(most, letter)), IngestOptions(), lite=False)
    large = source(tmp_path, **texts(most + 1, letter))
    with pytest.raises(InputError, match=r"row 41 \(id 'k41'\) has labels and payload of 65,5\d\d bytes .* in 'note'"):
        check_before(large, IngestOptions(), lite=False)
    check_before(large, IngestOptions(fields=["title"]), lite=False)
    check_before(large, IngestOptions(), lite=True)


def test_rows_of_a_split_and_of_arrays(tmp_path: Path) -> None:
    retrieval = holdout_splits(source(tmp_path, **texts(META_BYTES)), Holdout(10))["retrieval"]
    place = next(ids for _, ids in retrieval.id_blocks()).tolist().index("k41")
    with pytest.raises(InputError, match=rf"row {place} \(id 'k41'\)"):
        check_before(retrieval, IngestOptions(), lite=False)
    columns = {"id": np.arange(9), "image": np.ones((9, 3), np.float32), "note": np.array(["x"] * 8 + ["y" * 70_000])}
    np.savez(tmp_path / "items.npz", **columns)
    with pytest.raises(InputError, match=r"row 8 has labels and payload of 70,0\d\d bytes"):
        check_before(open_source(tmp_path / "items.npz"), IngestOptions(), lite=False)


def test_nothing_is_made(encoder: HashEncoder, tmp_path: Path) -> None:
    """As for a server: the files go into one."""
    for changed, says in (
        (texts(META_BYTES), "row 41 .*at most 65,536"),
        ({"id": [f"k{i}" + ("x" * 510 if i == 30 else "") for i in range(N)]}, "the id 'k30x.* at most 512"),
    ):
        with pytest.raises(InputError, match=says):
            to_parquet(source(tmp_path, **changed), encoder, tmp_path / "files", IngestOptions(batch_size=10))
        assert not (tmp_path / "files").exists()


def test_ids_are_looked_at_before_the_first_batch(
    connection: Connection, encoder: HashEncoder, collection: str, tmp_path: Path
) -> None:
    ids = [f"k{i}" + ("\t" if i == 30 else "") for i in range(N)]
    with pytest.raises(InputError, match="holds a control character"):
        ingest(source(tmp_path, id=ids), encoder, connection, collection, IngestOptions(batch_size=10))
    assert not HashIndex.exists(connection, collection)


_TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]))
_NUMBER = st.none() | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
_LIST = st.none() | st.lists(_TEXT, max_size=4)
_STRUCT = st.dictionaries(st.text("abä\n"), st.text("abä\n") | st.integers())


@given(st.one_of(*(st.lists(kind, min_size=1, max_size=5) for kind in (_TEXT, _NUMBER, _LIST, _STRUCT))))
def test_the_quick_sum_is_never_too_small(values: list[Any]) -> None:
    bounds = _most_bytes(values)
    assert len(bounds) == len(values)
    for value, bound in zip(values, bounds.tolist(), strict=True):
        assert len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) <= bound
