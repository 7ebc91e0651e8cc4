from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.command import CommandLine, environment, refused, started
from support.gappy_parquet import gappy_columns, write_parquet

from milvus_ichash.index.connection import connect
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.io import open_source
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.settings import MilvusSettings

N = 3000


@pytest.fixture
def place(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(modalities={"image": 6, "text": 4}, bits=32)


def write(path: Path, n: int = N, **columns: Any) -> Path:
    write_parquet(path, gappy_columns(n) | columns, row_group_size=500)
    return path


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "items.parquet")


def rows_of(database: Path, collection: str = "ichash") -> tuple[int, dict[str, bytes]]:
    """Rows as Milvus counts them, and the code of each id."""
    with connect(MilvusSettings(uri=str(database))) as connection:
        index = HashIndex.open(connection, collection)
        back = index.read_back()
        return index.count(), {key: code.tobytes() for key, code in zip(back.ids, back.codes["code"], strict=True)}


def right_rows(bundle: Path, items: Path) -> tuple[int, dict[str, bytes]]:
    """What should be there, by the encoder alone."""
    table = open_source(items).read()
    codes = HashEncoder.load(bundle, device="cpu", threads=1).encode_table(table)["code"]
    return len(table), {key: code.tobytes() for key, code in zip(table.ids, codes, strict=True)}


def test_ingest_and_ingest_again(place: CommandLine, bundle: Path, items: Path, tmp_path: Path) -> None:
    for _ in range(2):
        done = place.in_a_process("ingest", items, "--bundle", bundle, "--format", "json")
        assert done.returncode == 0, done.stderr
        (row,) = json.loads(done.stdout)
        assert {
            "collection": "ichash",
            "rows": N,
            "written": N,
            "unchanged": 0,
            "missing image": N // 4,
            "missing text": N // 4,
        }.items() <= row.items()
        assert done.stderr == ""
    assert rows_of(tmp_path / "x.db") == right_rows(bundle, items)


def test_a_dry_run_leaves_nothing(place: CommandLine, bundle: Path, items: Path, tmp_path: Path) -> None:
    done = place.run("ingest", items, "--bundle", bundle, "--dry-run", "--format", "json")
    assert done.returncode == 0
    assert {"rows": N, "written": 0}.items() <= json.loads(done.stdout)[0].items()
    assert "nothing was written" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_every_row_once_after_it_was_ended(
    how: signal.Signals, place: CommandLine, bundle: Path, items: Path, tmp_path: Path
) -> None:
    database = tmp_path / "x.db"
    words = ("ingest", items, "--bundle", bundle, "--uri", "x.db", "--batch-size", 20, "--token", "sesame")
    # A new database has 28 kB; these are some batches of rows.
    process = started(
        *words,
        until=lambda: database.exists() and database.stat().st_size > 80_000,
        folder=tmp_path,
        env=environment(),
    )
    # As Ctrl-C in a terminal does: to the whole group of processes.
    os.killpg(process.pid, how)
    out, err = process.communicate()
    assert out == ""
    if how != signal.SIGKILL:
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[how], err
        assert "interrupted" in err
        assert "rows were written; go on with: milvus-ichash ingest" in err
        assert err.rstrip().endswith("--token ... --resume")
        assert "sesame" not in err
    (row,) = place.rows("ingest", items, "--bundle", bundle, "--resume")
    assert 0 < row["unchanged"] < N
    assert row["unchanged"] + row["written"] == row["rows"] == N
    assert rows_of(tmp_path / "x.db") == right_rows(bundle, items)


def changes(file: Path, wanted: int) -> Callable[[], bool]:
    """Whether a file was seen to change so many times. (To open it with SQLite would lock Milvus Lite out.)"""
    seen = {file.stat().st_mtime_ns}

    def changed() -> bool:
        seen.add(file.stat().st_mtime_ns)
        return len(seen) > wanted

    return changed


