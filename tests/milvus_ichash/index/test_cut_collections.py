"""Collections that hold the first bits of a bundle's codes, in Milvus Lite."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.broken_source import BreaksOff
from support.gappy_parquet import gappy_columns, write_parquet
from support.searches import found, search_at_once

from milvus_ichash.errors import InputError, MismatchError, PartialIngestError
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.description import Description
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.ingestion import bulk_files
from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.ingestion.ingest_report import IngestReport
from milvus_ichash.ingestion.into_files import to_parquet
from milvus_ichash.ingestion.into_milvus import ingest
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.queries import features_to_codes, find_nearest
from milvus_ichash.runtime.encoder import HashEncoder

N = 100
LENGTHS = (8, 32, 64)
BY_TEN = IngestOptions(batch_size=10)


@pytest.fixture(scope="module")
def encoder(make_bundle: Callable[..., Path]) -> HashEncoder:
    return HashEncoder.load(
        make_bundle(modalities={"image": 6, "text": 4}, bits=64, nested=LENGTHS), device="cpu", threads=1
    )


@pytest.fixture(scope="module")
def plain(make_bundle: Callable[..., Path]) -> HashEncoder:
    """The same codes, said to be not nested."""
    return HashEncoder.load(make_bundle(modalities={"image": 6, "text": 4}, bits=64), device="cpu", threads=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FeatureSource:
    return write_parquet(tmp_path_factory.mktemp("data") / "items.parquet", gappy_columns(N))


@pytest.fixture(scope="module")
def whole_codes(encoder: HashEncoder, source: FeatureSource) -> np.ndarray:
    """Of the items k0, k1, ..."""
    return encoder.encode_table(source.read())["code"]


def stored(index: HashIndex) -> dict[str, bytes]:
    back = index.read_back()
    return {key: code.tobytes() for key, code in zip(back.ids, back.codes["code"], strict=True)}


def first(codes: np.ndarray, bits: int) -> dict[str, bytes]:
    """What should be stored."""
    return {f"k{i}": code[: bits // 8].tobytes() for i, code in enumerate(codes)}


def ranked(query: np.ndarray, codes: np.ndarray, bits: int) -> list[tuple[int, str]]:
    """All items by Hamming distance on the first bits, by brute force."""
    distances = np.unpackbits(query ^ codes, axis=1)[:, :bits].sum(axis=1).tolist()
    return sorted((distance, f"k{i}") for i, distance in enumerate(distances))


def test_the_description_says_what_is_cut(encoder: HashEncoder) -> None:
    manifest = encoder.manifest
    whole, cut = Description.of(manifest), Description.of(manifest, None, 32)
    assert (whole.bits, whole.cut_from, cut.bits, cut.cut_from) == (64, None, 32, 64)
    assert Description.of(manifest, None, 64) == whole
    assert Description.parse(cut.to_json()) == cut
    before = {name: value for name, value in json.loads(whole.to_json()).items() if name != "cut_from"}
    assert Description.parse(json.dumps(before)) == whole, "as collections were described before codes could be cut"


@pytest.mark.parametrize("bits", LENGTHS)
def test_a_cut_collection_ranks_by_the_cut_codes(
    connection: Connection,
    encoder: HashEncoder,
    source: FeatureSource,
    whole_codes: np.ndarray,
    bits: int,
    collection: str,
) -> None:
    ingest(source, encoder, connection, collection, replace(BY_TEN, bits=bits))
    index = HashIndex.open(connection, collection)
    index.check(encoder.manifest)
    assert (index.bits, index.fingerprint) == (bits, encoder.manifest.fingerprint)
    assert stored(index) == first(whole_codes, bits)
    said = {name: value for name, value in index.summary().items() if name in ("bits", "code bytes", "cut")}
    assert said == {"bits": bits, "code bytes": N * bits // 8} | (
        {"cut": f"{bits} of the bundle's 64"} if bits < 64 else {}
    )
    wanted = [ranked(query, whole_codes, bits) for query in whole_codes[:5]]
    for queries in (whole_codes[:5], whole_codes[:5, : bits // 8]):
        assert found(index.search(queries, top_k=N)) == found(search_at_once(index, [queries], top_k=N)[0]) == wanted
        for ranking in (index.rank_all(queries), index.rank_first(queries, top_k=N)):
            assert [list(zip(d.tolist(), i.tolist(), strict=True)) for i, d in ranking] == wanted
    items = features_to_codes(encoder, source.read())
    assert [(row["distance"], row["id"]) for row in find_nearest(index, items, top_k=N)][:N] == wanted[0]
    with pytest.raises(InputError, match=f"Hamming distances of {bits}-bit codes"):
        index.search(whole_codes[:1], radius=bits + 1)


def test_python_makes_one_and_fills_it(
    connection: Connection, encoder: HashEncoder, plain: HashEncoder, whole_codes: np.ndarray, name: Callable[[], str]
) -> None:
    index = HashIndex.create(connection, name(), encoder.manifest, bits=32)
    present = np.ones((N, 2), np.bool_)
    ids = [f"k{i}" for i in range(N)]
    index.upsert(ids[:50], {"code": whole_codes[:50]}, present[:50])
    index.upsert(ids[50:], {"code": whole_codes[50:, :4]}, present[50:])
    assert stored(index) == first(whole_codes, 32)
    for wrong in (
        whole_codes[:1, :1],
        np.zeros((1, 9), np.uint8),
        np.zeros((1, 8), np.float32),
        np.zeros((1, 64), np.uint8),
    ):
        for use in (index.search, lambda codes: index.upsert(["x"], {"code": codes}, present[:1])):
            with pytest.raises(InputError, match=r"takes packed bits, uint8 \(n, 4\)"):
                use(wrong)
    with pytest.raises(InputError, match="cut to 8, 32 of 64 bits"):
        HashIndex.create(connection, name(), encoder.manifest, bits=48)
    with pytest.raises(
        MismatchError, match=r"codes cut to 32 bits, and this bundle's manifest says that they can have 64"
    ):
        index.check(plain.manifest)
    whole = HashIndex.create(connection, name(), encoder.manifest)
    whole.check(plain.manifest)
    with pytest.raises(InputError, match=r"takes packed bits, uint8 \(n, 8\)"):
        whole.search(whole_codes[:1, :4])


def test_a_collection_that_is_there_keeps_its_length(
    connection: Connection,
    encoder: HashEncoder,
    source: FeatureSource,
    whole_codes: np.ndarray,
    collection: str,
) -> None:
    ingest(source, encoder.cut(32), connection, collection)
    for using, bits in ((encoder, None), (encoder.cut(8), None), (encoder, 32), (encoder.cut(8), 32)):
        ingest(source, using, connection, collection, IngestOptions(bits=bits))
        assert stored(HashIndex.open(connection, collection)) == first(whole_codes, 32)
    for bits in (8, 64):
        with pytest.raises(InputError, match=f"'{collection}' holds codes of 32 bits, not {bits}: leave --bits out"):
            ingest(source, encoder, connection, collection, IngestOptions(bits=bits))
    with pytest.raises(InputError, match="codes of 16 bits cannot be had"):
        ingest(source, encoder, connection, collection, IngestOptions(bits=16))
    ingest(source, encoder, connection, collection, IngestOptions(bits=8, recreate=True))
    assert stored(HashIndex.open(connection, collection)) == first(whole_codes, 8)


def test_codes_that_are_not_nested_are_not_cut(
    connection: Connection, plain: HashEncoder, source: FeatureSource, tmp_path: Path, collection: str
) -> None:
    for run in (
        lambda: ingest(source, plain, connection, collection, IngestOptions(bits=32)),
        lambda: to_parquet(source, plain, tmp_path / "files", IngestOptions(bits=32)),
    ):
        with pytest.raises(InputError, match="this bundle's codes are not nested: only 64 bits"):
            run()
    assert not HashIndex.exists(connection, collection)
    assert not (tmp_path / "files").exists()


@pytest.mark.parametrize("again", [None, 32])
def test_an_ingest_that_broke_off_goes_on_at_its_length(
    connection: Connection,
    encoder: HashEncoder,
    source: FeatureSource,
    whole_codes: np.ndarray,
    again: int | None,
    collection: str,
) -> None:
    report, torn = IngestReport(), BreaksOff(source, 40, InputError("torn"))
    with pytest.raises(PartialIngestError):
        ingest(torn, encoder, connection, collection, replace(BY_TEN, bits=32), report=report)
    assert report.written == 40
    resumed = ingest(source, encoder, connection, collection, replace(BY_TEN, bits=again, resume=True))
    assert (resumed.unchanged, resumed.written) == (40, N - 40)
    assert stored(HashIndex.open(connection, collection)) == first(whole_codes, 32)


def test_files_say_their_length_and_go_on_at_it(
    encoder: HashEncoder, source: FeatureSource, whole_codes: np.ndarray, tmp_path: Path
) -> None:
    options = replace(BY_TEN, bits=32, resume=True)
    with pytest.raises(PartialIngestError):
        to_parquet(BreaksOff(source, 40, InputError("torn")), encoder, tmp_path, options, file_rows=30)
    for other in (None, 8):
        with pytest.raises(InputError, match=r"other --codes, --bits"):
            to_parquet(source, encoder, tmp_path, replace(options, bits=other), file_rows=30)
    assert to_parquet(source, encoder, tmp_path, options, file_rows=30).unchanged >= 30
    assert bulk_files.read_manifest(tmp_path).description == Description.of(encoder.manifest, None, 32)
    rows = [row for part in bulk_files.parts_in(tmp_path) for row in pq.read_table(part).to_pylist()]
    assert {row["id"]: bytes(row["code"]) for row in rows} == first(whole_codes, 32)
