"""Figures out of a Milvus server: from its codes, complete searches, and an index that looks at some cells only."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support.command import run_here
from support.evaluations import assert_same_figures, in_memory
from support.labelled_items import ingest, items, write_npz

from milvus_ichash.codes import hamming_distance
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.evaluate import evaluate
from milvus_ichash.evaluation.evaluation_settings import EvaluationSettings
from milvus_ichash.evaluation.exact_retriever import ExactRetriever
from milvus_ichash.evaluation.milvus_retriever import MilvusRetriever
from milvus_ichash.evaluation.sweep import EXACT, FLAT, sweep
from milvus_ichash.features import FeatureTable
from milvus_ichash.index.connection import Connection, connect
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.index_spec import IndexSpec
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import MilvusSettings

MakeBundle = Callable[..., Path]

ROWS, QUERIES, NLIST = 20_000, 30, 32
"""Two slices of the primary key; more rows than one search gives."""


@dataclass
class Place:
    """Collections of the same items: all of them with BIN_FLAT and with BIN_IVF_FLAT, and a few with one code each."""

    uri: str
    folder: Path
    names: dict[str, str]
    encoder: HashEncoder
    cross: HashEncoder
    table: FeatureTable
    queries: FeatureTable
    few: FeatureTable

    def options(self, bundle: str) -> list[object]:
        """Arguments of a command that measures with "fused" or "cross" codes."""
        return [self.folder / "queries.npz", "--uri", self.uri, "-b", self.folder / bundle]


@pytest.fixture(scope="module")
def place(uri: str, make_bundle: MakeBundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    bundles = {"fused": make_bundle(bits=32), "cross": make_bundle(bits=32, fused=False)}
    for name, bundle in bundles.items():
        (folder / name).symlink_to(bundle)
    encoder, cross = (HashEncoder.load(bundle, device="cpu") for bundle in bundles.values())
    names = {name: f"ichash_evaluated_{os.getpid()}_{name}" for name in ("flat", "ivf", "image", "text")}
    table, few = items(ROWS, gaps=0.1), items(400, gaps=0.3)
    queries = items(QUERIES, seed=1, gaps=0, first_id=10**6)
    queries = queries.take(queries.labels.any(axis=1))
    write_npz(folder / "queries.npz", queries)
    with connect(MilvusSettings(uri=uri)) as connection:
        ingest(connection, names["flat"], encoder, table)
        ivf = ingest(connection, names["ivf"], encoder, table, index=IndexSpec(kind="BIN_IVF_FLAT", nlist=NLIST))
        for code in ("image", "text"):
            ingest(connection, names[code], cross, few, codes=[f"{code}_code"])
        ivf.wait_until_indexed(120)
        yield Place(uri, folder, names, encoder, cross, table, queries, few)
        for name in names.values():
            connection.client.drop_collection(name)


def opened(connection: Connection, place: Place, name: str) -> HashIndex:
    return HashIndex.open(connection, place.names[name])


@pytest.mark.parametrize("ties", ["expected", "stable"])
def test_searches_of_bin_flat_and_the_codes_read_back_give_the_same_figures(
    connection: Connection, place: Place, ties: str
) -> None:
    how = EvaluationSettings(ties=ties, part="complete")
    asked = place.queries.take(np.arange(4))
    exact = evaluate(place.encoder, asked, in_memory(place.encoder, place.table), settings=how).tasks
    index = opened(connection, place, "flat")
    search = MilvusRetriever(index)
    assert search.complete and 16_384 < exact["both"].rows < ROWS
    # An index over cells makes no difference to the codes.
    read = [ExactRetriever.read_back(each) for each in (index, opened(connection, place, "ivf"))]
    for retriever in (search, *read):
        assert_same_figures(exact, evaluate(place.encoder, asked, retriever, settings=how).tasks)


def test_what_bin_ivf_flat_did_not_return_counts_as_missed(connection: Connection, place: Place) -> None:
    index = opened(connection, place, "ivf")
    exact = evaluate(place.encoder, place.queries, in_memory(place.encoder, place.table), tasks=["both"]).tasks["both"]
    few = MilvusRetriever(index, nprobe=2)
    result = evaluate(place.encoder, place.queries, few, tasks=["both"])
    cell = result.tasks["both"]
    returned = [
        len(ids)
        for ids, _ in index.rank_first(place.encoder.encode_table(place.queries)["code"], top_k=16_384, nprobe=2)
    ]
    assert (
        cell.rows_missing == pytest.approx(ROWS - np.mean(returned)) and 0 < cell.relevant_missing < cell.rows_missing
    )
    assert cell.metrics["mAP@all"] < exact.metrics["mAP@all"] and cell.metrics["random"] == exact.metrics["random"]
    assert any(f"of {ROWS} rows were not returned for a query" in note for note in result.notes)
    on = result.measured_on
    assert (on["index_kind"], on["nlist"], on["nprobe"], on["top_k"]) == ("BIN_IVF_FLAT", NLIST, 2, 16_384)
    assert (on["rows"], on["rows_not_indexed"], on["bundle"]) == (ROWS, 0, place.encoder.manifest.fingerprint)
    assert on["milvus"].startswith("v") and on["pymilvus"] and on["date"]
    # All cells: nothing is missing but what one search cannot give.
    everything = evaluate(
        place.encoder, place.queries, MilvusRetriever(index, nprobe=NLIST, top_k=1000), tasks=["both"]
    ).tasks["both"]
    assert everything.rows_missing == ROWS - 1000


def test_rows_without_an_index_are_told_of(connection: Connection, place: Place, name: Callable[[], str]) -> None:
    table = items(3000)
    index = ingest(connection, name(), place.encoder, table, index=IndexSpec(kind="BIN_IVF_FLAT", nlist=16))
    retriever = MilvusRetriever(index, nprobe=1)
    assert retriever.about["rows_not_indexed"] == 3000
    assert "not indexed yet, so the recall is not the index's" in retriever.notes[0] and "--wait" in retriever.notes[0]


def test_a_sweep_over_nprobe(connection: Connection, place: Place) -> None:
    ivf, flat = opened(connection, place, "ivf"), opened(connection, place, "flat")
    result = sweep(
        place.encoder,
        place.queries,
        [ivf],
        [4, 1],
        flat=[flat],
        tasks=["both"],
        settings=EvaluationSettings(at_k=(10, 50)),
    )
    assert [(point.search, point.nprobe) for point in result.points] == [
        (EXACT, None),
        (FLAT, None),
        *(("BIN_IVF_FLAT", nprobe) for nprobe in (1, 4, NLIST)),
    ]
    exact, flat_point, *probed = result.points
    assert exact.recall == flat_point.recall == probed[-1].recall == {10: 1.0, 50: 1.0}
    recalls = [point.recall[50] for point in probed]
    assert recalls == sorted(recalls) and recalls[0] < 1
    codes, stored = (place.encoder.encode_table(table)["code"] for table in (place.queries, place.table))
    everything = np.sort(hamming_distance(codes, stored), axis=1)
    by_hand = [
        np.count_nonzero(found[:50] <= truth[49]) / 50
        for (_, found), truth in zip(ivf.rank_first(codes, top_k=50, nprobe=1), everything, strict=True)
    ]
    assert probed[0].recall[50] == pytest.approx(np.mean(by_hand), abs=1e-12)
    whole = evaluate(
        place.encoder,
        place.queries,
        in_memory(place.encoder, place.table),
        tasks=["both"],
        settings=EvaluationSettings(at_k=(10,)),
    )
    assert exact.map[10] == pytest.approx(whole.tasks["both"].metrics["mAP@10"], abs=1e-9)
    for point in result.points:
        assert 0 < point.speed.p50_ms <= point.speed.p95_ms and point.speed.queries_per_second > 0


def test_a_sweep_over_cut_codes(
    connection: Connection, place: Place, make_bundle: MakeBundle, name: Callable[[], str]
) -> None:
    encoder = HashEncoder.load(make_bundle(bits=64, nested=(16, 64)), device="cpu")
    how = {"tasks": ["both"], "settings": EvaluationSettings(at_k=(10,))}
    ivf = ingest(connection, name(), encoder.cut(16), place.few, index=IndexSpec(kind="BIN_IVF_FLAT", nlist=4))
    short, long = (ingest(connection, name(), encoder.cut(bits), place.few) for bits in (16, 64))
    with pytest.raises(InputError, match=r"holds codes of 64 bits and .* of 16, so they cannot be compared"):
        sweep(encoder, place.queries, [ivf], [1], flat=[long], **how)
    result = sweep(encoder, place.queries, [ivf], [1], flat=[short], **how)
    assert (result.measured_on["bits"], result.measured_on["cut_from"]) == (16, 64)
    by_hand = evaluate(encoder, place.queries, in_memory(encoder.cut(16), place.few), **how).tasks["both"]
    assert result.points[0].map[10] == pytest.approx(by_hand.metrics["mAP@10"], abs=1e-9)
    assert result.points[1].recall == result.points[-1].recall == {10: 1.0}


def test_the_commands(place: Place) -> None:
    ivf, flat, image, text = (place.names[name] for name in ("ivf", "flat", "image", "text"))
    swept = run_here(
        "sweep", *place.options("fused"), "-c", ivf, "--flat", flat, "--nprobe", "1,8", "--task", "both",
        "--at-k", "20", "--figure", place.folder / "sweep.png", "--json", place.folder / "sweep.json",
        "--format", "json",
    )  # fmt: skip
    assert swept.returncode == 0, swept.stderr
    rows = json.loads(swept.stdout)
    assert [row["nprobe"] for row in rows] == [None, None, 1, 8, NLIST]
    assert {"recall@20", "mAP@20", "p50 ms"} <= rows[0].keys()
    said = json.loads((place.folder / "sweep.json").read_text("utf-8"))
    assert said["measured_on"]["nprobes"] == [1, 8] and said["measured_on"]["flat"] == [flat]
    assert (place.folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    exact = evaluate(place.cross, place.queries, in_memory(place.cross, place.few)).tasks
    for via in ("search", "readback"):
        both = run_here("evaluate", *place.options("cross"), "-c", image, "-c", text, "--via", via, "--format", "json")
        assert both.returncode == 0, both.stderr
        found = {row["task"]: row["mAP@all"] for row in json.loads(both.stdout)}
        assert found == pytest.approx({name: task.metrics["mAP@all"] for name, task in exact.items()}, abs=1e-9)


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("evaluate", ["--nprobe", "33"], "nprobe is 33; this collection's index has nlist 32: take 1 to 32"),
        ("evaluate", ["--nprobe", "0"], "take 1 to 32"),
        ("sweep", ["--nprobe", "1,64"], "nprobe is 64; this collection's index has nlist 32: take 1 to 32"),
        ("sweep", ["--nprobe", "1", "--top-k", "20"], "asked for at rank 100: take --top-k 100 or more"),
        ("sweep", ["--nprobe", "1", "--top-k", "16385"], "Milvus gives 1 to 16384"),
        ("sweep", ["--nprobe", "1", "--flat", "IVF"], "--flat takes a collection with BIN_FLAT"),
        ("evaluate", ["--via", "readback", "--nprobe", "2"], "--via readback compares with every code"),
    ],
)
def test_what_bad_input_gets(place: Place, command: str, arguments: list[str], message: str) -> None:
    words = [place.names["ivf"] if word == "IVF" else word for word in arguments]
    done = run_here(command, *place.options("fused"), "-c", place.names["ivf"], *words)
    assert done.returncode == 2 and message in done.stderr.replace("\n", " ") and done.stdout == ""
