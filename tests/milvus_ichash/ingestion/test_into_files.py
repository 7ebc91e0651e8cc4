"""Files for bulk import: what they hold, that none is ever half there, and that a run goes on with another's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.broken_source import BreaksOff
from support.damage import flip_a_bit
from support.gappy_parquet import gappy_columns, label_lists, write_parquet

from milvus_ichash.bundle import sha256_of
from milvus_ichash.errors import InputError, PartialIngestError
from milvus_ichash.index.description import Description
from milvus_ichash.ingestion.bulk_files import ImportManifest, read_manifest
from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.ingestion.ingest_report import IngestReport
from milvus_ichash.ingestion.into_files import to_parquet
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.temporary import held

N = 100
BY_TEN = IngestOptions(batch_size=10)


@pytest.fixture(scope="module")
def encoder(make_bundle: Callable[..., Path]) -> HashEncoder:
    bundle = make_bundle(modalities={"image": 3, "text": 2}, label_names=("a", "b", "c"), bits=24, fused=False)
    return HashEncoder.load(bundle, device="cpu", threads=1)


def write(path: Path, **columns: Any) -> FeatureSource:
    ids, titles = [f"ké {i}" for i in range(N)], [f"Käse {i}" for i in range(N)]
    given = gappy_columns(N, image=3, text=2, id=ids, labels=label_lists(N), title=titles)
    return write_parquet(path, given | columns)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FeatureSource:
    return write(tmp_path_factory.mktemp("data") / "items.parquet")


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def check_rows(folder: Path, source: FeatureSource, encoder: HashEncoder) -> None:
    """Every row of the source once, in its order, with the encoder's codes."""
    table, rows = source.read(), rows_in(folder)
    codes = encoder.encode_table(table)
    assert [row["id"] for row in rows] == table.ids.tolist()
    for name, of in codes.items():
        np.testing.assert_array_equal(np.array([row[name] for row in rows], np.uint8), of)
    assert [[row["has_image"], row["has_text"]] for row in rows] == table.present.tolist()
    for i, row in enumerate(rows):
        assert json.loads(row["$meta"]) == {"title": f"Käse {i}"} | ({} if i % 10 == 9 else {"labels": ["abc"[i % 3]]})


def test_files_hold_every_row_and_say_what_they_are(
    encoder: HashEncoder, source: FeatureSource, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "files"
    report = to_parquet(source, encoder, folder, BY_TEN, file_rows=33)
    assert (report.rows, report.written, report.unchanged, report.missing) == (N, N, 0, {"image": 25, "text": 25})
    check_rows(folder, source, encoder)
    manifest = read_manifest(folder)
    assert [file.rows for file in manifest.files] == [33, 33, 33, 1]
    assert sorted(path.name for path in folder.iterdir()) == ["import.json", *(file.name for file in manifest.files)]
    assert (manifest.rows, manifest.id_kind) == (N, "str")
    assert manifest.description == Description.of(encoder.manifest, None)
    assert manifest.files[0].sha256 == sha256_of(folder / "part-00000.parquet")


def test_the_layout_is_that_of_pymilvus(encoder: HashEncoder, source: FeatureSource, tmp_path: Path) -> None:
    """The same rows through pymilvus's own writer of bulk files: the same columns of the same types and values."""
    bulk_writer = pytest.importorskip("pymilvus.bulk_writer", reason="pymilvus's extra bulk_writer is not installed")
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=512)
    for name in ("image_code", "text_code"):
        schema.add_field(name, DataType.BINARY_VECTOR, dim=24)
    for name in ("has_image", "has_text"):
        schema.add_field(name, DataType.BOOL)
    schema.verify()
    writer = bulk_writer.LocalBulkWriter(schema, str(tmp_path / "theirs"), file_type=bulk_writer.BulkFileType.PARQUET)
    to_parquet(source, encoder, tmp_path / "ours", BY_TEN)
    for row in rows_in(tmp_path / "ours"):
        packed = {name: bytes(row[name]) for name in ("image_code", "text_code")}
        writer.append_row({**row, **packed, "$meta": json.loads(row["$meta"])})
    writer.commit()
    theirs = pq.read_table(writer.batch_files[0][0])
    ours = pq.read_table(tmp_path / "ours" / "part-00000.parquet")
    assert {field.name: field.type for field in ours.schema} == {field.name: field.type for field in theirs.schema}
    for name in ("id", "image_code", "text_code", "has_image", "has_text"):
        assert ours.column(name).to_pylist() == theirs.column(name).to_pylist()
    assert [json.loads(text) for text in ours.column("$meta").to_pylist()] == [
        json.loads(text) for text in theirs.column("$meta").to_pylist()
    ]


