"""Files for Milvus's bulk import: parquet in the layout that it reads, and beside them what `import` must know.

    part-00000.parquet ...   id, a list of uint8 for each code, has_<modality>, and `$meta`: labels and payload as JSON
    import.json              `ImportManifest`: the collection's description, the kind of ids, each file with its sha256

Every file is written under another name and renamed when it is whole, import.json after all others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from milvus_ichash.bundle import PlainName, check_file, sha256_of
from milvus_ichash.choices import IdKind
from milvus_ichash.errors import InputError, writing
from milvus_ichash.index.batch import Batch
from milvus_ichash.index.description import Description
from milvus_ichash.index.field_names import ID, META, has
from milvus_ichash.strict_model import StrictModel

MANIFEST = "import.json"
FILE_ROWS = 1_000_000
FILE_BYTES = 256 << 20
"""Most bytes of a file before compression: a server reads it in pieces, but imports it as a whole or not at all."""

_GROUP_ROWS = 65_536
_KEY = b"ichash"
"""Of the metadata in which each file says what it belongs to."""
_PARTIAL = ".partial"


class ImportFile(StrictModel):
    """One file, by its plain name."""

    name: PlainName
    rows: int = Field(ge=1)
    bytes: int
    sha256: str


class ImportManifest(StrictModel):
    """Contents of `import.json`."""

    format: Literal[1] = 1
    description: Description
    id_kind: IdKind
    rows: int
    files: tuple[ImportFile, ...]


class Content(StrictModel):
    """What the rows of the files are: a run goes on only with files that hold the same."""

    description: Description
    id_kind: IdKind
    fields: tuple[str, ...] | None
    labels: bool


def _arrow_schema(content: Content) -> pa.Schema:
    """Return the columns of the files, which are called as Milvus's fields."""
    return pa.schema(
        [
            pa.field(ID, pa.string() if content.id_kind == "str" else pa.int64(), nullable=False),
            *(pa.field(code, pa.list_(pa.uint8())) for code in content.description.codes),
            *(pa.field(has(modality), pa.bool_()) for modality in content.description.modalities),
            pa.field(META, pa.string()),
        ],
        metadata={_KEY: content.model_dump_json()},
    )


def _arrow_table(batch: Batch, schema: pa.Schema) -> pa.Table:
    """Return the items of a batch as rows of the files."""
    columns: list[Any] = [pa.array(batch.ids, schema.field(ID).type)]
    for codes in batch.codes.values():
        ends = range(0, codes.size + 1, codes.shape[1])
        columns.append(pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(codes.reshape(-1))))
    columns += [pa.array(values, pa.bool_()) for values in batch.present.values()]
    columns.append(pa.array(batch.meta, pa.binary()).cast(pa.string()))
    return pa.Table.from_arrays(columns, schema=schema)


class PartWriter:
    """Writes batches into files of bounded size, each of which gets its name when it is whole.

    Args:
        folder: where they go.
        content: what they hold.
        number: of the first file.
        rows: most rows of a file; batches that are larger are cut.
    """

    def __init__(self, folder: Path, content: Content, number: int, rows: int = FILE_ROWS) -> None:
        self._folder, self._schema, self._number, self._most = folder, _arrow_schema(content), number, rows
        self._file: pq.ParquetWriter | None = None
        self._held: list[pa.Table] = []
        self._rows = self._bytes = 0

    def write(self, batch: Batch) -> int:
        """Write items; return the number of rows in the files that are whole now and were not before.

        Raises:
            InputError: the disk does not take them.
        """
        kept = 0
        with writing(f"'{self._folder}'"):
            table = _arrow_table(batch, self._schema)
            while len(table):
                part = table.slice(0, self._most - self._rows)
                table = table.slice(len(part))
                self._held.append(part)
                self._rows += len(part)
                self._bytes += part.nbytes
                if sum(map(len, self._held)) >= _GROUP_ROWS:
                    self._write_held()
                if self._rows >= self._most or self._bytes >= FILE_BYTES:
                    kept += self._finish()
        return kept

    def close(self) -> int:
        """Finish the last file; return the number of its rows."""
        with writing(f"'{self._folder}'"):
            return self._finish()

    def _finish(self) -> int:
        if not self._rows:
            return 0
        self._write_held()
        file, self._file = self._file, None
        if file is not None:
            file.close()
        _publish(self._path)
        kept, self._rows, self._bytes = self._rows, 0, 0
        self._number += 1
        return kept

    def _write_held(self) -> None:
        if not self._held:
            return
        if self._file is None:
            # Codes look random: a dictionary of them only takes space.
            plain = [name for name in self._schema.names if not pa.types.is_list(self._schema.field(name).type)]
            self._file = pq.ParquetWriter(f"{self._path}{_PARTIAL}", self._schema, use_dictionary=plain)
        self._file.write_table(pa.concat_tables(self._held))
        self._held = []

    @property
    def _path(self) -> Path:
        return self._folder / f"part-{self._number:05d}.parquet"


