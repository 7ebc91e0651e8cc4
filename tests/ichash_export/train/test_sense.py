"""Settings and features without any sense are refused in one sentence, before a training begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command import refused, run_here
from support.tiny import make_table, write_npz

from ichash_export.train.plan import make_plan, parse_settings
from ichash_export.train.training import train
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["learning_rate=1e10"], r"learning_rate: 1e\+10 is beyond all sense; 10 is the most"),
        (["learning_rate=nan"], r"learning_rate: Input should be a finite number"),
        (["learning_rate=inf"], r"learning_rate: Input should be a finite number"),
        (["batch_size=0"], r"batch_size: Input should be greater than or equal to 2 \(got '0'\)"),
        (["batch_size=1000000"], r"batch_size: 1e\+06 is beyond all sense; 65,536 is the most"),
        (["epochs=1000000000"], r"epochs: 1e\+09 is beyond all sense; 100,000 is the most"),
        (["epochs=0"], "epochs: Input should be greater than or equal to 1"),
        (["hidden=10000000"], r"hidden: 1e\+07 is beyond all sense; 65,536 is the most"),
        (["quantisation=1e30"], r"quantisation: 1e\+30 is beyond all sense; 1,000,000 is the most"),
    ],
)
def test_settings(pairs: list[str], message: str) -> None:
    with pytest.raises(InputError, match=f"method 'unihash': {message}"):
        make_plan(settings=parse_settings(pairs))


@pytest.mark.parametrize(
    ("method", "pairs", "message"),
    [
        ("pmch", ["hidden=[2048, -1]"], "hidden: -1 cannot be; all of these are above 0"),
        ("cich", ["learning_rate=[1e-3, 0]"], "learning_rate: 0 cannot be; all of these are above 0"),
        ("cich", ["learning_rate=[99, 1e-3]"], "learning_rate: 99 is beyond all sense; 10 is the most"),
        ("cich", ["learning_rate=[NaN, 1e-3]"], "learning_rate.0: Input should be a finite number"),
    ],
)
def test_settings_that_are_lists(method: str, pairs: list[str], message: str) -> None:
    with pytest.raises(InputError, match=f"method '{method}': {message}"):
        make_plan(method=method, settings=parse_settings(pairs))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pdr": float("nan")}, "training: pdr: Input should be"),
        ({"validation": float("nan")}, "training: validation: Input should be"),
        ({"seed": -1}, "training: seed: Input should be"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_plan(options=options)


@pytest.mark.usefixtures("tiny_methods")
def test_features_beyond_all_sense() -> None:
    table = make_table(60)
    x = table.features["image"].copy()
    row = int(np.flatnonzero(table.present[:, 0])[5])
    x[row, 3] = -3e38
    with pytest.raises(InputError, match=rf"row {row} has a number as large as 3e\+38 in 'image': mend the value"):
        FeatureTable.build(table.ids, {**table.features, "image": x}, labels=table.labels)
    unchecked = replace(table, features={**table.features, "image": x})
    with pytest.raises(InputError, match=rf"row {row} has a number as large as"):
        train(unchecked, "tiny", 16)


@pytest.mark.usefixtures("tiny_methods")
def test_a_code_length_beyond_all_sense(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "items.npz", make_table(60))
    done = run_here("train", data, "--out", tmp_path / "run", "--method", "tiny", "--bits", 1_000_000)
    assert refused(done, 2, "a code length of 1000000 bits cannot be stored")
    assert not (tmp_path / "run").exists()
