"""`milvus-ichash evaluate` as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support.labelled_items import ingest, items, write_npz

from milvus_ichash.cli import main, retriever_options
from milvus_ichash.cli.output import OutputOptions
from milvus_ichash.index.connection import connect
from milvus_ichash.io.array_file import array_sources
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import load_settings

MakeBundle = Callable[..., Path]


@dataclass
class Done:
    """How a run ended."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


def environment() -> dict[str, str]:
    """Without settings of this machine, with Milvus Lite in `items.db`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MILVUS_", "ZILLIZ_"))}
    return kept | {"OMP_NUM_THREADS": "1", "MILVUS_URI": "items.db"}


def in_a_process(folder: Path, *arguments: str | Path) -> Done:
    """The program itself."""
    command = [sys.executable, "-m", "milvus_ichash", "evaluate", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The same without starting a process, which takes seconds: `run(folder, arguments...)`."""

    def run(folder: Path, *arguments: str | Path, command: str = "evaluate") -> Done:
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            patch.setattr(os, "environ", environment())
            patch.setattr(sys, "argv", ["milvus-ichash", command, *map(str, arguments)])
            with pytest.raises(SystemExit) as end:
                main()
        out, err = capsys.readouterr()
        return Done(int(end.value.code or 0), out, err)

    return run


@contextmanager
def collection_at(folder: Path) -> Iterator[None]:
    with connect(load_settings(uri=str(folder / "items.db"))) as connection:
        yield connection


