"""Feature files that are whole, and hold what nobody expects: columns and arrays of any type, shape and length."""

from __future__ import annotations

import io
import tempfile
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

ROWS = 6
NAMES = st.sampled_from(
    ["id", "ids", "_id", "labels", "label", "image", "text", "present", "label_names", "title", "I_tr", "I_te", "L_tr",
     "L_te", "T_tr", "T_te", "train", "FAll", "YAll", "LAll", "ID", "a/b", "", "é", "ImgQuery", "ImgTrain"]
)  # fmt: skip

_FLOATS = [0.5, -1.0, float("nan"), float("inf"), 3e38, None]
_COLUMNS: list[tuple[pa.DataType, list[Any]]] = [
    (pa.int64(), [0, 1, -5, (1 << 63) - 1, None]),
    (pa.uint64(), [0, (1 << 64) - 1]),
    (pa.int8(), [1, 2, 3]),
    (pa.float32(), _FLOATS),
    (pa.float16(), [np.float16(1), None]),
    (pa.bool_(), [True, False, None]),
    (pa.string(), ["a", "", "a\0b", "=1", "\u202ex", None]),
    (pa.large_string(), ["a", "b" * 3000]),
    (pa.string_view(), ["a", "b" * 30]),
    (pa.binary(), [b"\xff", b"", None]),
    (pa.null(), [None]),
    (pa.timestamp("us", "UTC"), [datetime(2020, 1, 1), None]),
    (pa.timestamp("ns"), [-(1 << 63), (1 << 63) - 1]),
    (pa.date32(), [date(1, 1, 1)]),
    (pa.duration("s"), [timedelta(seconds=1)]),
    (pa.decimal128(38, 2), [Decimal("1.50"), None]),
    (pa.dictionary(pa.int32(), pa.string()), ["a", "b", None]),
    (pa.list_(pa.float32()), [[1.0, 2.0], [1.0], [], None, [None, 1.0]]),
    (pa.list_(pa.float64(), 2), [[1.0, 2.0], [float("nan"), 1.0], None]),
    (pa.list_(pa.float32(), 0), [[]]),
    (pa.list_(pa.string()), [["a"], [], None, [None], ["a", "a"]]),
    (pa.list_(pa.int64()), [[0, 1], [], None, [-1], [1 << 40]]),
    (pa.list_(pa.uint8(), 3), [[1, 2, 3]]),
    (pa.list_(pa.bool_()), [[True, False]]),
    (pa.list_(pa.list_(pa.float32())), [[[1.0]], None]),
    (pa.large_list(pa.float32()), [[1.0, 2.0]]),
    (pa.struct([("x", pa.float32())]), [{"x": 1.0}, None]),
    (pa.map_(pa.string(), pa.int64()), [[("a", 1)]]),
    (pa.list_(pa.decimal128(5, 1)), [[Decimal("1.5")]]),
]


@st.composite
def parquet_files(draw: st.DrawFn) -> bytes:
    """A parquet file with up to five columns of any types, names that mean something here, and perhaps no rows."""
    rows = draw(st.sampled_from([0, 1, ROWS]))
    columns, names = [], []
    for _ in range(draw(st.integers(0, 5))):
        kind, cells = draw(st.sampled_from(_COLUMNS))
        drawn = draw(st.lists(st.sampled_from(cells), min_size=rows, max_size=rows))
        columns.append(pa.array(drawn, kind))
        names.append(draw(NAMES))
    if draw(st.booleans()):
        columns.append(pa.array([[1.0, -1.0]] * rows, pa.list_(pa.float32())))
        names.append("text")
    target = io.BytesIO()
    pq.write_table(
        pa.Table.from_arrays(columns, names=names), target, row_group_size=draw(st.sampled_from([1, 4, 100]))
    )
    return target.getvalue()


def _array(kind: str, shape: tuple[int, ...]) -> Any:
    count = int(np.prod(shape))
    if kind == "strings":
        return np.array([f"w{i % 3}" for i in range(count)], "U4").reshape(shape)
    if kind == "bytes":
        return np.array([b"\xff\x00a"] * count, "S3").reshape(shape)
    if kind == "nan":
        return np.full(shape, np.nan, np.float32)
    if kind == "records":
        return np.zeros(shape, [("a", "<f4"), ("b", "S2")])
    return (np.arange(count) % 5).astype(kind).reshape(shape)


