"""How columns are found by their names, and what is said where that does not work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.array_files import save_h5, save_npz, save_v5

from milvus_ichash.errors import InputError
from milvus_ichash.io import ColumnNames, open_source
from milvus_ichash.io.column_rules import likely_ids

COLUMNS = {
    "id": np.array(["a", "b", "c"]),
    "x": np.eye(3),
    "y": np.ones((3, 2)),
    "labels": np.arange(3),
    "n": np.arange(3.0),
}
NAMES = st.sampled_from([*COLUMNS, "", "z", "X", "présent\x00"])


def save_parquet(path: Path, **columns: np.ndarray) -> Path:
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


@pytest.fixture(scope="module", params=[save_npz, save_parquet, save_h5, save_v5])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    columns = {k: np.char.encode(v) if request.param is save_h5 and k == "id" else v for k, v in COLUMNS.items()}
    saved: Path = request.param(tmp_path_factory.mktemp("data") / "a", **columns)
    return saved


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    modalities=st.none() | st.dictionaries(NAMES, NAMES, max_size=3),
    ids=st.none() | NAMES,
    labels=st.none() | NAMES,
)
def test_any_column_names_are_read_or_refused(
    file: Path, modalities: dict[str, str] | None, ids: str | None, labels: str | None
) -> None:
    try:
        source = open_source(file, columns=ColumnNames(modalities, ids, labels))
        table = source.read()
    except InputError as error:
        assert str(file) in str(error)
    else:
        assert len(table) == 3
        assert list(table.dims) == list(source.info.dims)


def test_no_modality_at_all(file: Path) -> None:
    with pytest.raises(InputError, match="no modality is named"):
        open_source(file, columns=ColumnNames(modalities={}))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["image", "ID"], "ID"),
        (["image", "Ids", "item_id"], "Ids"),
        (["image", "item_id"], "item_id"),
        (["image", "uuid"], "uuid"),
        (["image", "__index_level_0__"], "__index_level_0__"),
        (["image", "width", "paid", "valid"], None),
    ],
)
def test_the_column_that_most_likely_holds_the_ids(columns: list[str], expected: str | None) -> None:
    assert likely_ids(columns) == expected