@pytest.fixture(scope="module")
def place(make_bundle: MakeBundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with `items.npz` (240 items), `queries.npz` (20), `rows.npz` (150), a collection `rows`, and a bundle."""
    folder, bundle = tmp_path_factory.mktemp("place"), make_bundle(fused=False)
    encoder, rows = HashEncoder.load(bundle), items(150, words=True)
    write_npz(folder / "items.npz", items(240))
    write_npz(folder / "queries.npz", items(20, seed=1, first_id=1000, words=True))
    write_npz(folder / "rows.npz", rows)
    with collection_at(folder) as connection:
        ingest(connection, "rows", encoder, rows)
        ingest(connection, "bare", encoder, rows, labels=False)
        ingest(connection, "fused", HashEncoder.load(make_bundle()), rows)
        ingest(connection, "again", encoder, rows)
        ingest(connection, "only_image", encoder, rows, codes=["image_code"])
        ingest(connection, "only_text", encoder, rows, codes=["text_code"])
    return folder, bundle


def test_search_readback_and_exact_print_the_same_figures(place: tuple[Path, Path]) -> None:
    folder, bundle = place
    usual = ("queries.npz", "--bundle", bundle, "--format", "json")
    search = in_a_process(folder, *usual, "-c", "rows", "--json", "result.json", "--figure", "pr.png")
    readback = in_a_process(folder, *usual, "-c", "rows", "--via", "readback")
    exact = in_a_process(folder, *usual, "--against", "rows.npz")
    assert (search.returncode, readback.returncode, exact.returncode) == (0, 0, 0), (
        search.stderr + readback.stderr + exact.stderr
    )
    found = [json.loads(done.stdout) for done in (search, readback, exact)]
    assert [row["task"] for row in found[0]] == ["image->text", "text->image"]
    for other in found[1:]:
        for row, same in zip(found[0], other, strict=True):
            assert row == pytest.approx(same, abs=1e-9)
    assert 0 < found[0][0]["random"] < 1 and found[0][0]["mAP@50"] > 0
    saved = json.loads((folder / "result.json").read_text("utf-8"))
    assert saved["measured_on"]["via"] == "search" and saved["measured_on"]["collection"] == "rows"
    assert saved["tasks"]["image->text"]["metrics"]["mAP@all"] == found[0][0]["mAP@all"]
    assert (folder / "pr.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_for_people_and_remarks_beside_it(run: Run, place: tuple[Path, Path]) -> None:
    folder, bundle = place
    done = run(
        folder,
        "queries.npz",
        "--bundle",
        bundle,
        "-c",
        "rows",
        "--via",
        "readback",
        "--at-k",
        "5",
        "--at-k",
        "10",
        "--database",
        "all",
    )
    assert done.returncode == 0, done.stderr
    for word in ("image->text", "mAP@all", "random", "mAP@5", "NDCG@10", "P@r<=2", "rows (150 rows), via readback"):
        assert word in done.stdout
    assert "that lack image" in done.stderr and "that lack" not in done.stdout
    assert run(folder, "queries.npz", "--bundle", bundle, "-c", "rows", "--via", "readback", "--quiet").stderr == ""


def test_fused_codes_from_one_modality_to_the_other(run: Run, tmp_path: Path, make_bundle: MakeBundle) -> None:
    write_npz(tmp_path / "rows.npz", items(60))
    write_npz(tmp_path / "queries.npz", items(20, seed=1, first_id=100))
    bundle = make_bundle()
    asked = ("queries.npz", "--against", "rows.npz", "-b", bundle, "--format", "json")
    done = run(tmp_path, *asked, "--task", "image->text", "--task", "both")
    assert done.returncode == 0, done.stderr
    assert [row["task"] for row in json.loads(done.stdout)] == ["image->text", "both"]
    assert [row["task"] for row in json.loads(run(tmp_path, *asked).stdout)] == ["both", "image", "text"]


def test_a_holdout_takes_queries_off_a_table_that_is_opened_once(
    run: Run, place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, bundle = place
    opened = []
    monkeypatch.setattr(
        "milvus_ichash.io.splits.array_sources", lambda *given: opened.append(given) or array_sources(*given)
    )
    done = run(folder, "items.npz", "--holdout", "40", "--bundle", bundle, "--via", "exact", "--json", "held.json")
    assert done.returncode == 0, done.stderr
    said = json.loads((folder / "held.json").read_text("utf-8"))
    assert (said["measured_on"]["queries"], said["measured_on"]["rows"]) == (40, 200)
    assert "have the id of a row" not in done.stderr
    assert len(opened) == 1


def test_a_file_with_splits_of_its_own(run: Run, place: tuple[Path, Path], tmp_path: Path) -> None:
    _, bundle = place
    table, queries = items(80, gaps=0), items(10, seed=1, gaps=0)
    np.savez(
        tmp_path / "splits.npz",
        **{
            f"{short}_{split}": part.features[name]
            for split, part in (("db", table), ("te", queries))
            for short, name in (("I", "image"), ("T", "text"))
        },
        L_db=table.labels,
        L_te=queries.labels,
    )
    done = run(
        tmp_path,
        "splits.npz",
        "-m",
        "image=I",
        "-m",
        "text=T",
        "-b",
        bundle,
        "--via",
        "exact",
        "--format",
        "json",
        "--task",
        "text->text",
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["task"] == "text->text" and row["rows"] == 80 and 0 < row["queries"] <= 10


def test_options_change_what_is_measured(run: Run, place: tuple[Path, Path]) -> None:
    folder, bundle = place

    def figures(*options: str) -> dict[str, float]:
        done = run(
            folder, "queries.npz", "-b", bundle, "-c", "rows", "--task", "image->text", "--format", "json", *options
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)[0]

    plain = figures("--via", "readback")
    assert figures("--via", "readback", "--ties", "stable")["mAP@all"] != plain["mAP@all"]
    assert figures("--via", "readback", "--normalise", "hits")["mAP@50"] > plain["mAP@50"]
    assert figures("--via", "readback", "--query-pdr", "0.5")["queries"] < plain["queries"]
    assert figures("--via", "readback", "--database", "all")["rows"] == 150 > plain["rows"]
    assert figures("--top-k", "20")["mAP@all"] < plain["mAP@all"]


@pytest.mark.parametrize("via", ["search", "readback"])
def test_codes_in_two_collections(run: Run, place: tuple[Path, Path], via: str) -> None:
    folder, bundle = place
    usual = ("queries.npz", "-b", bundle, "--via", via, "--format", "json")
    together = run(folder, *usual, "-c", "rows")
    apart = run(folder, *usual, "-c", "only_image", "-c", "only_text", "--json", "apart.json")
    assert apart.returncode == 0, apart.stderr
    for row, same in zip(json.loads(apart.stdout), json.loads(together.stdout), strict=True):
        assert row == pytest.approx(same, abs=1e-9)
    saved = json.loads((folder / "apart.json").read_text("utf-8"))
    assert {name: cell["searched"] for name, cell in saved["tasks"].items()} == {
        "image->text": "only_text",
        "text->image": "only_image",
    }
    assert [place["collection"] for place in saved["measured_on"]["collections"]] == ["only_image", "only_text"]


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
        (["queries.npz", "-c", "rows", "--query-pdr", "1.5"], 2, "PDR of 1.5"),
        (["queries.npz", "-c", "rows", "--split", "query"], 2, "without splits"),
        (["queries.npz", "-c", "rows", "-m", "image"], 2, "--modality takes NAME=VALUE"),
        (
            ["queries.npz", "-c", "rows", "--uri", "http://127.0.0.1:1", "--timeout", "5"],
            3,
            "Milvus is not reached at http://127.0.0.1:1",
        ),
    ],
)
def test_what_bad_input_gets(run: Run, place: tuple[Path, Path], arguments: list[str], code: int, message: str) -> None:
    folder, bundle = place
    done = run(folder, *arguments, "--bundle", bundle)
    assert done.returncode == code, done.stderr
    assert message in done.stderr.replace("\n", " ") and done.stdout == ""
    assert not (folder / "none.db").exists()


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
def test_what_bad_input_gets_from_sweep(run: Run, place: tuple[Path, Path], arguments: list[str], message: str) -> None:
    folder, bundle = place
    done = run(folder, "queries.npz", *arguments, "--bundle", bundle, command="sweep")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert message in done.stderr.replace("\n", " ")


def test_exit_codes_of_the_program_itself(place: tuple[Path, Path], make_bundle: MakeBundle) -> None:
    folder, _ = place
    other = in_a_process(folder, "queries.npz", "-c", "rows", "--bundle", make_bundle(fused=False, seed=7))
    assert other.returncode == 4 and other.stderr.startswith("Error: collection 'rows' holds codes of the bundle")
    assert other.stdout == ""


def test_a_bundle_that_is_none(run: Run, place: tuple[Path, Path], tmp_path: Path) -> None:
    folder, _ = place
    done = run(folder, "queries.npz", "-c", "rows", "--bundle", tmp_path / "nowhere")
    assert done.returncode == 2 and "is not a folder" in done.stderr


def test_queries_without_labels(run: Run, place: tuple[Path, Path], tmp_path: Path) -> None:
    folder, bundle = place
    table = items(5, gaps=0)
    np.savez(tmp_path / "bare.npz", id=table.ids, **table.features)
    done = run(folder, tmp_path / "bare.npz", "-c", "rows", "-b", bundle)
    assert done.returncode == 2 and "the queries have no labels" in done.stderr and "--labels-column" in done.stderr


def test_searches_that_take_long_are_announced(capsys: pytest.CaptureFixture[str]) -> None:
    def said(queries: int, rows: int, *, columnar: bool, quiet: bool = False) -> str:
        retriever_options.warn_of_time(queries, rows, OutputOptions(quiet=quiet), columnar=columnar)
        return capsys.readouterr().err.replace("\n", " ")

    assert "about 2 min for each task; --via readback" in said(2000, 200_000, columnar=True)
    slow = "about 11 min for each task (this pymilvus has no columnar calls"
    assert slow in said(2000, 200_000, columnar=False)
    assert said(500, 5_000, columnar=False) == said(2000, 200_000, columnar=True, quiet=True) == ""
