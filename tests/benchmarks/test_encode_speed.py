"""HashEncoder against a bare `InferenceSession.run` of the same graph on the same batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from support.timing import in_turns

from milvus_ichash import HashEncoder

BATCH = 1024
DIMS = {"image": 1280, "text": 1000}


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    """A bundle of PMCH's size: 1280 -> 2048 -> 512 and 1000 -> 1024 -> 512, then 64 bits."""
    return make_bundle(modalities=DIMS, bits=64, hidden={"image": (2048, 512), "text": (1024, 512)})


@pytest.fixture
def features() -> dict[str, np.ndarray]:
    """A batch of random features."""
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal((BATCH, dim), np.float32) for name, dim in DIMS.items()}


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "half without text"])
def test_encoding_costs_hardly_more_than_the_graph(
    bundle: Path, features: dict[str, np.ndarray], gaps: bool, benchmark: BenchmarkFixture
) -> None:
    present = np.ones((BATCH, 2), bool)
    if gaps:
        present[::2, 1] = False
        features["text"][::2] = np.nan
    encoder = HashEncoder.load(bundle, device="cpu", batch_size=BATCH)
    session = encoder._session  # the same one: threads of a second would spin beside it
    feeds = {**features, "present": present}
    _, bare, ratio = in_turns(lambda: encoder.encode(**features), lambda: session.run(["code"], feeds), rounds=25)
    codes = benchmark.pedantic(encoder.encode, kwargs=features, rounds=5, warmup_rounds=1)["code"]
    benchmark.extra_info.update(bare_seconds=bare, ratio=ratio)
    print(f"\nencoding {BATCH} rows: {ratio:.2f} x the rate of a bare run ({BATCH / bare:,.0f} rows/s)")
    bare_codes = session.run(["code"], feeds)[0]
    assert np.unpackbits(codes ^ bare_codes).mean() < 1e-4  # a bit near zero may turn
    assert ratio >= 0.9


def test_unihash_encodes_as_fast_as_pmch(
    features: dict[str, np.ndarray], tmp_path: Path, benchmark: BenchmarkFixture
) -> None:
    """The graphs that training makes of the two, at the sizes of `fashion`; what the weights are does not matter."""
    from support.tiny import make_table

    from ichash_export.onnx.to_onnx import export_bundle
    from ichash_export.train.training import train

    table = make_table(300, dims={"image": 1280, "text": 1000})
    encoders = {}
    for method in ("unihash", "pmch"):
        export_bundle(train(table, method, 64, settings={"epochs": 1}), tmp_path / method)
        encoders[method] = HashEncoder.load(tmp_path / method, device="cpu", batch_size=BATCH)
    _, pmch, ratio = in_turns(*(lambda e=encoder: e.encode(**features) for encoder in encoders.values()), rounds=25)  # type: ignore[misc]
    benchmark.pedantic(encoders["unihash"].encode, kwargs=features, rounds=5, warmup_rounds=1)
    benchmark.extra_info.update(pmch_seconds=pmch, ratio=ratio)
    print(f"\nunihash encodes {BATCH} rows at {ratio:.2f} x the rate of pmch ({BATCH / pmch:,.0f} rows/s)")
    assert ratio >= 1
