"""Parquet files: one row per item, and a list column of numbers for each modality, null where the item lacks it.

Columns are found by name and type: `id` (or `ids`, `_id`; strings or whole numbers; without it the row number is the
id), `labels` (or `label`; `parquet_labels` lists its forms), every other list column of numbers as a modality under its
own name, and what can be stored (`parquet_payload`) as payload. Binary columns, maps, and list columns of numbers that
are null everywhere are left out, and named in `SourceInfo.left_out`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable, Ids
from milvus_ichash.io import parquet_columns
from milvus_ichash.io.column_rules import ID_NAMES, LABEL_NAMES, pick, pick_modalities
from milvus_ichash.io.feature_source import ColumnNames, FeatureSource, SourceInfo, numbered_ids, reading
from milvus_ichash.io.parquet_labels import ParquetLabels, scan
from milvus_ichash.io.parquet_payload import to_payload, why_left_out
from milvus_ichash.io.parquet_sizes import declared_bytes, text_with_dictionary
from milvus_ichash.io.unpacking import check_unpacked, check_width

_PARQUET = ("parquet", (pa.ArrowException, OSError, UnicodeDecodeError))
_STREAM_BYTES = 1 << 20
"""Read-ahead per column. Without it Arrow reads a column of a whole row group (often the whole file) into memory."""
_CHUNK_BYTES = 16 << 20
"""Bytes of features that are decoded at a time."""
_COLUMN_ROWS, _PAYLOAD_ROWS = 65_536, 4096
_TEXT_BYTES = 1 << 30
"""Bytes of text in lists and structs that are decoded at a time, if all rows had the longest entry of a dictionary."""


class ParquetSource(FeatureSource):
    """A parquet file as a stream of feature tables; memory does not grow with the file or its row groups."""

    def __init__(self, path: Path, columns: ColumnNames) -> None:
        self._path = path
        self._dictionaries: list[str] = []
        self._row_bytes: dict[str, int] = {}
        with reading(path, *_PARQUET):
            with self._open() as file:
                schema: pa.Schema = file.schema_arrow
                rows: int = file.metadata.num_rows
                check_unpacked(declared_bytes(file), [path])
                self._dictionaries, self._row_bytes = text_with_dictionary(file)
            kinds: dict[str, pa.DataType] = {field.name: field.type for field in schema}
            if len(kinds) < len(schema):
                raise InputError("several columns have the same name.")
            if not rows:
                raise InputError("the file holds no rows.")
            self._id = pick(kinds, columns.id, ID_NAMES, "ids")
            label_column = pick(kinds, columns.labels, LABEL_NAMES, "labels")
            rest = {name: kind for name, kind in kinds.items() if name not in (self._id, label_column)}
            self._modalities = pick_modalities(
                kinds,
                {name: name for name, kind in rest.items() if parquet_columns.is_vector(kind)},
                columns.modalities,
            )
            dims = self._drop_empty(kinds, asked_for=columns.modalities is not None)
            check_width(dims)
            self._labels = None if label_column is None else self._scan(label_column, kinds[label_column])
        others = {
            name: why_left_out(name, kind) for name, kind in rest.items() if name not in self._modalities.values()
        }
        self.info = SourceInfo(
            path=path,
            rows=rows,
            dims=dims,
            id_kind="str" if self._id is not None and parquet_columns.is_text(kinds[self._id]) else "int64",
            classes=None if self._labels is None else self._labels.rule.classes,
            label_names=None if self._labels is None else self._labels.rule.names,
            payload=tuple(name for name, why in others.items() if why is None),
            left_out={name: why for name, why in others.items() if why is not None},
            numbered=self._id is None,
            columns=tuple(kinds),
        )
        if self._id is not None:
            next(self.ids())

    def ids(self) -> Iterator[Ids]:
        """Yield the ids alone."""
        if self._id is None:
            yield from numbered_ids(0, self.info.rows, _COLUMN_ROWS)
            return
        with reading(self._path, *_PARQUET):
            for first_row, batch in self._stream([self._id], _COLUMN_ROWS):
                yield parquet_columns.to_ids(batch.column(self._id), self._id, first_row)

    def payload_blocks(self, names: Sequence[str]) -> Iterator[tuple[int, dict[str, Sequence[Any]]]]:
        """Yield these payload columns alone."""
        with reading(self._path, *_PARQUET):
            for first_row, batch in self._stream(list(names), _PAYLOAD_ROWS):
                yield first_row, {name: to_payload(batch.column(name)) for name in names}

    def pieces(self, size: int, start: int) -> Iterator[FeatureTable]:
        """Yield the rows from `start` on, no more at a time than decode to 16 MiB of features."""
        info = self.info
        chunk = max(1, min(size, _CHUNK_BYTES // (4 * sum(info.dims.values()))))
        names = [*self._modalities.values(), *info.payload]
        names += [] if self._id is None else [self._id]
        names += [] if self._labels is None else [self._labels.column]
        with reading(self._path, *_PARQUET):
            for first_row, batch in self._stream(names, chunk, start):
                yield self._table(batch, first_row)

    def _table(self, batch: pa.RecordBatch, first_row: int) -> FeatureTable:
        info, rows = self.info, batch.num_rows
        labels, labelled = (
            (None, None) if self._labels is None else self._labels.read(batch.column(self._labels.column), first_row)
        )
        ids = (
            np.arange(first_row, first_row + rows)
            if self._id is None
            else parquet_columns.to_ids(batch.column(self._id), self._id, first_row)
        )
        return FeatureTable.build(
            ids,
            {
                m: parquet_columns.to_vectors(batch.column(c), info.dims[m], c, first_row)
                for m, c in self._modalities.items()
            },
            labels=labels,
            labelled=labelled,
            label_names=info.label_names,
            payload={name: to_payload(batch.column(name)) for name in info.payload},
            first_row=first_row,
        )

    def _open(self) -> pq.ParquetFile:
        return pq.ParquetFile(
            self._path,
            pre_buffer=False,
            buffer_size=_STREAM_BYTES,
            page_checksum_verification=True,
            # Else one long text that all rows share would be written out for each of them.
            read_dictionary=self._dictionaries,
        )

    def _stream(self, names: list[str], rows: int, start: int = 0) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield record batches of at most `rows` rows, from row `start` on, each after the number of its first row."""
        unpacked = 0
        row_bytes = sum(self._row_bytes.get(name, 0) for name in names)
        if row_bytes:
            rows = max(1, min(rows, _TEXT_BYTES // row_bytes))
        with self._open() as file:
            first, group = 0, 0
            while group < file.num_row_groups and first + file.metadata.row_group(group).num_rows <= start:
                first += file.metadata.row_group(group).num_rows
                group += 1
            groups = list(range(group, file.num_row_groups))
            # Without groups, Arrow would read all of them.
            for batch in file.iter_batches(rows, row_groups=groups, columns=names) if groups else ():
                # The sizes that the file declares need not be true.
                unpacked += sum(map(parquet_columns.unpacked_bytes, batch.columns))
                check_unpacked(unpacked, [self._path])
                skip = min(max(start - first, 0), batch.num_rows)
                if skip < batch.num_rows:
                    yield first + skip, batch.slice(skip)
                first += batch.num_rows

    def _drop_empty(self, kinds: dict[str, pa.DataType], *, asked_for: bool) -> dict[str, int]:
        """Return the feature sizes of the modalities.

        A modality without a single vector is left out; it is refused where it was asked for, or where none is left.
        """
        dims = {modality: self._size(column, kinds[column]) for modality, column in self._modalities.items()}
        empty = [column for modality, column in self._modalities.items() if not dims[modality]]
        if empty and (asked_for or len(empty) == len(dims)):
            raise InputError(f"no row has a vector in {', '.join(empty)}: there are no features to read.")
        self._modalities = {modality: column for modality, column in self._modalities.items() if dims[modality]}
        return {modality: dims[modality] for modality in self._modalities}

    def _size(self, column: str, kind: pa.DataType) -> int:
        """Return the length of the column's vectors, from its first row that has one; 0 where none has."""
        if pa.types.is_fixed_size_list(kind):
            return int(kind.list_size)
        for _, batch in self._stream([column], 256):
            counts = parquet_columns.lengths(batch.column(column))
            if counts.any():
                return int(counts[counts > 0][0])
        return 0

    def _scan(self, column: str, kind: pa.DataType) -> ParquetLabels | None:
        return scan(column, kind, (batch.column(column) for _, batch in self._stream([column], _COLUMN_ROWS)))
