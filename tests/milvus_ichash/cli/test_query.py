from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.command import CommandLine, refused
from support.gappy_parquet import gappy_columns, write_parquet

from milvus_ichash.codes import hamming_distance
from milvus_ichash.index.connection import connect
from milvus_ichash.ingestion.into_milvus import ingest
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import MilvusSettings

N = 80
WORDS = ("red", "blue", "apple", "car")
DIMS = {"image": 6, "text": 4}


class Place:
    """A folder with items, their bundles and a database, and the command run in it."""

    def __init__(self, folder: Path, make_bundle: Callable[..., Path]) -> None:
        self.folder, self.program = folder, CommandLine(folder)
        rng = np.random.default_rng(0)
        words = [None if i % 4 == 1 else row for i, row in enumerate((rng.random((N, 4)) < 0.5).astype(float).tolist())]
        self.labels = [["rot", "groß"] if i % 3 else [] for i in range(N)]
        self.items = gappy_columns(N, id=[f"k{i:02d}" for i in range(N)], text=4, labels=self.labels) | {"text": words}
        source = write_parquet(folder / "items.parquet", self.items)
        self.bundles = {
            name: make_bundle(
                modalities=DIMS, bits=32, words={"text": WORDS}, pictures={"image": 8}, fused=name == "fused"
            )
            for name in ("fused", "cross")
        }
        self.encoders = {name: HashEncoder.load(path, device="cpu", threads=1) for name, path in self.bundles.items()}
        with connect(MilvusSettings(uri=str(folder / "x.db"))) as connection:
            for name, encoder in self.encoders.items():
                ingest(source, encoder, connection, name)
        self.codes = {name: encoder.encode_table(source.read()) for name, encoder in self.encoders.items()}

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        return self.program.run("query", *words)

    def rows(self, *words: object) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.program.rows("query", *words)
        return rows

    def ranked(self, collection: str, query: np.ndarray, code: str) -> list[tuple[int, str]]:
        distances = hamming_distance(query[None], self.codes[collection][code])[0].tolist()
        return sorted(zip(distances, self.items["id"], strict=True))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Path]) -> Place:
    return Place(tmp_path_factory.mktemp("place"), make_bundle)


def pairs(rows: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(row["distance"], row["id"]) for row in rows]


def test_words(place: Place) -> None:
    rows = place.rows(
        "-b", place.bundles["cross"], "-c", "cross", "-w", "red apple", "-w", "car", "--top-k", N, "--field", "title"
    )
    assert [row["query"] for row in rows] == ["red apple"] * N + ["car"] * N
    for part, bag in ((rows[:N], [1, 0, 1, 0]), (rows[N:], [0, 0, 0, 1])):
        code = place.encoders["cross"].encode(text=np.array([bag]))["text_code"][0]
        assert pairs(part) == place.ranked("cross", code, "image_code")
    numbers = [int(row["id"][1:]) for row in rows]
    assert [row["missing"] for row in rows] == [[["image"], ["text"], [], []][i % 4] for i in numbers]
    assert [row["title"] for row in rows] == [f"title {i}" for i in numbers]


def test_pictures(place: Place) -> None:
    Image.new("RGB", (9, 9), (200, 40, 10)).save(place.folder / "apple.png")
    rows = place.rows("-b", place.bundles["fused"], "-c", "fused", "--picture", "apple.png", "-k", N)
    _, features = place.encoders["fused"].raw.pictures(place.folder / "apple.png")
    assert pairs(rows) == place.ranked("fused", place.encoders["fused"].encode(image=features)["code"][0], "code")


def test_a_stored_item_within_a_radius(place: Place) -> None:
    """No bundle is needed, and all items within the radius come, not only ten."""
    rows = place.rows("-c", "fused", "--id", "k02", "--radius", 14, "--filter", "has_text == true")
    expected = [
        (d, key)
        for d, key in place.ranked("fused", place.codes["fused"]["code"][2], "code")
        if d <= 14 and int(key[1:]) % 4 != 1
    ]
    assert len(expected) > 10
    assert pairs(rows) == expected
    assert rows[0]["id"] == "k02"


def test_a_feature_file_by_one_modality(place: Place) -> None:
    searched = ("-b", place.bundles["cross"], "-c", "cross", "--features", "items.parquet")
    done = place.program.in_a_process("query", *searched, "--only", "image", "-k", 1, "-f", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    with_image = [i for i in range(N) if i % 4]
    assert [row["query"] for row in rows] == [f"k{i:02d}" for i in with_image]
    for row, i in zip(rows, with_image, strict=True):
        assert int(row["distance"]) == place.ranked("cross", place.codes["cross"]["image_code"][i], "text_code")[0][0]


def test_labels_are_names_in_every_format(place: Place) -> None:
    asked = ("-c", "fused", "--id", "k02", "-k", 2, "--field", "labels", "--filter", 'array_contains(labels, "rot")')
    assert [row["labels"] for row in place.rows(*asked)] == [["groß", "rot"]] * 2
    for style in ("table", "csv", "markdown"):
        assert place.run(*asked, "-f", style).stdout.count("groß, rot") == 2
    wrong = place.run("-c", "fused", "--id", "k02", "--filter", "array_contains(labels, 1)")
    assert refused(wrong, 2, 'write, for example, array_contains(labels, "groß")')


def test_people_get_a_table_and_remarks(place: Place) -> None:
    done = place.run("-c", "fused", "--id", "k02", "-k", 3, "--field", "title", "--field", "titel")
    assert done.returncode == 0
    assert next(line.split()[:4] for line in done.stdout.splitlines() if "k02" in line) == ["k02", "1", "k02", "0"]
    assert done.stderr == "No item found has a field 'titel'.\n"
    unknown = place.run("-b", place.bundles["fused"], "-c", "fused", "-w", "red zebra")
    assert (unknown.returncode, unknown.stderr) == (0, "The bundle does not know zebra of 'red zebra'.\n")
    nothing = place.run("-c", "fused", "--id", "k02", "--filter", "title == 'none'", "-f", "json")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "[]\n", "Nothing was found.\n")


