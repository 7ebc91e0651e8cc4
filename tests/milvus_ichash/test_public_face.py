"""What `import milvus_ichash` offers, what it costs, and the README's example of it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from support.gappy_parquet import gappy_columns, write_parquet

import milvus_ichash

ROOMS = {
    "FeatureTable": "features",
    "HashEncoder": "runtime.encoder",
    "HashIndex": "index.hash_index",
    "connect": "index.connection",
    "evaluate": "evaluation.evaluate",
    "ingest": "ingestion.into_milvus",
    "open_source": "io",
    "__version__": "version",
    **dict.fromkeys(
        ["BackendMissingError", "IchashError", "InputError", "MilvusError", "MismatchError", "PartialIngestError"],
        "errors",
    ),
}
README = Path(__file__).parents[2] / "README.md"


def test_names_are_the_objects_of_their_rooms() -> None:
    assert set(milvus_ichash.__all__) == set(ROOMS)
    assert set(ROOMS) <= set(dir(milvus_ichash))
    for name, room in ROOMS.items():
        assert getattr(milvus_ichash, name) is getattr(import_module(f"milvus_ichash.{room}"), name), name
    with pytest.raises(AttributeError, match="no attribute 'HashTable'"):
        _ = milvus_ichash.HashTable


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import milvus_ichash", ("pymilvus", "onnxruntime", "pyarrow", "numpy", "pydantic", "torch", "ichash_export")),
        ("import milvus_ichash.queries", ("torch", "ichash_export")),
        ("from milvus_ichash.cli.app import app", ("pymilvus", "onnxruntime", "pyarrow", "torch", "ichash_export")),
    ],
)
def test_an_import_loads_nothing_heavy(code: str, absent: tuple[str, ...]) -> None:
    loaded = f"{code}; import sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert set(absent).isdisjoint(done.stdout.split())


def test_the_package_is_a_program_too() -> None:
    done = subprocess.run([sys.executable, "-m", "milvus_ichash", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[-1]) == (0, milvus_ichash.__version__), done.stderr


def test_the_example_of_the_readme_runs_as_it_stands(
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = re.findall(r"## From Python\n\n```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for name in ("MILVUS_URI", "ZILLIZ_URI"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "bundle").symlink_to(make_bundle())
    source = write_parquet(tmp_path / "items.parquet", gappy_columns(700, image=12, text=8))
    with milvus_ichash.connect(uri="./milvus_ichash.db") as connection:
        encoder = milvus_ichash.HashEncoder.load("runs/mine/bundle")
        milvus_ichash.ingest(source, encoder, connection, "items")
    names: dict[str, object] = {}
    exec(compile(example, str(README), "exec"), names)
    hits = names["hits"]
    assert hits.distances.shape == (500, 10)  # type: ignore[attr-defined]
    assert "title" in hits.fields[0][0]  # type: ignore[attr-defined]
    assert capsys.readouterr().out


def test_a_connection_by_settings_or_by_name_but_not_both(tmp_path: Path) -> None:
    from milvus_ichash.settings import MilvusSettings

    with pytest.raises(TypeError, match="uri by name, not both"):
        milvus_ichash.connect(MilvusSettings(uri="x.db"), uri="y.db")
    with pytest.raises(milvus_ichash.InputError, match="no setting 'url'; there are uri, token, db_name, timeout"):
        milvus_ichash.connect(url="y.db")
