"""What a parquet file says of the sizes of its columns, before a page of it is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

_BYTES = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}


def declared_bytes(file: pq.ParquetFile) -> int:
    """Return the bytes that all columns take in memory, without text that many rows share through a dictionary."""
    lengths = {file.schema.column(place).path: file.schema.column(place).length for place in range(len(file.schema))}
    # Arrow keeps 4 bytes and more for each row of a column, whatever is in it.
    return sum(
        max(
            chunk.num_values * max(4, _BYTES.get(chunk.physical_type, 0), lengths[chunk.path_in_schema] or 0),
            chunk.total_uncompressed_size,
        )
        for chunk in _chunks(file)
    )


def text_with_dictionary(file: pq.ParquetFile) -> tuple[list[str], dict[str, int]]:
    """Return the columns whose text is stored as numbers of a dictionary's entries, which rows share.

    The first are the columns of single strings, which Arrow can hand out as they are stored. The second are columns
    with strings in lists or structs, each with the bytes that the text of a row may have, on average, at the most.
    """
    names, flat, nested = file.schema_arrow.names, set(), dict[str, int]()
    for chunk in _chunks(file):
        if chunk.physical_type != "BYTE_ARRAY" or not chunk.has_dictionary_page:
            continue
        path = chunk.path_in_schema
        if path in names:
            flat.add(path)
        for name in names:
            if path.startswith(f"{name}."):
                bound = chunk.total_uncompressed_size * max(1, chunk.num_values // max(1, file.metadata.num_rows))
                nested[name] = max(nested.get(name, 0), bound)
    return sorted(flat), nested


def _chunks(file: pq.ParquetFile) -> Iterator[Any]:
    metadata = file.metadata
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        yield from (row_group.column(place) for place in range(row_group.num_columns))
