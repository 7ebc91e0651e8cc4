"""Nested codes, cut and used from the command line: one `--bits`, said where a collection is made, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.command import CommandLine, refused
from support.labelled_items import items, write_npz

from milvus_ichash.codes import hamming_distance
from milvus_ichash.features import FeatureTable
from milvus_ichash.index.connection import connect
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import MilvusSettings

LENGTHS = (8, 32, 64)
N = 120
VOCABULARY = [f"word{i}" for i in range(8)]


class Place(CommandLine):
    """A folder with `rows.npz`, `queries.npz`, bundles, and a database whose collection `cut` holds 32 of 64 bits."""

    def __init__(self, folder: Path, make_bundle: Callable[..., Path]) -> None:
        super().__init__(folder)
        self.bundle = make_bundle(bits=64, nested=LENGTHS, words={"text": VOCABULARY})
        self.plain = make_bundle(bits=64, words={"text": VOCABULARY})
        self.cross = make_bundle(bits=64, nested=LENGTHS, fused=False)
        self.encoder = HashEncoder.load(self.bundle, device="cpu", threads=1)
        self.table = items(N, words=True)
        self.ids = self.table.ids.tolist()
        self.codes = self.encoder.encode_table(self.table)["code"]
        write_npz(folder / "rows.npz", self.table)
        write_npz(folder / "queries.npz", items(20, seed=1, first_id=1000, words=True))
        self.rows("ingest", "rows.npz", "-b", self.bundle, "-c", "cut", "--bits", 32)
        self.rows("ingest", "rows.npz", "-b", self.bundle, "-c", "whole")

    def stored(self, collection: str) -> dict[str, bytes]:
        with connect(MilvusSettings(uri=str(self.folder / "x.db"))) as connection:
            back = HashIndex.open(connection, collection).read_back()
        return {key: code.tobytes() for key, code in zip(back.ids, back.codes["code"], strict=True)}

    def first(self, bits: int, table: FeatureTable | None = None) -> dict[str, bytes]:
        """The first bytes of each item's whole code."""
        table = self.table if table is None else table
        codes = self.encoder.encode_table(table)["code"]
        return {key: code[: bits // 8].tobytes() for key, code in zip(table.ids, codes, strict=True)}

    def ranked(self, query: np.ndarray, bits: int) -> list[tuple[int, str]]:
        distances = hamming_distance(query[None, : bits // 8], self.codes[:, : bits // 8])[0].tolist()
        return sorted(zip(distances, self.ids, strict=True))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Path]) -> Place:
    return Place(tmp_path_factory.mktemp("place"), make_bundle)


def test_a_new_collection_holds_the_first_bits_and_keeps_them(place: Place) -> None:
    assert place.stored("cut") == place.first(32)
    assert place.stored("whole") == place.first(64)
    (row,) = place.rows("ingest", "queries.npz", "-b", place.bundle, "-c", "kept", "--bits", 8)
    assert row["written"] == 20
    assert place.rows("ingest", "rows.npz", "-b", place.bundle, "-c", "kept")[0]["written"] == N
    queries = items(20, seed=1, first_id=1000, words=True)
    assert place.stored("kept") == place.first(8) | place.first(8, queries)
    place.rows("ingest", "rows.npz", "-b", place.bundle, "-c", "kept", "--bits", 32, "--recreate", "--yes")
    assert place.stored("kept") == place.first(32)


def test_exit_codes_of_the_program_itself(place: Place) -> None:
    for bundle, bits, code in ((place.bundle, 8, 2), (place.plain, 64, 4)):
        done = place.in_a_process("ingest", "rows.npz", "-b", bundle, "-c", "cut", "--bits", bits)
        assert refused(done, code, "32 bits") and done.stderr.startswith("Error: ")
    assert place.stored("cut") == place.first(32)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (
            ["ingest", "rows.npz", "-b", "BUNDLE", "-c", "cut", "--bits", 8],
            2,
            "'cut' holds codes of 32 bits, not 8: leave --bits out",
        ),
        (
            ["ingest", "rows.npz", "-b", "BUNDLE", "-c", "whole", "--bits", 32],
            2,
            "'whole' holds codes of 64 bits, not 32",
        ),
        (
            ["ingest", "rows.npz", "-b", "BUNDLE", "-c", "new", "--bits", 40],
            2,
            "were trained to be cut to 8, 32 of 64 bits",
        ),
        (["ingest", "rows.npz", "-b", "PLAIN", "-c", "new", "--bits", 32], 2, "codes are not nested: only 64 bits"),
        (
            ["ingest", "rows.npz", "-b", "PLAIN", "--to-parquet", "new", "--bits", 32],
            2,
            "codes are not nested: only 64 bits",
        ),
        (
            ["ingest", "rows.npz", "-b", "PLAIN", "-c", "cut"],
            4,
            "holds codes cut to 32 bits, and this bundle's manifest says",
        ),
        (
            ["query", "-b", "PLAIN", "-c", "cut", "--words", "word1"],
            4,
            "holds codes cut to 32 bits, and this bundle's manifest says",
        ),
        (["query", "-b", "BUNDLE", "-c", "cut", "--words", "word1", "-r", 33], 2, "Hamming distances of 32-bit codes"),
        (
            ["evaluate", "queries.npz", "-b", "BUNDLE", "-c", "cut", "--bits", 8],
            2,
            "'cut' holds codes of 32 bits, not 8: leave --bits out",
        ),
        (
            ["evaluate", "queries.npz", "-b", "BUNDLE", "-c", "cut", "--via", "readback", "--bits", 64],
            2,
            "'cut' holds codes of 32 bits",
        ),
        (
            ["evaluate", "queries.npz", "-b", "BUNDLE", "--against", "rows.npz", "--bits", 40],
            2,
            "cut to 8, 32 of 64 bits",
        ),
        (["inspect", "-c", "cut", "-b", "PLAIN"], 4, "holds codes cut to 32 bits"),
    ],
)
def test_lengths_that_do_not_fit(place: Place, words: list[object], code: int, says: str) -> None:
    bundles = {"BUNDLE": place.bundle, "PLAIN": place.plain}
    done = place.run(*(bundles.get(word, word) for word in words))
    assert done.returncode == code, done.stderr
    assert says in done.stderr.replace("\n", " ")
    assert words[0] == "inspect" or done.stdout == ""
    assert not (place.folder / "new").exists()
    assert "new" not in {row["collection"] for row in place.rows("inspect")}


