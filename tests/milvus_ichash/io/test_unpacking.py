"""Small files that claim to hold, or do hold, far too much: refused by their headers, before their content is read."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.array_files import save_h5, save_npz, save_v5, save_v73

from milvus_ichash.errors import InputError
from milvus_ichash.io import open_source
from milvus_ichash.io.unpacking import VARIABLE

BOMB = r"would unpack to .*, which looks like a decompression bomb\. If the file is yours, raise the limit: \w+=\d+\.$"
WIDE = r"features \(x [\d,]+\), more than can be worked with: take fewer, or raise the limit with \w+=\d+\.$"


def header(shape: tuple[int, ...], descr: str = "<f4", *, fortran: bool = False) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": fortran, "shape": shape})
    return stream.getvalue()


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path / "a.npz"


@pytest.fixture
def ten_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0.01")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"x": header((1, 10**9))}, WIDE),
        ({"x": header((10**9, 2))}, BOMB),
        ({"x": header((10**9, 2), fortran=True)}, BOMB),
        ({"x": header((2**62, 2**10))}, BOMB),
        ({"x": header((4, 2)), "title": header((4,), "<U200000000")}, BOMB),
        ({"x": header((4, 2)), "id": header((4,), "|S1000000000")}, BOMB),
        ({"x": header((4, 2)), "label": header((4,), "|S1000000000")}, BOMB),
        ({"x": header((4, 2)), "label": header((4,), "|i1"), "label_names": header((2,), "<U400000000")}, BOMB),
        ({"x_tr": header((4, 2)), "x_db": header((4, 2)), "x_te": header((10**9, 2))}, BOMB),
        ({"x_db": header((4, 2)), "x_te": header((4, 2)), "train": header((10**9,), "<i4")}, "1,000,000,000 row num"),
    ],
    ids=["wide", "long", "in columns", "beyond 64 bits", "text", "ids", "labels", "names", "a split", "row numbers"],
)
def test_npz_headers(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(npz(tmp_path, **members))


def test_a_header_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    head = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1)
    file = npz(tmp_path, x=head + bytes(40 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"header claims to have 4,294,967,295 bytes"):
            open_source(file)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("ten_megabytes")
@pytest.mark.parametrize("save", [save_v5, save_v73, save_h5])
def test_zeros_that_were_compressed(tmp_path: Path, save: Any) -> None:
    if save is save_v5:
        file = save(tmp_path / "a", x=np.zeros((4000, 500)))
    else:
        file = save(tmp_path / "a", y=np.zeros((4000, 2)))
        with h5py.File(file, "a") as h5:
            h5.create_dataset("x", (500, 4000) if save is save_v73 else (4000, 500), "f8", compression="gzip")
    with pytest.raises(InputError, match=BOMB):
        open_source(file)


@pytest.mark.usefixtures("ten_megabytes")
def test_random_numbers_of_that_size_are_no_bomb(tmp_path: Path) -> None:
    file = save_npz(tmp_path / "a", x=np.random.default_rng(0).random((4000, 500)))
    assert open_source(file).info.rows == 4000


def test_the_limit_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide, long = npz(tmp_path, x=header((1, 10**9))), tmp_path / "long"
    long.mkdir()
    monkeypatch.setenv(VARIABLE, "15300")
    for file in (wide, npz(long, x=header((10**9, 2)))):
        assert open_source(file).info.rows in (1, 10**9), "the header is believed, and the content not read yet"


@pytest.mark.parametrize("value", ["much", "-1", "0", "nan", "inf"])
def test_a_limit_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(InputError, match=rf"{VARIABLE} is a number of GB, such as 8, and not '{value}'"):
        open_source(save_npz(tmp_path / "a", x=np.eye(3)))


def test_an_element_of_a_matlab_file_that_unpacks_to_more_than_its_array(tmp_path: Path, monkeypatch: Any) -> None:
    """Its array need not be as large as its header says, which scipy finds out after unpacking it."""
    file = save_v5(tmp_path / "a", x=np.eye(3))
    packed = zlib.compress(bytes(30 << 20))
    with file.open("ab") as stream:
        stream.write(struct.pack("<II", 15, len(packed)) + packed)
    monkeypatch.setenv(VARIABLE, "0.01")
    with pytest.raises(InputError, match=BOMB):
        open_source(file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (10**9, 1000), "dtype": "f4"}, BOMB),
        ({"shape": (2, 10**8), "dtype": "f4"}, WIDE),
        ({"shape": (10, 4), "dtype": "f4", "chunks": (10**6, 1000), "maxshape": (None, None)}, BOMB),
        ({"shape": (10, 4), "dtype": "f4", "external": [("elsewhere.bin", 0, 160)]}, "'x' is kept in another file"),
    ],
    ids=["long", "wide", "one chunk", "in another file"],
)
def test_hdf5_headers(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        h5.create_dataset("x", **arguments)
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / "a.h5")


def test_hdf5_does_not_open_other_files(tmp_path: Path) -> None:
    secret = save_h5(tmp_path / "secret.h5", x=np.eye(4))
    with h5py.File(tmp_path / "linked.h5", "w") as h5:
        h5["x"] = h5py.ExternalLink(str(secret), "x")
    with h5py.File(tmp_path / "virtual.h5", "w") as h5:
        layout = h5py.VirtualLayout((4, 4), "f8")
        layout[:] = h5py.VirtualSource(str(secret), "x", (4, 4))
        h5.create_virtual_dataset("x", layout)
    for name in ("linked", "virtual"):
        with pytest.raises(InputError, match="'x' is kept in another file, which is not opened"):
            open_source(tmp_path / f"{name}.h5")


def test_a_sparse_matrix_of_more_rows_than_anybody_has(tmp_path: Path) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    file = save_v73(tmp_path / "a", x=sparse.csc_matrix(np.eye(4)))
    with h5py.File(file, "a") as h5:
        h5["x"].attrs["MATLAB_sparse"] = np.uint64(2**60)
    with pytest.raises(InputError, match=BOMB):
        open_source(file)


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path / "a.parquet", compression="zstd")
    return path / "a.parquet"


@pytest.mark.usefixtures("ten_megabytes")
def test_rows_that_a_parquet_file_holds_only_once(tmp_path: Path) -> None:
    zeros = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(200_000 * 16, np.float32)), 16)
    file = parquet(tmp_path, x=zeros)
    with pytest.raises(InputError, match=BOMB):
        open_source(file)


@pytest.mark.usefixtures("ten_megabytes")
@pytest.mark.parametrize("nested", [False, True])
def test_a_text_that_all_rows_share(tmp_path: Path, nested: bool) -> None:
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(3000, np.int32)), ["long " * 2000]).dictionary_decode()
    title = pa.ListArray.from_arrays(pa.array(np.arange(3001), pa.int32()), text) if nested else text
    source = open_source(parquet(tmp_path, x=[[1.0]] * 3000, title=title))
    with pytest.raises(InputError, match=BOMB):
        source.read()


def test_shared_texts_are_what_they_are(tmp_path: Path) -> None:
    titles = ["a", None, "b", "a", "ä"] * 20
    columns: dict[str, Any] = {"id": [f"k{i}" for i in range(100)], "x": [[1.0]] * 100, "title": titles}
    columns["tags"] = [[title, "t"] for title in titles]
    columns["about"] = [{"title": title} for title in titles]
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=7)
    table = open_source(tmp_path / "a.parquet").read()
    assert table.ids.tolist() == columns["id"]
    assert table.payload == {name: columns[name] for name in ("title", "tags", "about")}