def test_the_head_of_a_table_stands_where_nothing_was_found(place: Place) -> None:
    asked = ("-c", "fused", "--id", "k02", "--filter", "title == 'none'", "--field", "title", "--field", "id", "-f")
    assert place.run(*asked, "csv").stdout.split() == ["query,rank,id,distance,missing,title"]
    assert place.run(*asked, "markdown").stdout.startswith("| query | rank | id | distance | missing | title |\n| ---")


@pytest.mark.parametrize(
    ("way", "good", "bad", "says"),
    [
        ("--words", "red", "zebra", "none of the words of 'zebra' is in the bundle's vocabulary"),
        ("--id", "k02", "k99", "collection 'fused' has no item with the id 'k99'"),
        ("--picture", "good.png", "none.png", "there is no picture 'none.png'"),
    ],
)
def test_one_query_that_cannot_be_asked_leaves_the_others(
    place: Place, way: str, good: str, bad: str, says: str
) -> None:
    Image.new("RGB", (9, 9), (200, 40, 10)).save(place.folder / "good.png")
    bundle = () if way == "--id" else ("-b", place.bundles["fused"])
    asked = (*bundle, "-c", "fused", "-k", 1, "-f", "jsonl")
    done = place.run(*asked, way, good, way, bad)
    assert (done.returncode, json.loads(done.stdout)["query"]) == (2, good)
    assert says in done.stderr and "The other queries were answered." in done.stderr
    assert refused(place.run(*asked, way, bad, way, bad), 2, says)


def test_only_the_items_of_a_file_that_have_the_modality(place: Place) -> None:
    """The first 300 of these, more than are searched by at a time, have no image."""
    columns = gappy_columns(304, text=4)
    columns["image"][:300] = [None] * 300
    columns["text"] = [[1.0, 0.0, 0.0, 1.0]] * 304
    write_parquet(place.folder / "late.parquet", columns)
    asked = ("-b", place.bundles["cross"], "-c", "cross", "--features", "late.parquet", "-k", 1, "--only")
    assert [row["query"] for row in place.rows(*asked, "image")] == ["k301", "k302", "k303"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-c", "fused"], 2, "say what to search by"),
        (["-c", "fused", "--id", "k02", "--words", "red"], 2, "say what to search by"),
        (["-c", "fused", "--words", "red"], 2, "--bundle FOLDER"),
        (["-c", "fused", "--id", "k02", "--only", "nope"], 2, "there is no modality 'nope'; there are: image, text"),
        (["-c", "cross", "--id", "k02", "--only", "nope"], 2, "there is no modality 'nope'; there are: image, text"),
        (["-c", "fused", "--id", "k02", "--only", "image"], 2, "one code for each item, made of all that the item has"),
        (["-c", "fused", "-b", "BUNDLE", "--words", "red", "--only", "text"], 2, "--only goes with --features or --id"),
        (["-c", "fused", "-b", "BUNDLE", "--features", "items.parquet", "--only", "nope"], 2, "no modality 'nope'"),
        (
            ["-c", "fused", "--id", "k02", "--split", "query"],
            2,
            "--split would do nothing here: it goes with --features",
        ),
        (["-c", "fused", "--id", "k02", "--device", "cpu"], 2, "--device would do nothing here"),
        (["-c", "cross", "-b", "BUNDLE", "--id", "k02"], 4, "holds codes of the bundle"),
        (
            ["-c", "fused", "-b", "BUNDLE", "--features", "items.parquet", "-m", "image=image", "-m", "image=text"],
            2,
            "--modality gives 'image' twice",
        ),
        (["-c", "fused", "-b", "BUNDLE", "--words", "zebra"], 2, "none of the words of 'zebra'"),
        (["-c", "cross", "-b", "BUNDLE", "--words", "red"], 4, "holds codes of the bundle"),
        (["-c", "nope", "--id", "k02"], 2, "there is no collection 'nope' at ./x.db; there is cross, fused"),
        (
            ["-c", "fused", "--id", "k02", "--filter", "colour == 'red'"],
            2,
            "names 'colour', which no item has; there is id, has_image",
        ),
        (["-c", "fused", "--id", "k02", "--filter", "title =="], 2, "the filter `title ==` cannot be used"),
        (["-c", "fused", "--id", "k02", "--top-k", "20000"], 2, "1 to 16384"),
    ],
)
def test_bad_input(arguments: list[str], code: int, says: str, place: Place) -> None:
    done = place.run(*(place.bundles["fused"] if word == "BUNDLE" else word for word in arguments))
    assert refused(done, code, says) and len(done.stderr.splitlines()) == 1


def test_a_database_that_is_not_there_is_not_made(place: Place) -> None:
    done = place.run("--id", "a", "--uri", "./other.db")
    assert refused(done, 2, "there is no database './other.db'")
    assert not (place.folder / "other.db").exists()