KINDS = st.sampled_from(["<f4", ">f8", "<f2", "|u1", "|b1", "<i8", "<u8", "<c16", "strings", "bytes", "nan", "records"])
SHAPES = st.sampled_from(
    [(), (0,), (1,), (ROWS,), (ROWS, 3), (3, ROWS), (ROWS, 1), (1, ROWS), (ROWS, 0), (0, 3), (ROWS, 2, 2), (5, 3), (3,)]
)


@st.composite
def arrays(draw: st.DrawFn) -> dict[str, Any]:
    """Up to five arrays of any kind and shape, with names that mean something here."""
    found = {draw(NAMES): _array(draw(KINDS), draw(SHAPES)) for _ in range(draw(st.integers(1, 5)))}
    if draw(st.booleans()):
        found["text"] = _array("<f4", (ROWS, 3)) - 2
    return found


@st.composite
def npz_files(draw: st.DrawFn) -> bytes:
    """An `.npz` of any arrays."""
    target = io.BytesIO()
    np.savez(target, **draw(arrays()))
    return target.getvalue()


@st.composite
def mat_files(draw: st.DrawFn) -> bytes:
    """A MATLAB v5 file of any arrays, cells, structs, texts and sparse matrices."""
    from scipy.io import savemat
    from scipy.sparse import csc_matrix

    found: dict[str, Any] = {}
    for name, array in draw(arrays()).items():
        odd = draw(st.sampled_from(["array", "array", "cell", "struct", "sparse", "text"]))
        if odd == "cell":
            cells = np.empty(ROWS, object)
            cells[:] = [draw(st.sampled_from([np.ones((1, 2)), "word", np.zeros((0, 0)), {"a": 1}])) for _ in cells]
            found[name] = cells
        elif odd == "struct":
            found[name] = {"x": np.ones(3), "y": {"z": 1.0}}
        elif odd == "sparse":
            found[name] = csc_matrix(np.eye(ROWS, 3))
        else:
            found[name] = "some text" if odd == "text" else array
    target = io.BytesIO()
    names = {name: value for name, value in found.items() if name.isidentifier() and name.isascii() and name[0] != "_"}
    savemat(target, names or {"x": 1.0}, do_compression=draw(st.booleans()))
    return target.getvalue()


@st.composite
def h5_files(draw: st.DrawFn) -> bytes:
    """An HDF5 file of any data sets: empty, scalar, of strings, references or records, huge and not there, links."""
    with tempfile.NamedTemporaryFile(suffix=".h5") as place:
        with h5py.File(place.name, "w") as file:
            for name, array in draw(arrays()).items():
                _put(file, name or "x", array, draw(st.sampled_from(["plain"] * 4 + list(_ODD))))
        return Path(place.name).read_bytes()


_ODD = ("huge", "wide", "null", "reference", "text", "group", "soft", "external link", "external data", "ragged")


def _put(file: Any, name: str, array: Any, odd: str) -> None:
    if name in file or name.strip("/") in ("", "."):
        return
    if odd in ("huge", "wide"):
        file.create_dataset(name, (10**12, 3) if odd == "huge" else (ROWS, 10**9), "f4", chunks=(4, 3))
    elif odd == "null":
        file.create_dataset(name, data=h5py.Empty("f4"))
    elif odd == "reference":
        file.create_dataset(name, (ROWS,), h5py.ref_dtype)
    elif odd == "text":
        file.create_dataset(name, data=["w", "é", ""] * 2, dtype=h5py.string_dtype())
    elif odd == "group":
        file.create_group(name)["x"] = np.ones(3)
    elif odd == "soft":
        file[name] = h5py.SoftLink("/" + name)
    elif odd == "external link":
        file[name] = h5py.ExternalLink("/etc/hostname", "/x")
    elif odd == "external data":
        file.create_dataset(name, (4, 3), "u1", external=[("/etc/passwd", 0, 12)])
    elif odd == "ragged":
        file.create_dataset(name, (ROWS,), h5py.vlen_dtype("f4"))
    elif getattr(array, "dtype", np.dtype("f4")).kind == "U":
        file.create_dataset(name, data=np.char.encode(array, "utf-8"))
    else:
        file[name] = array
