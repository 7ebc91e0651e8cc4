from __future__ import annotations

import numpy as np
import pytest

from milvus_ichash.index.id_rows import rows_of


@pytest.mark.parametrize(
    ("table", "ids", "rows"),
    [
        ([10, 11, 13], [13, 12, 10, 9, 14], [2, -1, 0, -1, -1]),  # dense: looked up in an array
        ([1 - 2**63, -5, 2**63 - 1], [-5, 0, 2**63 - 1, 1 - 2**63], [1, -1, 2, 0]),  # sparse: searched
        ([], [3], [-1]),
        (["a", "é", "z"], ["z", "b", "a"], [2, -1, 0]),
        ([], ["a"], [-1]),
    ],
)
def test_rows_of_ids(table: list[int | str], ids: list[int | str], rows: list[int]) -> None:
    kind = object if isinstance(ids[0], str) else np.int64
    find = rows_of(np.array(table, kind))
    assert find(np.array(ids, kind)).tolist() == rows
    assert find(np.array([], object)).tolist() == []  # as pymilvus gives no hits, whatever the kind of the ids
