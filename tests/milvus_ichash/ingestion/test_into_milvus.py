from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.array_files import Save, save_h5, save_npz, save_v5
from support.broken_source import BreaksOff
from support.gappy_parquet import gappy_columns, label_lists, write_parquet
from support.old_collection import old_collection

from milvus_ichash.errors import InputError, MilvusError, MismatchError, PartialIngestError
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.ingestion.ingest_report import IngestReport, Listeners
from milvus_ichash.ingestion.into_milvus import ingest
from milvus_ichash.io import open_source
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.runtime.encoder import HashEncoder

N = 100
BY_TEN = IngestOptions(batch_size=10)


@pytest.fixture(scope="module")
def encoder(make_bundle: Callable[..., Path]) -> HashEncoder:
    return HashEncoder.load(
        make_bundle(modalities={"image": 3, "text": 2}, label_names=("a", "b", "c")), device="cpu", threads=1
    )


def table(n: int = N, **columns: Any) -> dict[str, Any]:
    return gappy_columns(n, image=3, text=2, labels=label_lists(n), year=list(range(n))) | columns


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FeatureSource:
    return write_parquet(tmp_path_factory.mktemp("data") / "items.parquet", table())


def contents(index: HashIndex) -> dict[str, tuple[bytes, list[bool], list[Any] | None]]:
    back = index.read_back()
    labels = back.labels or [None] * len(back.ids)
    return {
        key: (code.tobytes(), present, of)
        for key, code, present, of in zip(back.ids, back.codes["code"], back.present.tolist(), labels, strict=True)
    }


def test_every_row_gets_its_code(
    connection: Connection, encoder: HashEncoder, source: FeatureSource, collection: str
) -> None:
    advanced: list[int] = []
    report = ingest(source, encoder, connection, collection, BY_TEN, listeners=Listeners(advance=advanced.append))
    assert (report.rows, report.written, report.unchanged, report.missing) == (N, N, 0, {"image": 25, "text": 25})
    assert report.seconds > 0
    assert sum(advanced) == N
    items = source.read()
    codes = encoder.encode_table(items)["code"]
    index = HashIndex.open(connection, collection)
    assert index.fingerprint == encoder.manifest.fingerprint
    assert contents(index) == {
        f"k{i}": (codes[i].tobytes(), items.present[i].tolist(), of) for i, of in enumerate(label_lists(N))
    }
    hit = index.search(codes[:1], top_k=N, filter='id == "k7"', output_fields=["title", "year"])
    assert hit.fields == [[{"title": "title 7", "year": 7}]]


def test_ingesting_twice_changes_nothing(
    connection: Connection, encoder: HashEncoder, source: FeatureSource, collection: str
) -> None:
    for _ in range(2):
        assert ingest(source, encoder, connection, collection).written == N
    assert HashIndex.open(connection, collection).count() == N


@pytest.mark.parametrize("broken_at", [0, 40])
def test_resume_takes_up_what_is_missing(
    broken_at: int, connection: Connection, encoder: HashEncoder, source: FeatureSource, name: Callable[[], str]
) -> None:
    """Gaps too: rows 10 to 14 went missing after they were written."""
    collection, whole = name(), name()
    ingest(source, encoder, connection, whole, BY_TEN)
    if broken_at:
        report = IngestReport()
        with pytest.raises(PartialIngestError):
            ingest(
                BreaksOff(source, broken_at, InputError("torn")), encoder, connection, collection, BY_TEN, report=report
            )
        assert report.written == broken_at
        connection.client.delete(collection, filter='id in ["k10", "k11", "k12", "k13", "k14"]')
    report = ingest(source, encoder, connection, collection, replace(BY_TEN, resume=True))
    there = broken_at - 5 if broken_at else 0
    assert (report.rows, report.written, report.unchanged) == (N, N - there, there)
    assert contents(HashIndex.open(connection, collection)) == contents(HashIndex.open(connection, whole))
    again = ingest(source, encoder, connection, collection, replace(BY_TEN, resume=True))
    assert (again.rows, again.written, again.unchanged) == (N, 0, N)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug")])
