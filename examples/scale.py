"""Milvus under millions of hash codes: how fast they go in, what the index costs, and what searches find by nprobe.

    make server COMMAND="python examples/scale.py --rows 5000000"

Writes synthetic codes, clustered as learned ones are and the same at every run, into a collection of its own on the
server of MILVUS_URI, and prints Markdown tables (docs/scale.md). A machine of 2 cores takes about ten minutes for
5,000,000.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from milvus_ichash.bundle import CodeOutput, Manifest, Modality
from milvus_ichash.codes import Codes, hamming_distance
from milvus_ichash.index.connection import connect
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.index_spec import IndexSpec, default_nlist
from milvus_ichash.settings import load_settings

BITS = 128
BLOCK = 50_000
TOP_K = 10
NPROBES = (1, 2, 4, 8, 16, 32, 64, 128)


def main() -> None:
    """Run it."""
    options = parsed()
    settings = load_settings(timeout=120)
    with connect(settings) as connection:
        print(f"Milvus {connection.server_version}, {options.rows:,} codes of {BITS} bits, {os.cpu_count()} cores\n")
        index = HashIndex.create(connection, options.collection, manifest(), id_kind="int64", recreate=True)
        try:
            write(index, options.rows)
            measure(index, options.rows, options.queries, options.nlist or [default_nlist(options.rows)])
        finally:
            if not options.keep:
                connection.client.drop_collection(options.collection)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--nlist", type=int, action="append", help="repeat it; default: the plugin's")
    parser.add_argument("--collection", default="ichash_scale")
    parser.add_argument("--keep", action="store_true", help="leave the collection there")
    return parser.parse_args()


def manifest() -> Manifest:
    """That of a bundle that would make such codes."""
    return Manifest(
        method="synthetic",
        bits=BITS,
        modalities=(Modality(name="image", dim=1), Modality(name="text", dim=1)),
        codes=(CodeOutput(name="code"),),
        weights_sha256="synthetic",
        opset=0,
    )


def blocks(rows: int, *, seed: int = 0, centres: int = 1000, flipped: float = 0.12) -> Iterator[Codes]:
    """Codes around centres of uneven weight, each bit flipped with probability `flipped`: uint8 (up to 50,000, 16)."""
    middle = np.random.default_rng(12).integers(0, 2, (centres, BITS), np.uint8)
    weight = 1 / np.arange(1, centres + 1) ** 0.5
    rng = np.random.default_rng(seed)
    for start in range(0, rows, BLOCK):
        n = min(BLOCK, rows - start)
        chosen = rng.choice(centres, n, p=weight / weight.sum())
        yield np.packbits(middle[chosen] ^ (rng.random((n, BITS), np.float32) < flipped), axis=1)


def write(index: HashIndex, rows: int) -> None:
    """The first load, and what it took."""
    print("| rows | rows/s (acknowledged) | peak memory of the client, MB |\n|---|---|---|")
    written, seconds, told = 0, 0.0, 0
    for codes in blocks(rows):
        batch = index.batch(np.arange(written, written + len(codes)), {"code": codes}, np.ones((len(codes), 2), bool))
        start = time.perf_counter()
        written += index.write(batch, insert=True)
        seconds += time.perf_counter() - start
        if written - told >= rows // 5 or written == rows:
            megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"| {written:,} | {written / seconds:,.0f} | {megabytes:.0f} |", flush=True)
            told = written
    print()


def measure(index: HashIndex, rows: int, count: int, nlists: list[int]) -> None:
    """Every index: what building it takes, and its searches."""
    (queries,) = blocks(count, seed=1)
    start = time.perf_counter()
    index.wait_until_indexed()
    print(f"Sealed, stored and served from BIN_FLAT after {time.perf_counter() - start:.0f} s.", flush=True)
    start = time.perf_counter()
    kth = exact_distances(index, queries)
    print(f"Read back, checked and ranked here ({count} queries) in {time.perf_counter() - start:.1f} s.\n", flush=True)
    print(
        "| index | nprobe | recall@10 | p50, ms | p95, ms | queries/s | of it our own, ms |\n"
        "|---|---|---|---|---|---|---|"
    )
    report(index, queries, kth, None)
    for nlist in nlists:
        start = time.perf_counter()
        index.reindex(IndexSpec(kind="BIN_IVF_FLAT", nlist=nlist))
        index.wait_until_indexed()
        built = time.perf_counter() - start
        for nprobe in (n for n in (*NPROBES, nlist) if n <= nlist):
            report(index, queries, kth, nprobe)
        print(f"| (built in {built:.0f} s) | | | | | | |")


def exact_distances(index: HashIndex, queries: Codes) -> np.ndarray:
    """Distance of the 10th nearest code of each query, out of the codes in the collection: (Q,)."""
    stored = index.read_back()
    found = []
    for query in queries:
        distances = hamming_distance(query[None], stored.codes["code"])[0]
        found.append(np.partition(distances, TOP_K - 1)[TOP_K - 1])
    return np.array(found)


def report(index: HashIndex, queries: Codes, kth: np.ndarray, nprobe: int | None) -> None:
    """One line: single queries one after the other, ours and the bare client's in turns."""
    spec, client = index.spec, index.connection.client
    params = {"metric_type": "HAMMING", "params": {} if nprobe is None else {"nprobe": nprobe}}

    def bare(query: Codes) -> object:
        # Ours are Bounded too, some seconds after the collection changed.
        return client.search(
            index.collection,
            [query.tobytes()],
            anns_field="code",
            limit=TOP_K,
            search_params=params,
            consistency_level="Bounded",
        )

    ours, own, hits = [], [], 0
    for i, query in enumerate(queries):
        found, seconds = timed(lambda query=query: index.search(query[None], top_k=TOP_K, nprobe=nprobe))
        _, plain = timed(lambda query=query: bare(query))
        if i >= 10:  # the first ones warm up
            ours.append(seconds)
            own.append(seconds - plain)
        hits += int((found.distances[0][: found.counts[0]] <= kth[i]).sum())
    p50, p95 = statistics.median(ours) * 1e3, float(np.percentile(ours, 95)) * 1e3
    name = spec.kind if spec.nlist is None else f"{spec.kind}, nlist {spec.nlist}"
    line = (
        name,
        nprobe or "",
        f"{hits / TOP_K / len(queries):.3f}",
        f"{p50:.2f}",
        f"{p95:.2f}",
        f"{1 / statistics.mean(ours):.0f}",
    )
    print("| " + " | ".join(map(str, line)) + f" | {statistics.median(own) * 1e3:.2f} |", flush=True)


def timed(call: Callable[[], object]) -> tuple[object, float]:
    """What it gives, and its seconds."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


if __name__ == "__main__":
    main()