def parts_in(folder: Path) -> list[Path]:
    """Return the whole files in the folder, in their order; remove a file that is not whole."""
    with writing(f"'{folder}'"):
        for left in (*folder.glob(f"part-*.parquet{_PARTIAL}"), folder / f"{MANIFEST}{_PARTIAL}"):
            left.unlink(missing_ok=True)
    return sorted(folder.glob("part-*.parquet"))


def content_of(part: Path) -> Content | None:
    """Return what a file says that it holds, or None where it is not one of ours."""
    try:
        return Content.model_validate_json((pq.read_schema(part).metadata or {}).get(_KEY, b""))
    except (ValidationError, pa.ArrowInvalid):
        return None


def holds_just(part: Path, batches: Iterator[Batch], content: Content) -> bool:
    """Return True where the rows of a file are just the first ones of these batches; draws no more than it needs."""
    schema = _arrow_schema(content)
    written, row = pq.read_table(part).cast(schema), 0
    while row < len(written):
        wanted = _arrow_table(next(batches), schema).slice(0, len(written) - row)
        if not wanted.equals(written.slice(row, len(wanted))):
            return False
        row += len(wanted)
    return True


def rows_of(part: Path) -> int:
    """Return the number of rows in a file."""
    return int(pq.read_metadata(part).num_rows)


def some_rows(part: Path, manifest: ImportManifest, step: int) -> Batch:
    """Return every `step`-th row of a file, as a batch to compare with what is stored."""
    table = pq.read_table(part)
    table = table.take(list(range(0, len(table), step)))
    described = manifest.description
    return Batch(
        ids=table.column(ID).to_pylist(),
        codes={name: np.array(table.column(name).to_pylist(), np.uint8) for name in described.codes},
        present={name: table.column(name).to_pylist() for name in map(has, described.modalities)},
        dynamic={},
        encoded=[text.encode() for text in table.column(META).to_pylist()],
    )


def ids_of(part: Path) -> list[Any]:
    """Return the ids in a file, in its order."""
    ids: list[Any] = pq.read_table(part, columns=[ID]).column(ID).to_pylist()
    return ids


def write_manifest(folder: Path, content: Content, parts: Sequence[Path]) -> None:
    """Write `import.json` for these files."""
    files = tuple(
        ImportFile(
            name=part.name, rows=pq.read_metadata(part).num_rows, bytes=part.stat().st_size, sha256=sha256_of(part)
        )
        for part in parts
    )
    manifest = ImportManifest(
        description=content.description, id_kind=content.id_kind, rows=sum(file.rows for file in files), files=files
    )
    with writing(f"'{folder}'"):
        Path(f"{folder / MANIFEST}{_PARTIAL}").write_text(
            manifest.model_dump_json(indent=2) + "\n", "utf-8", newline="\n"
        )
        _publish(folder / MANIFEST)


def read_manifest(folder: Path) -> ImportManifest:
    """Read `import.json`, and compare each file with it.

    Raises:
        InputError: names what is not there, cannot be read, or is not as it was written.
    """
    path = folder / MANIFEST
    if not path.is_file():
        unfinished = next(folder.glob("part-*"), None) if folder.is_dir() else None
        hint = (
            "its `ingest --to-parquet` was cut off: go on with --resume"
            if unfinished
            else "it is made by `ingest --to-parquet`"
        )
        raise InputError(f"'{folder}' has no {MANIFEST}: {hint}.")
    try:
        manifest = ImportManifest.model_validate_json(path.read_text("utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(
            f"'{path}' does not describe files to import: make them again with `ingest --to-parquet`."
        ) from error
    for file in manifest.files:
        check_file(folder / file.name, file.sha256, "copy it again, or make the files again with `ingest --to-parquet`")
    return manifest


def _publish(path: Path) -> None:
    """Give a file its name, now that all of it is written and on the disk."""
    partial = Path(f"{path}{_PARTIAL}")
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.rename(path)