def test_whole_numbers_as_ids_and_some_of_the_rest(encoder: HashEncoder, tmp_path: Path) -> None:
    source = write(tmp_path / "numbers.parquet", id=[2**62 - i for i in range(N)])
    options = IngestOptions(codes=["text_code"], fields=[], labels=False)
    to_parquet(source, encoder, tmp_path / "files", options)
    assert rows_in(tmp_path / "files")[7].keys() == {"id", "text_code", "has_image", "has_text", "$meta"}
    assert [(row["id"], row["$meta"]) for row in rows_in(tmp_path / "files")] == [(2**62 - i, "{}") for i in range(N)]
    assert read_manifest(tmp_path / "files").id_kind == "int64"


@pytest.mark.parametrize("error", [InputError("row 60 is torn."), KeyboardInterrupt(), RuntimeError("a bug")])
def test_a_run_goes_on_with_the_files_of_another(
    error: BaseException, encoder: HashEncoder, source: FeatureSource, tmp_path: Path
) -> None:
    report = IngestReport()
    with pytest.raises(PartialIngestError if isinstance(error, InputError) else type(error)):
        to_parquet(BreaksOff(source, 60, error), encoder, tmp_path, BY_TEN, file_rows=25, report=report)
    assert 30 <= report.written <= 60
    assert len(rows_in(tmp_path)) == report.written
    assert not (tmp_path / "import.json").exists()
    assert not list(tmp_path.glob("*.partial"))
    (tmp_path / "part-00009.parquet.partial").write_bytes(b"PAR1 killed in the middle")
    with pytest.raises(InputError, match="cut off: go on with --resume"):
        read_manifest(tmp_path)
    again = to_parquet(source, encoder, tmp_path, replace(BY_TEN, resume=True), file_rows=25)
    assert (again.unchanged, again.written) == (report.written, N - report.written)
    assert not list(tmp_path.glob("*.partial"))
    check_rows(tmp_path, source, encoder)
    assert read_manifest(tmp_path).rows == N
    done = to_parquet(source, encoder, tmp_path, replace(BY_TEN, resume=True), file_rows=25)
    assert (done.unchanged, done.written) == (N, 0)


@pytest.mark.parametrize("changed", ["text", "title"])
def test_files_of_other_features_or_payload_are_written_anew(
    changed: str, encoder: HashEncoder, tmp_path: Path
) -> None:
    """The ids are the same: the second of the files holds an item that is not as it was."""
    old = write(tmp_path / "old.parquet")
    columns = gappy_columns(N, image=3, text=2, title=[f"Käse {i}" for i in range(N)])
    columns[changed][30] = {"text": [9.0, -9.0], "title": "another"}[changed]
    new = write(tmp_path / "new.parquet", **{changed: columns[changed]})
    folder = tmp_path / "files"
    to_parquet(old, encoder, folder, BY_TEN, file_rows=25)
    first = (folder / "part-00000.parquet").stat().st_mtime_ns
    report = to_parquet(new, encoder, folder, replace(BY_TEN, resume=True), file_rows=25)
    assert (report.unchanged, report.written) == (25, N - 25)
    assert (folder / "part-00000.parquet").stat().st_mtime_ns == first
    to_parquet(new, encoder, tmp_path / "fresh", BY_TEN)
    assert rows_in(folder) == rows_in(tmp_path / "fresh")
    assert read_manifest(folder).rows == N