@pytest.mark.parametrize("writes", [1, 4, 12])
def test_no_row_is_old_after_a_replacement_was_killed(
    writes: int, place: CommandLine, bundle: Path, items: Path, tmp_path: Path
) -> None:
    """The same ids with other features: --resume writes what is not yet as it should be."""
    other = np.roll(gappy_columns(N)["image"][2::4], 1, axis=0).tolist()
    image = gappy_columns(N)["image"]
    image[2::4] = other
    new, words = write(tmp_path / "new.parquet", image=image), ("--bundle", bundle, "--uri", "x.db")
    assert place.run("ingest", items, *words).returncode == 0
    process = started(
        *("ingest", new, *words, "--batch-size", 20),
        until=changes(tmp_path / "x.db", writes),
        folder=tmp_path,
        env=environment(),
    )
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (row,) = place.rows("ingest", new, *words, "--resume")
    assert row["unchanged"] + row["written"] == row["rows"] == N
    assert rows_of(tmp_path / "x.db") == right_rows(bundle, new) != right_rows(bundle, items)


def test_a_bad_row_in_the_middle(place: CommandLine, bundle: Path, tmp_path: Path) -> None:
    image = [[1.0 * i] * 6 for i in range(50)]
    image[37][2] = float("nan")
    bad = write(tmp_path / "bad.parquet", 50, image=image)
    done = place.run("ingest", bad, "--bundle", bundle, "--batch-size", "10")
    assert done.returncode == 5
    assert "row 37 (id 'k37') has NaN or infinity in 'image'" in done.stderr
    assert "30 rows were written; go on with: milvus-ichash ingest" in done.stderr
    image[37][2] = 0.0
    write(bad, 50, image=image)
    (row,) = place.rows("ingest", bad, "--bundle", bundle, "--batch-size", "10", "--resume")
    assert (row["unchanged"], row["written"]) == (30, 20)
    assert rows_of(tmp_path / "x.db") == right_rows(bundle, bad)


def test_bad_input_before_anything_is_written(
    place: CommandLine, bundle: Path, tmp_path: Path, make_bundle: Callable[..., Path]
) -> None:
    good = write(tmp_path / "good.parquet", 20)
    assert place.run("ingest", good, "--bundle", bundle).returncode == 0
    there = rows_of(tmp_path / "x.db")
    twice = write(tmp_path / "twice.parquet", 20, id=[f"n{i % 19}" for i in range(20)])
    other = make_bundle(modalities={"image": 6, "text": 4}, bits=32, seed=5)
    for arguments, code, says in (
        (("ingest", twice, "--bundle", bundle), 2, "the id 'n0' is in row 0 and again in row 19"),
        (("ingest", good, "--bundle", other), 4, "holds codes of the bundle"),
        (("ingest", good, "--bundle", bundle, "--recreate"), 2, "add --yes"),
        (("ingest", good, "--bundle", bundle, "--fields", "colour"), 2, "no payload column 'colour'; there is title"),
    ):
        done = place.run(*arguments)
        assert refused(done, code, says) and len(done.stderr.splitlines()) == 1
    assert rows_of(tmp_path / "x.db") == there
    assert place.run("ingest", good, "--bundle", other, "--recreate", "--yes").returncode == 0
    assert rows_of(tmp_path / "x.db") == right_rows(other, good)


