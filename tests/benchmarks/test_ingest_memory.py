"""Peak memory of an ingest from parquet: 200,000 rows of 1280 + 1000 features against 50,000."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pytest_benchmark.fixture import BenchmarkFixture

DIMS = {"image": 1280, "text": 1000}
STEP = 10_000

INGEST = """
import json, resource, sys
from milvus_ichash.cli import main
sys.argv = ["milvus-ichash", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def write(path: Path, rows: int) -> None:
    """Random features, in row groups as a writer of large files would make them."""
    rng = np.random.default_rng(0)
    schema = pa.schema([("id", pa.int64()), *((name, pa.list_(pa.float32(), dim)) for name, dim in DIMS.items())])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, rows, STEP):
            columns = {"id": pa.array(range(start, start + STEP))}
            for name, dim in DIMS.items():
                columns[name] = pa.FixedSizeListArray.from_arrays(
                    pa.array(rng.standard_normal(STEP * dim, np.float32)), dim
                )
            writer.write_table(pa.table(columns, schema=schema), row_group_size=STEP)


def peak_of(bundle: Path, folder: Path, rows: int) -> int:
    """Peak resident memory of the ingesting process in bytes."""
    data = folder / f"{rows}.parquet"
    write(data, rows)
    command = [
        sys.executable,
        "-c",
        INGEST,
        "ingest",
        str(data),
        "--bundle",
        str(bundle),
        "--uri",
        str(folder / f"{rows}.db"),
        "--quiet",
    ]
    done = subprocess.run([*command, "--format", "jsonl"], check=True, capture_output=True, text=True)
    data.unlink()
    written, peak = (json.loads(line) for line in done.stdout.splitlines())
    assert written["written"] == rows
    return int(peak["peak"])


def test_memory_does_not_grow_with_the_file(
    make_bundle: Callable[..., Path], tmp_path: Path, benchmark: BenchmarkFixture
) -> None:
    bundle = make_bundle(modalities=DIMS, bits=64)
    small = peak_of(bundle, tmp_path, 50_000)
    large = benchmark.pedantic(peak_of, args=(bundle, tmp_path, 200_000), rounds=1)
    benchmark.extra_info.update(peak_50k=small, peak_200k=large)
    print(f"\npeak of an ingest: 50,000 rows {small / 1e6:.0f} MB, 200,000 rows {large / 1e6:.0f} MB")
    assert large <= 1.1 * small
    assert large < 1.5e9
