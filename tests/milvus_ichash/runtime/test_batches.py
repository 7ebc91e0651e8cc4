"""Batches are halved where memory does not suffice; the codes stay the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.exact import exact

from milvus_ichash.errors import InputError
from milvus_ichash.runtime.encoder import HashEncoder
from milvus_ichash.runtime.onnxruntime_module import warn_once

MakeBundle = Callable[..., Path]
FULL = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running MatMul node. Name:'' "
    "Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* "
    "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 9"
)


class SmallGpu:
    """A session with memory for a few rows only."""

    def __init__(self, session: Any, most: int) -> None:
        self.session, self.most = session, most
        self.sizes: list[int] = []

    def run(self, outputs: Any, feeds: dict[str, np.ndarray], options: Any) -> Any:
        rows = len(next(iter(feeds.values())))
        self.sizes.append(rows)
        if rows > self.most:
            raise RuntimeError(FULL)
        return self.session.run(outputs, feeds, options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


def items(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"image": exact(rng.standard_normal((n, 12))), "text": exact(rng.standard_normal((n, 8)))}


@pytest.fixture(autouse=True)
def heard_nothing() -> None:
    warn_once.cache_clear()


@pytest.mark.parametrize("most", [1, 3, 20, 64])
def test_codes_do_not_change_with_the_memory(
    make_bundle: MakeBundle, most: int, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = HashEncoder.load(make_bundle(), batch_size=64)
    expected = encoder.encode(**items(100))["code"]
    encoder._session = small = SmallGpu(encoder._session, most)  # type: ignore[assignment]
    assert np.array_equal(encoder.encode(**items(100))["code"], expected)
    assert encoder.batch_size == max(size for size in (64, 32, 16, 8, 4, 2, 1) if size <= most)
    # What fitted once is not tried again.
    assert small.sizes.count(64) == (2 if most == 64 else 1) - (most == 64)
    assert len(caplog.records) == small.sizes.index(encoder.batch_size)
    for record in caplog.records[:1]:
        assert record.getMessage() == "the memory does not suffice for batches of 64 rows: going on with 32."


@pytest.mark.parametrize(
    ("device", "cure"), [("cpu", "the memory does not suffice.*free some"), ("cuda", "the GPU's memory.*nvidia-smi")]
)
def test_a_single_row_that_does_not_fit(make_bundle: MakeBundle, device: Any, cure: str) -> None:
    encoder = HashEncoder.load(make_bundle())
    encoder._session = SmallGpu(encoder._session, 0)  # type: ignore[assignment]
    encoder._batches.device = device
    with pytest.raises(InputError, match=rf"{cure}") as caught:
        encoder.encode(**items(5))
    assert "\n" not in str(caught.value) and "a single row" in str(caught.value)


def test_other_failures_are_not_tried_again(make_bundle: MakeBundle) -> None:
    encoder = HashEncoder.load(make_bundle())
    encoder._session = small = SmallGpu(encoder._session, 99)  # type: ignore[assignment]
    small.session = None
    with pytest.raises(InputError, match="cannot run the graph on a batch of 5 rows"):
        encoder.encode(**items(5))
    assert small.sizes == [5]


def test_pictures_go_through_their_tower_in_smaller_batches_too(make_bundle: MakeBundle, tmp_path: Path) -> None:
    encoder = HashEncoder.load(make_bundle(pictures={"image": 8}))
    paths = [tmp_path / f"{i}.png" for i in range(9)]
    for i, path in enumerate(paths):
        Image.new("RGB", (8, 8), (20 * i, 90, 200)).save(path)
    _, expected = encoder.raw.pictures(paths)
    encoder.raw._towers = {name: SmallGpu(tower, 2) for name, tower in encoder.raw._towers.items()}  # type: ignore[misc]
    _, found = encoder.raw.pictures(paths)
    assert np.allclose(found, expected, rtol=1e-6)


def test_memory_of_onnxruntime_that_really_ends(make_bundle: MakeBundle) -> None:
    """The allocator of the CPU can have a limit; its error is the one that the GPU's gives."""
    program = """
import json, sys
import numpy as np
import onnxruntime as ort
from milvus_ichash.runtime import session
from milvus_ichash.runtime.encoder import HashEncoder

place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
limited = ort.OrtArenaCfg({"max_mem": 6 << 20, "arena_extend_strategy": 1})
ort.create_and_register_allocator(place, limited)
features = {"image": np.ones((4096, 512), np.float32), "text": -np.ones((4096, 256), np.float32)}
sizes, codes, usual = [], [], ort.SessionOptions
for shared in ("0", "1"):
    class Options(usual):
        def __init__(self):
            super().__init__()
            self.add_session_config_entry("session.use_env_allocators", shared)
    session.load_onnxruntime().SessionOptions = Options
    encoder = HashEncoder.load(sys.argv[1], device="cpu", batch_size=4096)
    codes.append(encoder.encode(**features)["code"])
    sizes.append(encoder.batch_size)
print(json.dumps([sizes, bool(np.array_equal(*codes))]))
"""
    bundle = make_bundle(modalities={"image": 512, "text": 256}, hidden={"image": [512], "text": [512]})
    done = subprocess.run(
        [sys.executable, "-c", program, str(bundle)], env=os.environ, capture_output=True, text=True, check=True
    )
    (usual, limited), same = json.loads(done.stdout)
    assert (usual, same) == (4096, True)
    assert 1 <= limited < 4096
    assert "going on with" in done.stderr and "onnxruntime:" not in done.stderr
