"""`milvus-ichash evaluate` as a person runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from support.command import CommandLine, refused
from support.gappy_parquet import gappy_columns, write_parquet
from support.labelled_items import ingest, items, write_npz

from milvus_ichash.cli import retriever_options
from milvus_ichash.cli.output import OutputOptions
from milvus_ichash.index.connection import connect
from milvus_ichash.io.array_file import array_sources
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import load_settings

MakeBundle = Callable[..., Path]


class Place(CommandLine):
    """A folder with `items.npz` (240 items), `queries.npz` (20), `rows.npz` (150), collections, and a bundle."""

    def __init__(self, folder: Path, make_bundle: MakeBundle) -> None:
        super().__init__(folder)
        self.bundle = make_bundle(fused=False)
        encoder, rows = HashEncoder.load(self.bundle), items(150, words=True)
        write_npz(folder / "items.npz", items(240))
        write_npz(folder / "queries.npz", items(20, seed=1, first_id=1000, words=True))
        write_npz(folder / "rows.npz", rows)
        with connect(load_settings(uri=str(folder / "x.db"))) as connection:
            ingest(connection, "rows", encoder, rows)
            ingest(connection, "bare", encoder, rows, labels=False)
            ingest(connection, "fused", HashEncoder.load(make_bundle()), rows)
            ingest(connection, "again", encoder, rows)
            ingest(connection, "only_image", encoder, rows, codes=["image_code"])
            ingest(connection, "only_text", encoder, rows, codes=["text_code"])

    def evaluate(self, *words: object) -> CompletedProcess[str]:
        return self.run("evaluate", *words, "--bundle", self.bundle)

    def figures(self, *words: object) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.rows("evaluate", *words, "--bundle", self.bundle)
        return rows


@pytest.fixture(scope="module")
def place(make_bundle: MakeBundle, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"), make_bundle)


def test_search_readback_and_exact_print_the_same_figures(place: Place) -> None:
    done = place.in_a_process(
        *("evaluate", "queries.npz", "-c", "rows", "--bundle", place.bundle, "--format", "json"),
        *("--json", "result.json", "--figure", "pr.png"),
    )
    assert done.returncode == 0, done.stderr
    search = json.loads(done.stdout)
    assert [row["task"] for row in search] == ["image->text", "text->image"]
    for words in (("-c", "rows", "--via", "readback"), ("--against", "rows.npz")):
        for row, same in zip(search, place.figures("queries.npz", *words), strict=True):
            assert row == pytest.approx(same, abs=1e-9)
    assert 0 < search[0]["random"] < 1 and search[0]["mAP@50"] > 0
    saved = json.loads((place.folder / "result.json").read_text("utf-8"))
    assert saved["measured_on"]["via"] == "search" and saved["measured_on"]["collection"] == "rows"
    assert saved["tasks"]["image->text"]["metrics"]["mAP@all"] == search[0]["mAP@all"]
    assert (place.folder / "pr.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_for_people_and_remarks_beside_it(place: Place) -> None:
    usual = ("queries.npz", "-c", "rows", "--via", "readback")
    done = place.evaluate(*usual, "--at-k", 5, "--at-k", 10, "--database", "all")
    assert done.returncode == 0, done.stderr
    for word in ("image->text", "mAP@all", "random", "mAP@5", "NDCG@10", "P@r<=2", "rows (150 rows), via readback"):
        assert word in done.stdout
    assert "that lack image" in done.stderr and "that lack" not in done.stdout
    assert place.evaluate(*usual, "--quiet").stderr == ""


def test_fused_codes_from_one_modality_to_the_other(tmp_path: Path, make_bundle: MakeBundle) -> None:
    write_npz(tmp_path / "rows.npz", items(60))
    write_npz(tmp_path / "queries.npz", items(20, seed=1, first_id=100))
    asked = ("evaluate", "queries.npz", "--against", "rows.npz", "-b", make_bundle())
    found = [
        [row["task"] for row in CommandLine(tmp_path).rows(*asked, *tasks)]
        for tasks in (("--task", "image->text", "--task", "both"), ())
    ]
    assert found == [["image->text", "both"], ["both", "image", "text", "image->text", "text->image"]]


def test_fused_codes_of_a_database_of_one_modality(tmp_path: Path, make_bundle: MakeBundle) -> None:
    """No row has a text by which it could be found, in the last batch of 4,096 rows and the whole file."""
    table = items(60, gaps=0)
    np.savez(tmp_path / "rows.npz", id=table.ids, labels=table.labels, image=table.features["image"])
    write_npz(tmp_path / "queries.npz", items(20, seed=1, first_id=100, gaps=0))
    asked = ("evaluate", "queries.npz", "--against", "rows.npz", "-b", make_bundle())
    assert [row["task"] for row in CommandLine(tmp_path).rows(*asked)] == ["both", "image", "text", "text->image"]
    masked = CommandLine(tmp_path).rows(*asked, "--query-pdr", "0.5")
    assert [row["task"] for row in masked] == ["observed"]


def test_a_collection_of_fused_codes_says_where_the_other_tasks_are(place: Place, make_bundle: MakeBundle) -> None:
    asked = ("evaluate", "queries.npz", "-c", "fused", "--via", "readback", "-b", make_bundle())
    said = "image->text, text->image search codes made from image or text alone, which no collection holds: --via exact"
    assert said in place.run(*asked).stderr.replace("\n", " ")
    for more in (("--task", "both"), ("--query-pdr", "0.5"), ("--quiet",)):
        assert said not in place.run(*asked, *more).stderr.replace("\n", " ")


@pytest.mark.parametrize("labels", [[[2], [0, 1], [1]], [2, 0, 1]], ids=["lists", "one each"])
def test_numbers_of_classes_that_have_names_are_refused(
    tmp_path: Path, make_bundle: MakeBundle, labels: list[Any]
) -> None:
    """They would be taken for places in the alphabet."""
    bundle, program = (
        make_bundle(modalities={"image": 6, "text": 4}, label_names=("a", "b", "c")),
        CommandLine(tmp_path),
    )
    names = {i: [["c"], ["a", "b"], ["b"]][i % 3] for i in range(12)}
    write_parquet(tmp_path / "rows.parquet", gappy_columns(12, labels=list(names.values())))
    write_parquet(tmp_path / "numbers.parquet", gappy_columns(3, id=["x", "y", "z"], labels=labels))
    write_parquet(tmp_path / "names.parquet", gappy_columns(3, id=["x", "y", "z"], labels=[names[i] for i in range(3)]))
    assert program.rows("ingest", "rows.parquet", "-b", bundle, "-c", "items")[0]["written"] == 12
    for where in (("-c", "items"), ("-c", "items", "--via", "readback"), ("--against", "rows.parquet")):
        done = program.run("evaluate", "numbers.parquet", "-b", bundle, *where)
        assert refused(done, 2, "the database names classes (a, b, c), and the other side has class numbers")
        assert program.rows("evaluate", "names.parquet", "-b", bundle, *where)[0]["mAP@all"] > 0


def test_a_holdout_takes_queries_off_a_table_that_is_opened_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(
        "milvus_ichash.io.splits.array_sources", lambda *given: opened.append(given) or array_sources(*given)
    )
    done = place.evaluate("items.npz", "--holdout", 40, "--via", "exact", "--json", "held.json")
    assert done.returncode == 0, done.stderr
    said = json.loads((place.folder / "held.json").read_text("utf-8"))
    assert (said["measured_on"]["queries"], said["measured_on"]["rows"]) == (40, 200)
    assert "have the id of a row" not in done.stderr
    assert len(opened) == 1


def test_a_file_with_splits_of_its_own(place: Place) -> None:
    table, queries = items(80, gaps=0), items(10, seed=1, gaps=0)
    arrays = {
        f"{short}_{split}": part.features[name]
        for split, part in (("db", table), ("te", queries))
        for short, name in (("I", "image"), ("T", "text"))
    }
    np.savez(place.folder / "splits.npz", **arrays, L_db=table.labels, L_te=queries.labels)
    (row,) = place.figures("splits.npz", "-m", "image=I", "-m", "text=T", "--via", "exact", "--task", "text->text")
    assert row["task"] == "text->text" and row["rows"] == 80 and 0 < row["queries"] <= 10


def test_options_change_what_is_measured(place: Place) -> None:
    def figures(*options: str) -> dict[str, Any]:
        return place.figures("queries.npz", "-c", "rows", "--task", "image->text", *options)[0]

    plain = figures("--via", "readback")
    assert abs(figures("--via", "readback", "--ties", "stable")["mAP@all"] - plain["mAP@all"]) > 1e-6
    assert figures("--via", "readback", "--normalise", "hits")["mAP@50"] > plain["mAP@50"]
    assert figures("--via", "readback", "--query-pdr", "0.5")["queries"] < plain["queries"]
    assert figures("--via", "readback", "--database", "all")["rows"] == 150 > plain["rows"]
    assert figures("--top-k", "20")["mAP@all"] < plain["mAP@all"]


@pytest.mark.parametrize("via", ["search", "readback"])
def test_codes_in_two_collections(place: Place, via: str) -> None:
    usual = ("queries.npz", "--via", via)
    apart = place.figures(*usual, "-c", "only_image", "-c", "only_text", "--json", "apart.json")
    for row, same in zip(apart, place.figures(*usual, "-c", "rows"), strict=True):
        assert row == pytest.approx(same, abs=1e-9)
    saved = json.loads((place.folder / "apart.json").read_text("utf-8"))
    assert {name: cell["searched"] for name, cell in saved["tasks"].items()} == {
        "image->text": "only_text",
        "text->image": "only_image",
    }
    assert [each["collection"] for each in saved["measured_on"]["collections"]] == ["only_image", "only_text"]


def test_a_collection_that_no_task_searches_is_named(place: Place) -> None:
    asked = ("queries.npz", "-c", "only_image", "-c", "only_text", "--via", "readback", "--task", "image->text")
    assert "only_image is not searched: no task asks for its codes." in place.evaluate(*asked).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.npz", "-c", "rows"], 2, "no such file: none.npz"),
        (["queries.npz"], 2, "--via search needs a --collection"),
        (["queries.npz", "-c", "rows", "--via", "exact"], 2, "leave --collection out"),
        (
            ["queries.npz", "-c", "rows", "--via", "readback", "--against", "rows.npz"],
            2,
            "--against goes with --via exact",
        ),
        (
            ["queries.npz", "--via", "exact"],
            2,
            "cut off N queries with --holdout N, or name the database's file with --against",
        ),
        (["queries.npz", "-c", "rows", "--via", "readback", "--top-k", "5"], 2, "--top-k goes with --via search"),
        (["queries.npz", "-c", "rows", "--top-k", "0"], 2, "top-k is 0"),
        (["queries.npz", "-c", "rows", "--top-k", "16385"], 2, "Milvus gives 1 to 16384"),
        (["queries.npz", "-c", "rows", "--nprobe", "8"], 2, "nprobe is 8, and the index is BIN_FLAT"),
        (
            ["queries.npz", "-c", "rows", "--via", "readback", "--nprobe", "8"],
            2,
            "--via readback compares with every code",
        ),
        (["queries.npz", "--against", "rows.npz", "--nprobe", "8"], 2, "--via exact compares with every code"),
        (["queries.npz", "-c", "rows", "-c", "rows"], 2, "--collection names 'rows' twice"),
        (["queries.npz", "-c", "rows", "-c", "again"], 2, "'image_code' is stored in both rows and again"),
        (
            ["queries.npz", "-c", "only_image", "--task", "image->text"],
            2,
            "needs 'text_code', and only image_code is stored",
        ),
        (["queries.npz", "-c", "rows", "--sweep", "nprobe=1"], 2, "No such option"),
        (["queries.npz", "-c", "nothing"], 2, "there is no collection 'nothing'"),
        (["queries.npz", "-c", "rows", "--uri", "none.db"], 2, "none.db"),
        (["queries.npz", "-c", "bare"], 2, "'bare' has no labels"),
        (["queries.npz", "-c", "fused"], 4, "this bundle is"),
        (["queries.npz", "-c", "rows", "--task", "both"], 2, "no task 'both'"),
        (["queries.npz", "-c", "rows", "--figure", "pr.bmp"], 2, "a figure ends in"),
        (["queries.npz", "-c", "rows", "--json", "no/r.json"], 2, "there is no folder 'no'"),
        (["queries.npz", "-c", "rows", "--at-k", "0"], 2, "ranks count from 1"),
        (["queries.npz", "-c", "rows", "--at-k", "9" * 20], 2, "ranks count from 1 to 2,147,483,647"),
        (["queries.npz", "-c", "rows", "--query-pdr", "0.5", "--seed", "-1"], 2, "a random seed of -1 cannot be"),
        (["queries.npz", "-c", "rows", "--query-pdr", "1.5"], 2, "PDR of 1.5"),
        (["queries.npz", "-c", "rows", "--seed", "3"], 2, "--seed would do nothing here: it draws what --query-pdr"),
        (["queries.npz", "--against", "rows.npz", "--uri", "x.db"], 2, "--uri would do nothing here: --via exact"),
        (["queries.npz", "-c", "rows", "--split", "query"], 2, "without splits"),
        (["queries.npz", "-c", "rows", "-m", "image"], 2, "--modality takes NAME=VALUE"),
        (
            ["queries.npz", "-c", "rows", "--uri", "http://127.0.0.1:1", "--timeout", "5"],
            3,
            "Milvus is not reached at http://127.0.0.1:1",
        ),
    ],
)
def test_what_bad_input_gets(place: Place, arguments: list[str], code: int, message: str) -> None:
    assert refused(place.evaluate(*arguments), code, message)
    assert not (place.folder / "none.db").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-c", "rows", "--nprobe", "1,x"], "such as 1,2,4,8,16,32,64; got '1,x'"),
        (["-c", "rows", "--nprobe", "nprobe=1"], "--nprobe takes values with commas between them"),
        (["-c", "rows", "--nprobe", ","], "--nprobe takes values with commas between them"),
        (["-c", "rows", "--nprobe", "1"], "'rows' has BIN_FLAT, which looks at every code: build one on a Milvus"),
        (["-c", "rows", "-c", "rows", "--nprobe", "1"], "--collection names 'rows' twice"),
        (["-c", "rows", "--flat", "again", "--flat", "again", "--nprobe", "1"], "--flat names 'again' twice"),
        (["-c", "rows"], "Missing option '--nprobe'"),
        (["--nprobe", "1"], "Missing option '--collection'"),
    ],
)
def test_what_bad_input_gets_from_sweep(place: Place, arguments: list[str], message: str) -> None:
    assert refused(place.run("sweep", "queries.npz", *arguments, "--bundle", place.bundle), 2, message)


def test_exit_codes_of_the_program_itself(place: Place, make_bundle: MakeBundle) -> None:
    other = make_bundle(fused=False, seed=7)
    done = place.in_a_process("evaluate", "queries.npz", "-c", "rows", "--bundle", other)
    assert refused(done, 4, "collection 'rows' holds codes of the bundle") and done.stderr.startswith("Error: ")


def test_a_bundle_that_is_none(place: Place) -> None:
    assert refused(place.run("evaluate", "queries.npz", "-c", "rows", "-b", "nowhere"), 2, "is not a folder")


def test_queries_without_labels(place: Place) -> None:
    table = items(5, gaps=0)
    np.savez(place.folder / "bare.npz", id=table.ids, **table.features)
    done = place.evaluate("bare.npz", "-c", "rows")
    assert refused(done, 2, "the queries have no labels") and "--labels-column" in done.stderr


def test_searches_that_take_long_are_announced(capsys: pytest.CaptureFixture[str]) -> None:
    def said(queries: int, rows: int, *, columnar: bool, quiet: bool = False) -> str:
        retriever_options.warn_of_time(queries, rows, OutputOptions(quiet=quiet), columnar=columnar)
        return capsys.readouterr().err.replace("\n", " ")

    assert "about 2 min for each task; --via readback" in said(2000, 200_000, columnar=True)
    slow = "about 11 min for each task (this pymilvus has no columnar calls"
    assert slow in said(2000, 200_000, columnar=False)
    assert said(500, 5_000, columnar=False) == said(2000, 200_000, columnar=True, quiet=True) == ""