def test_what_was_interrupted_counts_what_was_acknowledged(
    error: BaseException, connection: Connection, encoder: HashEncoder, source: FeatureSource, name: Callable[[], str]
) -> None:
    """What waits to be written is dropped, what is being written is finished, and nothing is written afterwards."""
    collection, whole, report = name(), name(), IngestReport()
    with pytest.raises(type(error)):
        ingest(BreaksOff(source, 60, error), encoder, connection, collection, BY_TEN, report=report)
    assert "writer" not in [thread.name for thread in threading.enumerate()]
    # Three batches, at most, are behind the one that is being written.
    assert 30 <= report.written <= 60
    assert report.rows == report.written == HashIndex.open(connection, collection).count()
    again = ingest(source, encoder, connection, collection, replace(BY_TEN, resume=True))
    assert (again.unchanged, again.written) == (report.written, N - report.written)
    ingest(source, encoder, connection, whole, BY_TEN)
    assert contents(HashIndex.open(connection, collection)) == contents(HashIndex.open(connection, whole))


def test_an_ingest_that_breaks_off_says_how_to_go_on(
    connection: Connection, encoder: HashEncoder, source: FeatureSource, name: Callable[[], str]
) -> None:
    options = replace(BY_TEN, resume_hint="run it with --resume")
    for error in (InputError("row 30 has NaN."), MilvusError("Milvus went away.")):
        with pytest.raises(
            PartialIngestError, match=r"30 rows were written; go on with: run it with --resume"
        ) as caught:
            ingest(BreaksOff(source, 30, error), encoder, connection, name(), options)
        assert str(error) in str(caught.value)
    with pytest.raises(InputError, match=r"^row 0 has NaN.$"):
        ingest(BreaksOff(source, 0, InputError("row 0 has NaN.")), encoder, connection, name(), options)


def test_a_dry_run_finds_what_is_wrong_and_writes_nothing(
    connection: Connection, encoder: HashEncoder, source: FeatureSource, name: Callable[[], str], tmp_path: Path
) -> None:
    collection, dry = name(), replace(BY_TEN, dry_run=True)
    before = set(connection.client.list_collections())
    report = ingest(source, encoder, connection, collection, dry)
    assert (report.rows, report.missing) == (N, {"image": 25, "text": 25})
    bad = table(50)
    bad["id"][33] = "kid\tball"
    with pytest.raises(InputError, match="control character"):
        ingest(write_parquet(tmp_path / "bad.parquet", bad), encoder, connection, collection, dry)
    assert set(connection.client.list_collections()) == before


def test_recreate_keeps_the_old_rows_until_the_new_ones_prove_usable(
    connection: Connection,
    encoder: HashEncoder,
    source: FeatureSource,
    collection: str,
    make_bundle: Callable[..., Path],
) -> None:
    ingest(source, encoder, connection, collection)
    other = HashEncoder.load(make_bundle(modalities={"image": 3, "text": 2}, seed=1), device="cpu", threads=1)
    with pytest.raises(MismatchError, match=other.manifest.fingerprint):
        ingest(source, other, connection, collection)
    recreate = IngestOptions(batch_size=10, recreate=True)
    with pytest.raises(InputError, match="torn"):
        ingest(BreaksOff(source, 0, InputError("torn")), other, connection, collection, recreate)
    index = HashIndex.open(connection, collection)
    assert (index.fingerprint, index.count()) == (encoder.manifest.fingerprint, N)
    ingest(source, other, connection, collection, recreate)
    index = HashIndex.open(connection, collection)
    assert (index.fingerprint, index.count()) == (other.manifest.fingerprint, N)


