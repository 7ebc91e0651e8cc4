"""What Milvus cannot store is counted and named, never dropped without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.array_files import save_npz
from support.gappy_parquet import gappy_columns, write_parquet

from milvus_ichash.errors import InputError
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.ingestion.ingest_report import Listeners
from milvus_ichash.ingestion.into_files import to_parquet
from milvus_ichash.ingestion.into_milvus import ingest
from milvus_ichash.ingestion.payload import PayloadCleaner
from milvus_ichash.io import open_source
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.queries import id_from_text
from milvus_ichash.runtime.encoder import HashEncoder

N = 12
NAN = float("nan")
ROW_IDS = IngestOptions(batch_size=5, row_ids=True)


@pytest.fixture(scope="module")
def encoder(make_bundle: Callable[..., Path]) -> HashEncoder:
    return HashEncoder.load(make_bundle(modalities={"image": 3, "text": 2}), device="cpu", threads=1)


def items(path: Path, **columns: Any) -> FeatureSource:
    return write_parquet(path / "items.parquet", gappy_columns(N, image=3, text=2) | columns)


@pytest.mark.parametrize(
    ("values", "cleaned", "notes"),
    [
        ([1.5, None, -2.0], [1.5, None, -2.0], []),
        ([1, None, True, 2**63 - 1], [1, None, True, 2**63 - 1], []),
        ([["a"], [], ["b"]], [["a"], [], ["b"]], []),
        (
            [1.5, NAN, None],
            [1.5, None, None],
            ["NaN and infinity cannot be stored, and are null now: 1 in x."],
        ),
        (
            [{"a": [float("inf")]}, [float("-inf"), 1.0]],
            [{"a": [None]}, [None, 1.0]],
            ["NaN and infinity cannot be stored, and are null now: 2 in x."],
        ),
        ([2**64 - 1, 3], [str(2**64 - 1), 3], ["whole numbers beyond 64 bits are stored as text: 1 in x."]),
        ([[2**63], None], [[str(2**63)], None], ["whole numbers beyond 64 bits are stored as text: 1 in x."]),
        ([], [], []),
    ],
    ids=str,
)
def test_values_that_json_does_not_have(values: list[Any], cleaned: list[Any], notes: list[str]) -> None:
    clean = PayloadCleaner()
    assert clean({"x": values}) == {"x": cleaned}
    assert list(clean.notes()) == notes


def test_an_ingest_names_what_does_not_go_along(
    connection: Connection, encoder: HashEncoder, collection: str, tmp_path: Path
) -> None:
    source = items(
        tmp_path,
        price=[NAN if i % 3 == 0 else float(i) for i in range(N)],
        when=pa.array(range(N), pa.timestamp("s", "UTC")),
        large=pa.array([2**64 - 1] * N, pa.uint64()),
        picture=[b"\x00"] * N,
    )
    notes: list[str] = []
    ingest(
        source, encoder, connection, collection, IngestOptions(batch_size=5), listeners=Listeners(remark=notes.append)
    )
    assert notes == [
        f"Columns of {tmp_path / 'items.parquet'} that cannot be stored and are left out: picture (binary).",
        "NaN and infinity cannot be stored, and are null now: 4 in price.",
        f"whole numbers beyond 64 bits are stored as text: {N} in large.",
    ]
    index = HashIndex.open(connection, collection)
    query = encoder.encode(image=np.ones((1, 3), np.float32))["code"]
    row = index.search(query, top_k=N, filter="id == 'k3'", output_fields=["*"]).fields[0][0]
    assert (row["price"], row["when"], row["large"]) == (None, "1970-01-01T00:00:03.000Z", str(2**64 - 1))


def test_fields_that_are_asked_for_are_stored_or_refused(encoder: HashEncoder, tmp_path: Path) -> None:
    source = items(tmp_path, picture=[b"\x00"] * N)
    notes: list[str] = []
    options, listeners = IngestOptions(fields=["title"]), Listeners(remark=notes.append)
    to_parquet(source, encoder, tmp_path / "files", options, listeners=listeners)
    assert not notes, "nobody asked for the others"
    for field, why in (
        ("picture", r"column 'picture' of .* cannot be stored \(binary\)"),
        ("nope", "has no payload column 'nope'"),
    ):
        with pytest.raises(InputError, match=f"{why}; there is title"):
            to_parquet(source, encoder, tmp_path / "more", IngestOptions(fields=[field]))


def test_arrays_too(encoder: HashEncoder, tmp_path: Path) -> None:
    file = save_npz(
        tmp_path / "a",
        id=np.arange(3),
        image=np.ones((3, 3)),
        text=np.ones((3, 2)),
        when=np.array(["2024-05-01", "NaT", "1969-01-01"], "datetime64[D]"),
        price=np.array([1, np.inf, 2], np.longdouble),
        wave=np.ones(3, np.complex64),
        odd=np.ones((3, 2), np.complex64),
        vocabulary=np.array(["a", "b"]),
    )
    source = open_source(file)
    assert source.info.left_out == {"wave": "complex numbers", "odd": "shape (3, 2)"}
    assert source.read().payload["when"] == ["2024-05-01", None, "1969-01-01"]
    notes: list[str] = []
    to_parquet(source, encoder, tmp_path / "files", listeners=Listeners(remark=notes.append))
    assert notes[0].endswith("left out: wave (complex numbers), odd (shape (3, 2)).")
    assert notes[1:] == ["NaN and infinity cannot be stored, and are null now: 1 in price."]


def test_without_ids_nothing_is_stored_unless_row_numbers_are_asked_for(
    connection: Connection, encoder: HashEncoder, collection: str, tmp_path: Path
) -> None:
    source = items(tmp_path, id=None, ID=[f"k{i}" for i in range(N)])
    with pytest.raises(
        InputError, match=r"no column of ids .*columns: image, text, title, ID.*--id-column ID, or.*--row-"
    ):
        ingest(source, encoder, connection, collection)
    with pytest.raises(InputError, match="no column of ids"):
        to_parquet(source, encoder, tmp_path / "files")
    assert not HashIndex.exists(connection, collection)
    notes: list[str] = []
    ingest(source, encoder, connection, collection, ROW_IDS, listeners=Listeners(remark=notes.append))
    assert ["--row-ids replaces these rows" in note for note in notes] == [True]
    assert sorted(HashIndex.open(connection, collection).read_back().ids) == list(range(N))


def test_row_numbers_are_refused_where_there_are_ids(encoder: HashEncoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has ids of its own: leave --row-ids out"):
        to_parquet(items(tmp_path), encoder, tmp_path / "files", ROW_IDS)


def test_an_id_beyond_63_bits_is_no_id(
    connection: Connection, encoder: HashEncoder, collection: str, tmp_path: Path
) -> None:
    ingest(items(tmp_path, id=None), encoder, connection, collection, ROW_IDS)
    index = HashIndex.open(connection, collection)
    with pytest.raises(InputError, match=r"9999 is no id of collection .* whose ids have 63 bits"):
        id_from_text(index, "9" * 20)
    assert id_from_text(index, "3") == 3
