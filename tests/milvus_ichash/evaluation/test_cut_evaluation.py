"""Evaluation over cut codes: of files, and of collections that hold different lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.labelled_items import items, write_npz

from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.evaluate import evaluate
from milvus_ichash.evaluation.exact_retriever import ExactRetriever
from milvus_ichash.evaluation.metrics import mean_average_precision
from milvus_ichash.evaluation.milvus_retriever import MilvusRetriever
from milvus_ichash.features import FeatureTable
from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.io import open_source
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import load_settings

LENGTHS = (8, 16, 64)
MAP = "mAP@all"


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    with connect(load_settings(uri=str(tmp_path_factory.mktemp("milvus") / "items.db"))) as connection:
        yield connection


@pytest.fixture(scope="module")
def encoder(make_bundle: Callable[..., Path]) -> HashEncoder:
    return HashEncoder.load(make_bundle(bits=64, nested=LENGTHS, fused=False), threads=1)


@pytest.fixture(scope="module")
def table() -> FeatureTable:
    return items(200, gaps=0)


@pytest.fixture(scope="module")
def queries() -> FeatureTable:
    return items(15, seed=1, first_id=1000, gaps=0)


def by_hand(
    encoder: HashEncoder, queries: FeatureTable, table: FeatureTable, asked: str, searched: str, bits: int
) -> float:
    """Tie-aware mAP of the first bytes of whole codes."""
    width = bits // 8
    query_codes, codes = encoder.encode_table(queries)[f"{asked}_code"], encoder.encode_table(table)[f"{searched}_code"]
    found = queries.labels.any(axis=1)
    return mean_average_precision(query_codes[found, :width], codes[:, :width], queries.labels[found], table.labels)


def stored(
    milvus: Connection, name: str, encoder: HashEncoder, table: FeatureTable, codes: list[str], bits: int
) -> HashIndex:
    index = HashIndex.create(milvus, name, encoder.manifest, id_kind="int64", codes=codes, bits=bits)
    labels = [[c for c, there in enumerate(row) if there] for row in table.labels]
    index.upsert(table.ids, encoder.encode_table(table), table.present, labels)
    return index


@pytest.mark.parametrize("bits", LENGTHS)
def test_a_file_is_measured_at_the_encoders_length(
    encoder: HashEncoder, table: FeatureTable, queries: FeatureTable, bits: int, tmp_path: Path
) -> None:
    source = open_source(write_npz(tmp_path / "rows.npz", table))
    result = evaluate(encoder, queries, ExactRetriever.encode(encoder.cut(bits), source))
    assert result.measured_on["bits"] == bits
    assert result.measured_on.get("cut_from") == (None if bits == 64 else 64)
    for asked, searched in (("image", "text"), ("text", "image")):
        wanted = by_hand(encoder, queries, table, asked, searched, bits)
        assert result.tasks[f"{asked}->{searched}"].metrics[MAP] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("bits", LENGTHS)
def test_codes_made_from_one_modality_alone_are_cut_too(
    table: FeatureTable, queries: FeatureTable, make_bundle: Callable[..., Path], bits: int, tmp_path: Path
) -> None:
    encoder = HashEncoder.load(make_bundle(bits=64, nested=LENGTHS), threads=1)
    source = open_source(write_npz(tmp_path / "rows.npz", table))
    retriever = ExactRetriever.encode(encoder.cut(bits), source, ("text",))
    assert {codes.shape for codes in retriever.database.codes.values()} == {(len(table), bits // 8)}
    result = evaluate(encoder, queries, retriever, tasks=["image->text"])
    found, width = queries.labels.any(axis=1), bits // 8
    query_codes, codes = (
        encoder.encode_table(queries.only("image"))["code"],
        encoder.encode_table(table.only("text"))["code"],
    )
    wanted = mean_average_precision(query_codes[found, :width], codes[:, :width], queries.labels[found], table.labels)
    assert result.tasks["image->text"].metrics[MAP] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("ways", ["readback", "search"])
def test_collections_of_different_lengths(
    milvus: Connection, encoder: HashEncoder, table: FeatureTable, queries: FeatureTable, ways: str
) -> None:
    short = stored(milvus, f"short_{ways}", encoder, table, ["image_code"], 8)
    long = stored(milvus, f"long_{ways}", encoder, table, ["text_code"], 16)
    retrievers = [
        ExactRetriever.read_back(index) if ways == "readback" else MilvusRetriever(index) for index in (short, long)
    ]
    result = evaluate(encoder, queries, retrievers)
    assert result.tasks["text->image"].metrics[MAP] == pytest.approx(
        by_hand(encoder, queries, table, "text", "image", 8), abs=1e-9
    )
    assert result.tasks["image->text"].metrics[MAP] == pytest.approx(
        by_hand(encoder, queries, table, "image", "text", 16), abs=1e-9
    )
    said = result.measured_on
    assert (said["bits"], said["cut_from"], [place["bits"] for place in said["collections"]]) == ([8, 16], 64, [8, 16])


def test_a_length_that_the_encoder_does_not_have(
    milvus: Connection,
    encoder: HashEncoder,
    table: FeatureTable,
    queries: FeatureTable,
    make_bundle: Callable[..., Path],
) -> None:
    index = stored(milvus, "unknown_length", encoder, table, ["image_code", "text_code"], 16)
    plain = HashEncoder.load(make_bundle(bits=64, fused=False), threads=1)
    with pytest.raises(InputError, match="are not nested: only 64 bits"):
        evaluate(plain, queries, ExactRetriever.read_back(index))