def test_the_index_of_milvus_lite_may_be_asked_for(
    connection: Connection, encoder: HashEncoder, source: FeatureSource, collection: str
) -> None:
    assert ingest(source, encoder, connection, collection, IngestOptions(index="BIN_FLAT")).written == N


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (IngestOptions(fields=["year"], labels=False), ["id", "has_image", "has_text", "year"]),
        (IngestOptions(fields=[]), ["id", "has_image", "has_text", "labels"]),
    ],
    ids=["one column", "labels only"],
)
def test_what_goes_along_can_be_chosen(
    connection: Connection,
    encoder: HashEncoder,
    source: FeatureSource,
    collection: str,
    options: IngestOptions,
    fields: list[str],
) -> None:
    ingest(source, encoder, connection, collection, options)
    assert HashIndex.open(connection, collection).field_names() == fields


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({"has_text": [1] * N}, {}, "payload column 'has_text'"),
        (
            {"sound": [[1.0, 2.0]] * N},
            {},
            "modality 'sound' that the bundle does not know; it takes image, text",
        ),
        ({"text": [[1.0, 2.0, 3.0]] * N}, {}, "'text' has shape"),
        (
            {"id": ["k3" if i == 48 else f"k{i}" for i in range(N)]},
            {"batch_size": 10},
            "the id 'k3' is in row 3 and again in row 48",
        ),
        ({}, {"fields": ["colour"]}, "no payload column 'colour'; there is title, year"),
        ({}, {"batch_size": 0}, "batch of 0 rows"),
        ({}, {"batch_size": 10**10}, "batch of 10000000000 rows cannot be written: take 1 to 1,000,000"),
        ({}, {"resume": True, "recreate": True}, "choose one"),
        ({}, {"codes": ["nope"]}, "makes no code 'nope'; it makes code"),
        ({}, {"index": "BIN_IVF_FLAT"}, "Milvus Lite has BIN_FLAT only"),
        ({}, {"nlist": 64}, "Milvus Lite has BIN_FLAT only"),
        ({}, {"index": "BIN_FLAT", "nlist": 64}, "BIN_FLAT has no cells"),
        ({}, {"index": "HNSW"}, "no index 'HNSW'"),
        ({}, {"patience": -1}, "a patience of -1 s"),
        ({}, {"patience": float("nan")}, "a patience of nan s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_found_before_the_first_write(
    connection: Connection,
    encoder: HashEncoder,
    collection: str,
    tmp_path: Path,
    columns: dict[str, Any],
    options: dict[str, Any],
    says: str,
) -> None:
    source = write_parquet(tmp_path / "items.parquet", table(**columns))
    with pytest.raises(InputError, match=says):
        ingest(source, encoder, connection, collection, IngestOptions(**options))
    assert not HashIndex.exists(connection, collection)


def test_a_collection_of_another_kind(
    connection: Connection,
    encoder: HashEncoder,
    source: FeatureSource,
    collection: str,
    name: Callable[[], str],
    tmp_path: Path,
    make_bundle: Callable[..., Path],
) -> None:
    ingest(write_parquet(tmp_path / "numbers.parquet", table(id=list(range(N)))), encoder, connection, collection)
    with pytest.raises(InputError, match=r"has ids of type str, and the collection .* of type int64"):
        ingest(source, encoder, connection, collection)
    two = HashEncoder.load(make_bundle(modalities={"image": 3, "text": 2}, fused=False), device="cpu", threads=1)
    collection = name()
    ingest(source, two, connection, collection, IngestOptions(codes=["text_code"]))
    assert HashIndex.open(connection, collection).codes == ("text_code",)
    assert ingest(source, two, connection, collection).written == N
    with pytest.raises(InputError, match="stores text_code, not image_code"):
        ingest(source, two, connection, collection, IngestOptions(codes=["image_code"]))


def test_a_source_with_one_of_the_modalities(
    connection: Connection, encoder: HashEncoder, collection: str, tmp_path: Path
) -> None:
    source = write_parquet(tmp_path / "texts.parquet", table(20, image=None, text=[[1.0, i - 9.5] for i in range(20)]))
    report = ingest(source, encoder, connection, collection)
    assert report.missing == {"image": 20, "text": 0}
    assert HashIndex.open(connection, collection).count("has_image == false and has_text == true") == 20


def test_classes_go_by_their_names(
    connection: Connection,
    encoder: HashEncoder,
    collection: str,
    name: Callable[[], str],
    tmp_path: Path,
    make_bundle: Callable[..., Path],
) -> None:
    """Two files number their classes in their own ways; in the collection labels are names."""
    some = write_parquet(tmp_path / "some.parquet", table(4, labels=[["c"], ["b", "c"], [], None]))
    ingest(some, encoder, connection, collection)
    assert [of for _, _, of in contents(HashIndex.open(connection, collection)).values()] == [
        ["c"],
        ["b", "c"],
        [],
        None,
    ]
    other = write_parquet(tmp_path / "other.parquet", table(4, labels=[["zebra"], ["b"], [], None]))
    with pytest.raises(InputError, match=r"class 'zebra'.*--no-labels"):
        ingest(other, encoder, connection, name())
    unnamed = HashEncoder.load(make_bundle(modalities={"image": 3, "text": 2}), device="cpu", threads=1)
    collection = name()
    ingest(some, unnamed, connection, collection)
    assert HashIndex.open(connection, collection).label_names == ("b", "c")
    with pytest.raises(InputError, match="class 'zebra'"):
        ingest(other, unnamed, connection, collection)