def test_places_where_milvus_is_not(place: CommandLine, bundle: Path, items: Path, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database " * 100)
    for uri, code, says in (
        ("http://127.0.0.1:1", 3, "not reached at http://127.0.0.1:1"),
        ("text.db", 3, "is not a Milvus Lite database"),
        ("nowhere/x.db", 3, "there is no folder"),
    ):
        done = place.run("ingest", items, "--bundle", bundle, "--uri", uri, "--timeout", "2")
        assert (done.returncode, done.stdout) == (code, "")
        assert says in done.stderr
    with connect(MilvusSettings(uri=str(tmp_path / "held.db"))):
        done = place.in_a_process("ingest", items, "--bundle", bundle, MILVUS_URI="./held.db")
        assert refused(done, 3, "in use by another process")


def test_splits_and_columns(place: CommandLine, bundle: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed.parquet"
    table = pq.read_table(write(tmp_path / "items.parquet", 40))
    pq.write_table(table.rename_columns(["key", "picture", "words", "title"]), renamed)
    columns = ["--id-column", "key", "--modality", "image=picture", "--modality", "text=words"]
    (row,) = place.rows(
        "ingest", renamed, "-b", bundle, "--holdout", "10", "--holdout-by", "order", *columns, "--fields", "none"
    )
    assert row["written"] == 30
    with connect(MilvusSettings(uri=str(tmp_path / "x.db"))) as connection:
        index = HashIndex.open(connection, "ichash")
        assert index.field_names() == ["id", "has_image", "has_text"]
        queries = np.random.default_rng(0).permutation(40)[:10]
        assert sorted(index.read_back().ids) == sorted({f"k{i}" for i in range(40)} - {f"k{i}" for i in queries})


def test_row_numbers_are_ids_only_where_they_are_asked_for(place: CommandLine, bundle: Path, tmp_path: Path) -> None:
    write(tmp_path / "items.parquet", 40, id=None, ID=[f"k{i}" for i in range(40)])
    command = ("ingest", "items.parquet", "-b", bundle)
    assert refused(place.run(*command), 2, "no column of ids (id, ids, _id); columns: image, text, title, ID. Name it")
    done = place.run(*command, "--row-ids")
    assert (done.returncode, "Ids are row numbers" in done.stderr) == (0, True)
    place.rows(*command, "--id-column", "ID", "-c", "named")
    ids = {name: sorted(rows_of(tmp_path / "x.db", name)[1]) for name in ("ichash", "named")}
    assert ids == {"ichash": list(range(40)), "named": sorted(f"k{i}" for i in range(40))}


def ids_in(folder: Path) -> list[str]:
    return [
        key for part in sorted(folder.glob("part-*.parquet")) for key in pq.read_table(part).column("id").to_pylist()
    ]


def test_into_files_which_needs_no_milvus(place: CommandLine, bundle: Path, items: Path, tmp_path: Path) -> None:
    command = ("ingest", items, "--bundle", bundle, "--to-parquet", "files")
    (row,) = place.rows(*command, MILVUS_URI="http://127.0.0.1:1")
    assert {"folder": "files", "rows": N, "written": N, "unchanged": 0, "missing image": N // 4}.items() <= row.items()
    assert [path.name for path in tmp_path.iterdir()] == ["files"]
    assert ids_in(tmp_path / "files") == [f"k{i}" for i in range(N)]
    assert refused(place.run(*command), 2, "'files' is not empty")
    assert place.rows(*command, "--resume")[0]["unchanged"] == N


def test_every_row_once_in_files_after_it_was_killed(
    place: CommandLine, bundle: Path, items: Path, tmp_path: Path
) -> None:
    command = ("ingest", items, "--bundle", bundle, "--to-parquet", "files", "--batch-size", 3)
    process = started(*command, until=(tmp_path / "files").exists, folder=tmp_path, env=environment())
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "files" / "import.json").exists()
    place.rows(*command, "--resume")
    assert ids_in(tmp_path / "files") == [f"k{i}" for i in range(N)]
    assert json.loads((tmp_path / "files" / "import.json").read_text())["rows"] == N


def test_what_milvus_lite_and_files_do_not_have(place: CommandLine, bundle: Path, tmp_path: Path) -> None:
    good = write(tmp_path / "good.parquet", 20)
    ingest = ("ingest", good, "--bundle", bundle)
    for arguments, says in (
        ((*ingest, "--index", "BIN_IVF_FLAT"), "Milvus Lite has BIN_FLAT only"),
        ((*ingest, "--index", "BIN_FLAT", "--nlist", "4"), "BIN_FLAT has no cells"),
        (
            (*ingest, "--to-parquet", "files", "--uri", "a.db", "--patience", "3", "--no-wait"),
            "--uri and --patience and --wait/--no-wait would do nothing here: --to-parquet writes files",
        ),
        ((*ingest, "--to-parquet", "files", "--nlist", "4"), "give --index and --nlist to `milvus-ichash import`"),
        (("import", "files"), "Milvus Lite has no bulk import"),
    ):
        done = place.run(*arguments)
        assert refused(done, 2, says)
    for option in ("--patience=-1", "--index=HNSW"):
        assert place.run(*ingest, option).returncode == 2
    assert place.run("import", "nowhere", "--uri", "http://127.0.0.1:1").returncode == 3
    assert not (tmp_path / "files").exists()
