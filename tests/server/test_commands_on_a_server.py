"""index, query, delete and inspect of the command line, on a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command import environment, run_here
from support.labelled_items import items, write_npz

from milvus_ichash.errors import InputError


@pytest.fixture
def run(uri: str) -> Callable[..., Any]:
    """A command against the server: its exit code, what it printed as JSON, and stderr."""

    def call(*words: object) -> tuple[int, Any, str]:
        done = run_here(*words, "--format", "json", env=environment(MILVUS_URI=uri))
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    return call


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(bits=64)


def test_from_ingest_to_delete(run: Callable[..., Any], bundle: Path, name: Callable[[], str], tmp_path: Path) -> None:
    table = items(3_000)
    data, collection = write_npz(tmp_path / "items.npz", table), name()
    code, rows, said = run("ingest", data, "--bundle", bundle, "-c", collection)
    assert (code, rows[0]["written"]) == (0, 3_000), said

    code, document, said = run("index", "-c", collection, "--index", "BIN_IVF_FLAT")
    assert code == 0, said
    assert document["index"]["code"]["nlist"] == "64"  # the power of two next to the root of 3,000
    assert document["nprobe"] == 8
    code, document, _ = run("inspect", "-c", collection)
    assert code == 0
    state = document["index"]["code"]
    assert (state["index_type"], state["state"], state["pending_index_rows"]) == ("BIN_IVF_FLAT", "Finished", 0)
    assert document["rows in segments"] >= 3_000

    some = int(table.ids[0])
    code, rows, _ = run("query", "-c", collection, "--id", some, "--nprobe", 64, "-k", 5)
    assert code == 0 and (rows[0]["distance"], len(rows)) == (0, 5)
    code, _, said = run("query", "-c", collection, "--id", some, "--nprobe", 65)
    assert code == 2 and "take 1 to 64" in said

    code, rows, said = run("delete", "-c", collection, "--id", some)
    assert (code, rows) == (0, [{"collection": collection, "deleted": 1, "rows": 2_999}]), said
    lacking = int((~table.present[:, 1]).sum()) - int(not table.present[0, 1])
    code, rows, said = run("delete", "-c", collection, "--filter", "has_text == false")
    assert code == 2 and f"{lacking:,} items" in said and "--yes" in said  # nobody can be asked, and nothing is lost
    code, rows, said = run("delete", "-c", collection, "--filter", "has_text == false", "--yes")
    assert (code, rows[0]["deleted"], rows[0]["rows"]) == (0, lacking, 2_999 - lacking), said

    code, document, said = run("index", "-c", collection, "--index", "BIN_FLAT")
    assert code == 0 and document["index"]["code"]["index_type"] == "BIN_FLAT", said
    code, _, said = run(
        "query", "-c", collection, "--id", int(table.ids[np.flatnonzero(table.present.all(1))[1]]), "--nprobe", 4
    )
    assert code == 2 and "BIN_FLAT" in said


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("index", "-c", "not_there"), InputError.exit_code, "no collection 'not_there'"),
        (("index", "-c", "not_there", "--nlist", 0), InputError.exit_code, "no collection"),
        (("delete", "-c", "not_there", "--id", "a"), InputError.exit_code, "no collection"),
        (("delete", "-c", "not_there"), InputError.exit_code, "--id or with --filter"),
        (("index", "-c", "not_there", "--index", "HNSW"), 2, "HNSW"),
    ],
)
def test_bad_input(run: Callable[..., Any], words: tuple[object, ...], code: int, says: str) -> None:
    done, _, said = run(*words)
    assert done == code and says in said