def test_an_ingest_that_broke_off_goes_on_at_its_length(place: Place) -> None:
    bad = place.table.features["image"].copy()
    row = int(np.flatnonzero(place.table.present[:, 0])[70])
    bad[row, 3] = np.nan
    write_npz(place.folder / "torn.npz", replace(place.table, features={**place.table.features, "image": bad}))
    command = ("ingest", "torn.npz", "-b", place.bundle, "-c", "torn", "--batch-size", 10)
    done = place.in_a_process(*command, "--bits", 8)
    assert done.returncode == 5
    assert f"row {row}" in done.stderr
    assert done.stderr.rstrip().endswith("--bits 8 --resume")
    write_npz(place.folder / "torn.npz", place.table)
    for words in (["--bits", 8], []):
        (found,) = place.rows(*command, *words, "--resume")
        assert found["unchanged"] == (row // 10 * 10 if words else N)
    assert place.stored("torn") == place.first(8)


def test_files_are_of_the_length_asked_for(place: Place) -> None:
    place.rows("ingest", "rows.npz", "-b", place.bundle, "--bits", 32, "--to-parquet", "files")
    rows = pq.read_table(place.folder / "files" / "part-00000.parquet").to_pylist()
    assert {row["id"]: bytes(row["code"]) for row in rows} == place.first(32)
    description = json.loads((place.folder / "files" / "import.json").read_text())["description"]
    assert (description["bits"], description["cut_from"]) == (32, 64)
    other = place.run("ingest", "rows.npz", "-b", place.bundle, "--bits", 8, "--to-parquet", "files", "--resume")
    assert refused(other, 2, "with other --codes, --bits")


def test_queries_are_cut_to_the_collection(place: Place) -> None:
    bag = np.zeros((1, 8))
    bag[0, [1, 5]] = 1
    by_words = place.encoder.encode(text=bag)["code"][0]
    for collection, bits in (("cut", 32), ("whole", 64)):
        rows = place.rows("query", "-b", place.bundle, "-c", collection, "--words", "word1 word5", "-k", N)
        assert [(row["distance"], row["id"]) for row in rows] == place.ranked(by_words, bits)
        rows = place.rows("query", "-b", place.bundle, "-c", collection, "--features", "rows.npz", "-k", 1)
        assert [row["query"] for row in rows] == place.ids
        assert {row["distance"] for row in rows} == {0}
        rows = place.rows("query", "-c", collection, "--id", place.ids[3], "-k", N)
        assert [(row["distance"], row["id"]) for row in rows] == place.ranked(place.codes[3], bits)


def test_every_way_to_evaluate_cuts_alike(place: Place) -> None:
    usual = ("evaluate", "queries.npz", "-b", place.bundle)
    exact = {bits: place.rows(*usual, "--against", "rows.npz", "--bits", bits) for bits in LENGTHS}
    assert exact[64] == place.rows(*usual, "--against", "rows.npz")
    assert len({rows[0]["mAP@all"] for rows in exact.values()}) == 3
    for words in (["-c", "cut"], ["-c", "cut", "--bits", 32], ["-c", "cut", "--via", "readback"]):
        # A collection holds no codes of one modality alone: `image->text` is measured on the file only.
        of_the_file = {row["task"]: row for row in exact[32]}
        found = place.rows(*usual, *words)
        assert [row["task"] for row in found] == ["both", "image", "text"]
        for row in found:
            assert row == pytest.approx(of_the_file[row["task"]], abs=1e-9)
    done = place.run(*usual, "-c", "cut", "--via", "readback", "--json", "cut.json")
    assert "linear, 32 of 64 bits, cut (120 rows)" in done.stdout
    said = json.loads((place.folder / "cut.json").read_text())["measured_on"]
    assert (said["bits"], said["cut_from"]) == (32, 64)


def test_collections_of_different_lengths_are_evaluated_together(place: Place) -> None:
    for collection, code, bits in (("images", "image_code", 8), ("texts", "text_code", 32)):
        place.rows("ingest", "rows.npz", "-b", place.cross, "-c", collection, "--codes", code, "--bits", bits)
    usual = ("evaluate", "queries.npz", "-b", place.cross)
    exact = {
        bits: {row["task"]: row for row in place.rows(*usual, "--against", "rows.npz", "--bits", bits)}
        for bits in (8, 32)
    }
    for via in ("search", "readback"):
        found = {row["task"]: row for row in place.rows(*usual, "-c", "images", "-c", "texts", "--via", via)}
        assert found["text->image"] == pytest.approx(exact[8]["text->image"], abs=1e-9)
        assert found["image->text"] == pytest.approx(exact[32]["image->text"], abs=1e-9)


def test_inspect_shows_lengths(place: Place) -> None:
    assert place.rows("inspect", "-b", place.bundle)["lengths"] == list(LENGTHS)
    assert place.rows("inspect", "-b", place.plain)["lengths"] == [64]
    cut, whole = (place.rows("inspect", "-c", collection, "-b", place.bundle) for collection in ("cut", "whole"))
    assert (cut["bits"], cut["cut"], cut["bundle"], cut["code bytes"]) == (32, "32 of the bundle's 64", "fits", N * 4)
    assert (whole["bits"], whole["bundle"], "cut" in whole) == (64, "fits", False)
    assert "32 of the bundle's 64" in place.run("inspect", "-c", "cut").stdout
