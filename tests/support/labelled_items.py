"""Feature tables with gaps and labels, small enough to check by hand, and collections made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from support.exact import exact

from milvus_ichash.features import FeatureTable
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.index_spec import IndexSpec
from milvus_ichash.runtime.encoder import HashEncoder

CLASSES = 4


def items(
    rows: int,
    *,
    seed: int = 0,
    dims: dict[str, int] | None = None,
    gaps: float = 0.3,
    first_id: int = 0,
    words: bool = False,
) -> FeatureTable:
    """Random features around one centre for each class, so that rankings are neither perfect nor random.

    A share `gaps` of the rows lacks a modality.

    Ids are `first_id` + row number (as "item 7" with `words`), shuffled, so that the order of ids is not that of rows.
    """
    dims = dims or {"image": 12, "text": 8}
    rng = np.random.default_rng(seed)
    labels = (rng.random((rows, CLASSES)) < 0.3).astype(np.uint8)
    centres = np.random.default_rng(99)
    features = {
        m: exact(labels @ centres.standard_normal((CLASSES, d)) + rng.standard_normal((rows, d)))
        for m, d in dims.items()
    }
    present = np.ones((rows, len(dims)), bool)
    lacking = np.flatnonzero(rng.random(rows) < gaps)
    present[lacking, rng.integers(0, len(dims), len(lacking))] = len(dims) < 2
    numbers = first_id + rng.permutation(rows)
    ids = np.array([f"item {n}" for n in numbers], object) if words else numbers
    return FeatureTable.build(ids, features, present=present, labels=labels)


def ingest(
    connection: Connection,
    name: str,
    encoder: HashEncoder,
    table: FeatureTable,
    *,
    labels: bool = True,
    codes: Sequence[str] | None = None,
    index: IndexSpec | None = None,
) -> HashIndex:
    """A new collection with the codes of a table, all or some of them, as long as the encoder makes them."""
    kind = "str" if table.ids.dtype == object else "int64"
    made = HashIndex.create(
        connection, name, encoder.manifest, id_kind=kind, codes=codes, index=index, bits=encoder.bits
    )
    names = encoder.manifest.label_names or range(table.labels.shape[1])
    lists = [[names[i] for i in np.flatnonzero(row).tolist()] for row in table.labels] if labels else None
    found = encoder.encode_table(table)
    made.upsert(table.ids, {code: found[code] for code in made.codes}, table.present, lists)
    return made


def write_npz(path: Path, table: FeatureTable) -> Path:
    """The table as a file that `open_source` reads, gaps as rows of NaN."""
    features = {m: np.where(table.present[:, [i]], x, np.nan) for i, (m, x) in enumerate(table.features.items())}
    np.savez(
        path, id=table.ids.astype(str) if table.ids.dtype == object else table.ids, labels=table.labels, **features
    )
    return path
