"""`milvus-ichash --help`, from a process of its own."""

from __future__ import annotations

import subprocess
import sys

from pytest_benchmark.fixture import BenchmarkFixture


def test_help_comes_within_half_a_second(benchmark: BenchmarkFixture) -> None:
    command = [sys.executable, "-m", "milvus_ichash", "--help"]
    benchmark.pedantic(
        subprocess.run, args=(command,), kwargs={"check": True, "stdout": subprocess.DEVNULL}, rounds=7, warmup_rounds=1
    )
    print(f"\n--help: median {benchmark.stats.stats.median:.3f} s")
    assert benchmark.stats.stats.median < 0.5