@pytest.mark.parametrize(
    "labels",
    [[[2], [1, 2], [], None], [2, 1, 0, None], [[0, 1, 0], [1, 1, 0], [0, 0, 0], None]],
    ids=["lists of numbers", "numbers", "vectors"],
)
def test_numbers_for_a_bundle_that_knows_names_are_refused(
    connection: Connection, encoder: HashEncoder, collection: str, tmp_path: Path, labels: list[Any]
) -> None:
    """Its classes have numbers too, by their place in the alphabet: these would be other ones."""
    given = write_parquet(tmp_path / "numbers.parquet", table(4, labels=labels))
    with pytest.raises(InputError, match=r"numbers\.parquet: the labels are .* 3 classes are known by name: a, b, c"):
        ingest(given, encoder, connection, collection)
    assert not HashIndex.exists(connection, collection)
    assert ingest(given, encoder, connection, collection, IngestOptions(labels=False)).written == 4


@pytest.mark.parametrize("save", [save_npz, save_h5, save_v5])
@pytest.mark.parametrize("labels", [np.eye(3)[[2, 0, 0]], np.array([2, 0, 0])], ids=["vectors", "numbers"])
def test_so_are_those_of_arrays_unless_their_names_are_there(
    connection: Connection, encoder: HashEncoder, name: Callable[[], str], tmp_path: Path, save: Save, labels: Any
) -> None:
    arrays = {"id": np.arange(3), "image": np.ones((3, 3)), "text": np.ones((3, 2)), "labels": labels}
    with pytest.raises(InputError, match=r"class numbers or 0/1 vectors without names.*'label_names'"):
        ingest(open_source(save(tmp_path / "bare", **arrays)), encoder, connection, name())
    names = np.array(["c", "b", "a"], object if save is save_h5 else None)
    if save is not save_v5:
        collection = name()
        ingest(open_source(save(tmp_path / "named", **arrays, label_names=names)), encoder, connection, collection)
        assert HashIndex.open(connection, collection).read_back().labels == [["a"], ["c"], ["c"]]


def test_an_old_collection_keeps_its_class_numbers(
    connection: Connection, encoder: HashEncoder, collection: str, tmp_path: Path
) -> None:
    """A file with fewer classes numbers them in its own way."""
    first = write_parquet(tmp_path / "first.parquet", table(4, labels=[["c"], ["b", "c"], [], None])).read()
    numbers = [[2], [1, 2], [], None]
    codes = encoder.encode_table(first)
    old = old_collection(connection, collection, encoder.manifest, first.ids.tolist(), codes, first.present, numbers)
    assert [of for _, _, of in contents(old).values()] == numbers
    second = write_parquet(tmp_path / "second.parquet", table(5, labels=[["c"], ["b"], None, [], ["c", "b"]]))
    ingest(second, encoder, connection, collection)
    found = contents(HashIndex.open(connection, collection))
    assert [of for _, _, of in found.values()] == [[2], [1], None, [], [1, 2]]


def test_names_do_not_go_among_numbers_that_have_none(
    connection: Connection, collection: str, tmp_path: Path, make_bundle: Callable[..., Path]
) -> None:
    unnamed = HashEncoder.load(make_bundle(modalities={"image": 3, "text": 2}), device="cpu", threads=1)
    vectors = table(4, labels=[[0, 1], [1, 1], [0, 0], None])
    ingest(write_parquet(tmp_path / "vectors.parquet", vectors), unnamed, connection, collection)
    numbered = write_parquet(tmp_path / "numbered.parquet", table(4, labels=[[1], [0, 1], [], [2]]))
    ingest(numbered, unnamed, connection, collection)
    assert [of for _, _, of in contents(HashIndex.open(connection, collection)).values()] == [[1], [0, 1], [], [2]]
    named = write_parquet(tmp_path / "named.parquet", table(4, labels=[["a"], ["b"], [], None]))
    with pytest.raises(InputError, match=r"labels are names, such as 'a', where the collection holds class numbers"):
        ingest(named, unnamed, connection, collection)