def test_what_a_killed_run_left_is_removed_and_a_live_run_is_left_alone(
    encoder: HashEncoder, source: FeatureSource, tmp_path: Path
) -> None:
    torn, download = tmp_path / "part-00000.parquet.partial", tmp_path / "of another program.partial"
    for file in (torn, download):
        file.write_bytes(b"PAR1")
    with held(tmp_path), pytest.raises(InputError, match="another run is writing into"):
        to_parquet(source, encoder, tmp_path, replace(BY_TEN, resume=True))
    assert torn.exists()
    with pytest.raises(InputError, match="is not empty"):
        to_parquet(source, encoder, tmp_path, BY_TEN)
    assert list(tmp_path.iterdir()) == [download]
    download.unlink()
    torn.write_bytes(b"PAR1")
    assert to_parquet(source, encoder, tmp_path, BY_TEN).written == N


def test_folders_that_hold_something_else(
    encoder: HashEncoder, source: FeatureSource, tmp_path: Path, make_bundle: Callable[..., Path]
) -> None:
    to_parquet(source, encoder, tmp_path / "files")
    before = {path: path.read_bytes() for path in (tmp_path / "files").iterdir()}
    other = HashEncoder.load(make_bundle(modalities={"image": 3, "text": 2}, seed=1), device="cpu", threads=1)
    moved = write(tmp_path / "moved.parquet", id=[f"ké {i + 1}" for i in range(N)])
    (tmp_path / "file").write_text("")
    (tmp_path / "mine").mkdir()
    pq.write_table(pa.table({"x": [1]}), tmp_path / "mine" / "part-00000.parquet")
    resume = IngestOptions(resume=True)
    for at, use, of, options, says in (
        ("files", encoder, source, IngestOptions(), "is not empty"),
        ("files", other, source, resume, "another bundle"),
        ("files", encoder, source, IngestOptions(resume=True, labels=False), "another bundle, or with other"),
        ("files", encoder, moved, resume, r"holds the id 'ké 0', which is not that of row 0"),
        ("mine", encoder, source, resume, "another bundle"),
        ("file", encoder, source, IngestOptions(), "is no folder"),
        ("file/x", encoder, source, IngestOptions(), "cannot be written"),
        ("new", encoder, source, IngestOptions(recreate=True), "empty folder"),
    ):
        with pytest.raises(InputError, match=says):
            to_parquet(of, use, tmp_path / at, options)
    assert {path: path.read_bytes() for path in (tmp_path / "files").iterdir()} == before


def test_a_dry_run_writes_nothing(encoder: HashEncoder, source: FeatureSource, tmp_path: Path) -> None:
    report = to_parquet(source, encoder, tmp_path / "files", IngestOptions(dry_run=True))
    assert (report.rows, report.written) == (N, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            lambda folder: [path.unlink() for path in folder.iterdir()],
            r"has no import\.json: it is made by `ingest --to-parquet`",
        ),
        (lambda folder: (folder / "part-00001.parquet").unlink(), r"lacks its file 'part-00001\.parquet'"),
        (
            lambda folder: flip_a_bit(folder / "part-00000.parquet"),
            r"part-00000\.parquet' is damaged or was changed",
        ),
        *(
            (
                lambda folder, text=text: (folder / "import.json").write_text(text),
                "does not describe files to import",
            )
            for text in ("{", "[]", '{"format": 2}', '{"format": 1, "rows": 3}')
        ),
    ],
    ids=["nothing there", "a part is gone", "a part is changed", "no JSON", "a list", "format 2", "half a manifest"],
)
def test_files_that_are_not_as_they_were_written(
    encoder: HashEncoder, source: FeatureSource, tmp_path: Path, damage: Callable[[Path], object], says: str
) -> None:
    to_parquet(source, encoder, tmp_path, file_rows=60)
    damage(tmp_path)
    with pytest.raises(InputError, match=says):
        read_manifest(tmp_path)


def test_files_are_in_the_folder_of_their_manifest(encoder: HashEncoder, source: FeatureSource, tmp_path: Path) -> None:
    to_parquet(source, encoder, tmp_path)
    manifest = json.loads((tmp_path / "import.json").read_text())
    manifest["files"][0]["name"] = "../part-00000.parquet"
    with pytest.raises(ValueError, match="plain file name"):
        ImportManifest.model_validate(manifest)
