"""Evaluation over cut codes: of files, and of collections that hold different lengths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.labelled_items import ingest, items, write_npz

from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.evaluate import evaluate
from milvus_ichash.evaluation.exact_retriever import ExactRetriever
from milvus_ichash.evaluation.metrics import mean_average_precision
from milvus_ichash.evaluation.milvus_retriever import MilvusRetriever
from milvus_ichash.index.connection import Connection
from milvus_ichash.io import open_source
from milvus_ichash.runtime.encoder import HashEncoder

LENGTHS = (8, 16, 64)
PAIRS = (("image", "text"), ("text", "image"))
TABLE, QUERIES = items(200, gaps=0), items(15, seed=1, first_id=1000, gaps=0)


@pytest.fixture(scope="module")
def encoder(make_bundle: Callable[..., Path]) -> HashEncoder:
    return HashEncoder.load(make_bundle(bits=64, nested=LENGTHS, fused=False), threads=1)


def by_hand(encoder: HashEncoder, asked: str, searched: str, bits: int) -> float:
    """Tie-aware mAP of the first bytes of whole codes, which are made from one modality each."""
    fused = "code" if encoder.manifest.fused else None
    query_codes = encoder.encode_table(QUERIES.only(asked))[fused or f"{asked}_code"]
    codes = encoder.encode_table(TABLE.only(searched))[fused or f"{searched}_code"]
    return mean_average_precision(query_codes[:, : bits // 8], codes[:, : bits // 8], QUERIES.labels, TABLE.labels)


@pytest.mark.parametrize("bits", LENGTHS)
@pytest.mark.parametrize("fused", [False, True])
def test_a_file_is_measured_at_the_encoders_length(
    make_bundle: Callable[..., Path], bits: int, fused: bool, tmp_path: Path
) -> None:
    """Cross-modal codes, and fused codes of one modality only."""
    encoder = HashEncoder.load(make_bundle(bits=64, nested=LENGTHS, fused=fused), threads=1)
    source = open_source(write_npz(tmp_path / "rows.npz", TABLE))
    retriever = ExactRetriever.encode(encoder.cut(bits), source, ("image", "text"))
    assert {codes.shape for codes in retriever.database.codes.values()} == {(len(TABLE), bits // 8)}
    result = evaluate(encoder, QUERIES, retriever)
    said = result.measured_on
    assert (said["bits"], said.get("cut_from")) == (bits, None if bits == 64 else 64)
    found = {f"{asked}->{searched}": by_hand(encoder, asked, searched, bits) for asked, searched in PAIRS}
    assert {name: result.tasks[name].metrics["mAP@all"] for name in found} == pytest.approx(found, abs=1e-9)


@pytest.mark.parametrize("retriever", [ExactRetriever.read_back, MilvusRetriever])
def test_collections_of_different_lengths(
    milvus: Connection, encoder: HashEncoder, retriever: Callable[..., ExactRetriever | MilvusRetriever]
) -> None:
    lengths = {"image": 8, "text": 16}
    indexes = [
        ingest(milvus, f"{name}_{retriever.__name__}", encoder.cut(bits), TABLE, codes=[f"{name}_code"])
        for name, bits in lengths.items()
    ]
    result = evaluate(encoder, QUERIES, [retriever(index) for index in indexes])
    found = {name: task.metrics["mAP@all"] for name, task in result.tasks.items()}
    wanted = {f"{asked}->{searched}": by_hand(encoder, asked, searched, lengths[searched]) for asked, searched in PAIRS}
    assert found == pytest.approx(wanted, abs=1e-9)
    said = result.measured_on
    assert (said["bits"], said["cut_from"], [place["bits"] for place in said["collections"]]) == ([8, 16], 64, [8, 16])


def test_a_length_that_the_encoder_does_not_have(
    milvus: Connection, encoder: HashEncoder, make_bundle: Callable[..., Path]
) -> None:
    index = ingest(milvus, "unknown_length", encoder.cut(16), TABLE)
    plain = HashEncoder.load(make_bundle(bits=64, fused=False), threads=1)
    with pytest.raises(InputError, match="are not nested: only 64 bits"):
        evaluate(plain, QUERIES, ExactRetriever.read_back(index))
