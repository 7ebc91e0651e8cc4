"""What is read: for each kind of hostile file, a strategy that draws cases of it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from support.array_files import save_h5, save_npz, save_v5, save_v73
from support.bundles import IMAGE_AND_TEXT, build_bundle
from support.fuzzing import odd_tables
from support.fuzzing.mutations import changed_bytes, changed_json, changed_npz
from support.gappy_parquet import gappy_columns, label_lists, write_parquet

from milvus_ichash.bundle import ENCODER, MANIFEST, Manifest
from milvus_ichash.bundle.golden_vectors import GOLDEN_VECTORS, GoldenVectors
from milvus_ichash.runtime.encoder import HashEncoder

_ROWS = 24


@dataclass(frozen=True)
class Case:
    """A file, or a folder of files, to be read.

    Attributes:
        what: how (`child.READERS`).
        files: content by name.
        entry: the file that is opened; empty for the folder.
    """

    what: str
    files: Mapping[str, bytes]
    entry: str = ""

    @contextmanager
    def written(self, folder: Path) -> Iterator[Path]:
        """Write it into this folder, and take it away afterwards."""
        place = Path(tempfile.mkdtemp(dir=folder))
        try:
            for name, content in self.files.items():
                (place / name).write_bytes(content)
            yield place / self.entry
        finally:
            for name in self.files:
                (place / name).unlink(missing_ok=True)
            place.rmdir()


def _arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "id": np.arange(_ROWS),
        "image": rng.standard_normal((_ROWS, 6)).astype(np.float32),
        "text": rng.standard_normal((_ROWS, 4)).astype(np.float32),
        "labels": np.eye(3, dtype=np.uint8)[np.arange(_ROWS) % 3],
    }


def _splits() -> dict[str, Any]:
    arrays = _arrays()
    of_name = {"I": arrays["image"], "T": arrays["text"], "L": arrays["labels"]}
    ends = {"tr": (0, 10), "db": (0, 18), "te": (18, 24)}
    return {f"{name}_{split}": x[a:b] for name, x in of_name.items() for split, (a, b) in ends.items()}


@lru_cache
def _seeds(kind: str) -> tuple[bytes, ...]:
    """Valid files of a kind."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if kind == "parquet":
            files = []
            for number, compression in enumerate(("none", "zstd", "snappy")):
                write_parquet(
                    folder / f"{number}.parquet",
                    gappy_columns(_ROWS, labels=label_lists(_ROWS)),
                    compression=compression,
                    row_group_size=10 * (number + 1),
                )
                files.append(folder / f"{number}.parquet")
            return tuple(file.read_bytes() for file in files)
        if kind == "npz":
            np.savez_compressed(folder / "packed.npz", **_arrays())
            names = {"words": np.array(["red", "blue"] * (_ROWS // 2)), "image": np.asfortranarray(_arrays()["image"])}
            saved = [save_npz(folder / "a", **_splits()), save_npz(folder / "b", **_arrays() | names)]
            return tuple(file.read_bytes() for file in (*saved, folder / "packed.npz"))
        save: dict[str, Callable[..., Path]] = {"h5": save_h5, "mat": save_v5, "mat73": save_v73}
        saved = [save[kind](folder / "a", **_splits()), save[kind](folder / "b", **_arrays())]
        return tuple(file.read_bytes() for file in saved)


@lru_cache
def _bundle_files() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as place:
        folder = build_bundle(
            Path(place) / "bundle",
            words={"text": [f"word{i}" for i in range(8)]},
            pictures={"image": 8},
            label_names=("fruit", "car"),
        )
        rng, present = np.random.default_rng(0), np.array([[True, True], [False, True]])
        items = {name: rng.standard_normal((2, dim)).astype(np.float32) for name, dim in IMAGE_AND_TEXT.items()}
        relaxed = HashEncoder.load(folder, device="cpu").relaxed(present, **items)
        golden = GoldenVectors.of(items, present, relaxed).model_dump_json().encode()
        files = {file.name: file.read_bytes() for file in folder.iterdir()}
        manifest = json.loads(files[MANIFEST]) | {"golden_vectors": GOLDEN_VECTORS}
        return as_made({**files, GOLDEN_VECTORS: golden, MANIFEST: json.dumps(manifest).encode()})


def _features(ending: str, contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[Case]:
    return contents.map(lambda content: Case("features", {f"x.{ending}": content}, f"x.{ending}"))


def _changed(kind: str) -> st.SearchStrategy[bytes]:
    return st.sampled_from(_seeds(kind)).flatmap(changed_bytes)


def as_made(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """A bundle's files, with the sha256 and the fingerprint that belong to them: as a hostile person makes a bundle."""
    manifest = json.loads(files[MANIFEST])
    manifest["files"] = {n: hashlib.sha256(content).hexdigest() for n, content in files.items() if n != MANIFEST}
    manifest.pop("fingerprint", None)
    # A manifest that is none has no fingerprint.
    with suppress(ValueError):
        manifest["fingerprint"] = Manifest.model_validate_json(json.dumps(manifest), strict=True).fingerprint
    return {**files, MANIFEST: json.dumps(manifest).encode()}


@st.composite
def bundles(draw: st.DrawFn) -> Case:
    """A bundle with a changed manifest, or with other files that are changed and have the right sha256."""
    files = dict(_bundle_files())
    name = draw(st.sampled_from([MANIFEST, MANIFEST, *sorted(set(files) - {MANIFEST})]))
    files[name] = draw((changed_json if name.endswith(".json") else changed_bytes)(files[name]))
    if name == MANIFEST and draw(st.booleans()):
        return Case("bundle", files)
    try:
        return Case("bundle", as_made(files))
    except (ValueError, TypeError, AttributeError, RecursionError):  # the manifest is no JSON object any more
        return Case("bundle", files)


@st.composite
def graphs(draw: st.DrawFn) -> Case:
    """A bundle whose graph is changed where it stands in the file as a whole: names, sizes, operators, weights."""
    import onnx

    files = dict(_bundle_files())
    model = onnx.load_from_string(files[ENCODER])
    for _ in range(draw(st.integers(1, 3))):
        node = model.graph.node[draw(st.integers(0, len(model.graph.node) - 1))]
        weight = model.graph.initializer[draw(st.integers(0, len(model.graph.initializer) - 1))]
        edge = draw(st.sampled_from([*model.graph.input, *model.graph.output]))
        how = draw(st.sampled_from(["operator", "input", "size", "dims", "data", "external", "opset", "loop"]))
        if how == "operator":
            node.op_type = draw(
                st.sampled_from(["Expand", "Tile", "Range", "Loop", "If", "Nope", "ReverseSequence", ""])
            )
        elif how == "input" and node.input:
            node.input[0] = draw(st.sampled_from(["", "nowhere", node.output[0], "present", "image"]))
        elif how == "size":
            edge.type.tensor_type.shape.dim[-1].dim_value = draw(st.sampled_from([0, 1, 7, -1, 1 << 31, 1 << 62]))
        elif how == "dims":
            weight.dims[:] = draw(st.sampled_from([[], [0], [1 << 40], [1 << 31, 1 << 31], [-1], [2, 2]]))
        elif how == "data":
            weight.raw_data = draw(st.sampled_from([b"", b"\xff" * 8, b"\0" * (1 << 20)]))
        elif how == "external":
            weight.data_location = onnx.TensorProto.EXTERNAL
            weight.external_data.add(key="location", value=draw(st.sampled_from(["/etc/passwd", "../x", "x.bin"])))
        elif how == "opset":
            model.opset_import[0].version = draw(st.sampled_from([0, 1, 5, 99, -1]))
        else:
            model.graph.node.add(op_type="Identity", input=[node.output[0]], output=[node.output[0]])
    return Case("bundle", as_made({**files, ENCODER: model.SerializeToString()}))


_LINES = st.sampled_from(
    [b"MILVUS_URI=http://root:S3CRET@h:1", b"MILVUS_TOKEN='S3CRET", b'MILVUS_TIMEOUT="5"', b"export MILVUS_DB_NAME=x",
     b"ZILLIZ_URI=./x.db", b"MILVUS_TIMEOUT=nan", b"A=${HOME}", b"MILVUS_URI=${HOME}", b"=", b"#", b"\xff",
     b"\xef\xbb\xbf", b"\0", b'A="' * 2000, b"a='\\" * 2000, b"\r", b"MILVUS_URI"]
)  # fmt: skip
_TABLES = st.sampled_from(
    [b"[milvus]", b'uri = "http://root:S3CRET@h:1"', b"timeout = 5", b"timeout = nan", b"uri = 3", b'token = "S3CRET"',
     b"[milvus.uri]", b"milvus = 3", b"a = " + b"[" * 5000, b"a = " + b"{a=" * 2000, b'x = """', b"\xff",
     b"db_name = []", b"timeout = 1e999", b"d = 0000-00-00", b"a." * 3000 + b"a = 1", b"n = " + b"9" * 5000,
     b"[[milvus]]"]
)  # fmt: skip


@st.composite
def settings_files(draw: st.DrawFn) -> Case:
    """A working folder with a `.env` and an `ichash.toml` of lines in any order, some of them changed."""
    files = {}
    for name, lines in ((".env", _LINES), ("ichash.toml", _TABLES)):
        content = b"\n".join(draw(st.lists(lines, max_size=6)))
        files[name] = draw(changed_bytes(content)) if content and draw(st.booleans()) else content
    return Case("settings", files)


@st.composite
def pictures(draw: st.DrawFn) -> Case:
    """A picture of a format, with changed bytes."""
    return Case("picture", {"x": draw(changed_bytes(draw(st.sampled_from(_pictures()))))}, "x")


@lru_cache
def _pictures() -> tuple[bytes, ...]:
    import io

    from PIL import Image

    found = []
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "ICO", "TGA"):
        target = io.BytesIO()
        Image.new("RGB", (20, 14), (200, 30, 60)).save(target, kind)
        found.append(target.getvalue())
    return tuple(found)


TARGETS: dict[str, st.SearchStrategy[Case]] = {
    "changed parquet": st.deferred(lambda: _features("parquet", _changed("parquet"))),
    "odd parquet": st.deferred(lambda: _features("parquet", odd_tables.parquet_files())),
    "changed npz": st.deferred(lambda: _features("npz", _changed("npz"))),
    "changed arrays of npz": st.deferred(lambda: _features("npz", st.sampled_from(_seeds("npz")).flatmap(changed_npz))),
    "odd npz": st.deferred(lambda: _features("npz", odd_tables.npz_files())),
    "changed HDF5": st.deferred(lambda: _features("h5", _changed("h5"))),
    "odd HDF5": st.deferred(lambda: _features("h5", odd_tables.h5_files())),
    "changed MATLAB v5": st.deferred(lambda: _features("mat", _changed("mat"))),
    "changed MATLAB v7.3": st.deferred(lambda: _features("mat", _changed("mat73"))),
    "odd MATLAB v5": st.deferred(lambda: _features("mat", odd_tables.mat_files())),
    "bundle": bundles(),
    "graph": graphs(),
    "settings": settings_files(),
    "picture": st.deferred(pictures),
}
"""Strategy of each kind of hostile file, by its name."""
