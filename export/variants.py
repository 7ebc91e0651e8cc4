"""Train variants of a method with several seeds and measure each on the queries: the tables of docs/results.md.

    python export/variants.py DATA --recipe pmch/fashion --variant full --variant none:completion=none \\
        --seeds 0,1,2 --results docs/results/fashion.jsonl

Every run is one JSON line of the results file: a run that is there already is not made again, so that an interrupted table
goes on where it stopped. The table on stdout is the mean (and standard deviation) of tie-aware mAP@all over the seeds, of the
bundle that a user would get, with exact rankings of the whole retrieval split.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from ichash_export.plan import Plan, make_plan, parse_settings
from ichash_export.to_onnx import export_bundle
from ichash_export.training import train
from milvus_ichash.cli.options import mapping
from milvus_ichash.evaluation.harness import evaluate
from milvus_ichash.evaluation.retrievers import ExactRetriever
from milvus_ichash.io import Columns, open_source
from milvus_ichash.runtime.encoder import HashEncoder

Line = dict[str, Any]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="feature file with query, retrieval and train splits")
    parser.add_argument("--recipe", required=True, help="settings that all variants share")
    parser.add_argument("--variant", action="append", required=True, metavar="NAME[:KEY=VALUE,...]", help="settings that differ; repeat it")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--bits", type=int)
    parser.add_argument("--pdr", type=float)
    parser.add_argument("--level", choices=["easy", "medium", "hard"])
    parser.add_argument("--modality", action="append", metavar="NAME=COLUMN")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines, one a run")
    return parser.parse_args()


def plan_of(args: argparse.Namespace, variant: str, seed: int) -> Plan:
    settings = parse_settings([pair for pair in variant.partition(":")[2].split(",") if pair])
    return make_plan(recipe=args.recipe, bits=args.bits, settings=settings, options={"seed": seed, "pdr": args.pdr, "level": args.level})


def identity(args: argparse.Namespace, variant: str, plan: Plan) -> Line:
    """What makes two runs the same."""
    return {
        "data": args.data.stem,
        "method": plan.method,
        "variant": variant.partition(":")[0],
        "bits": plan.bits,
        "settings": plan.settings,
        "training": plan.options.model_dump(mode="json"),
    }


def run(args: argparse.Namespace, plan: Plan) -> Line:
    """Train, export to a bundle, and measure it."""
    columns = Columns(mapping(args.modality, "--modality"))
    table = open_source(args.data, split="train", columns=columns).read()
    began = time.perf_counter()
    trained = train(table, plan.method, plan.bits, settings=plan.settings, options=plan.options)
    seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        manifest = export_bundle(trained, Path(folder) / "bundle")
        encoder = HashEncoder.load(Path(folder) / "bundle", device="cpu")
        database = ExactRetriever.encode(encoder, open_source(args.data, split="retrieval", columns=columns))
        result = evaluate(encoder, open_source(args.data, split="query", columns=columns).read(), database).to_dict()
    cells = {name: round(cell["metrics"]["mAP@all"], 5) for name, cell in result["cells"].items()}
    return {
        "map": cells,
        "validation": trained.validation_map,
        "kept_epoch": trained.summary["kept_epoch"],
        "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "fingerprint": manifest.fingerprint,
        "torch": torch.__version__,
    }


def done_before(results: Path) -> list[Line]:
    return [json.loads(line) for line in results.read_text("utf-8").splitlines()] if results.exists() else []


def table(lines: list[Line]) -> str:
    """A Markdown table: one row a variant, mean ± standard deviation over its seeds."""
    variants = list(dict.fromkeys((line["method"], line["variant"]) for line in lines))
    tasks = list(dict.fromkeys(task for line in lines for task in line["map"]))
    rows = [["method", "variant", *tasks, "runs", "seconds"], ["---"] * (len(tasks) + 4)]
    for method, variant in variants:
        chosen = [line for line in lines if (line["method"], line["variant"]) == (method, variant)]
        cells = [[line["map"][task] for line in chosen if task in line["map"]] for task in tasks]
        means = [f"{statistics.mean(values):.3f} ± {statistics.pstdev(values):.3f}" if values else "" for values in cells]
        rows.append([method, variant, *means, str(len(chosen)), f"{statistics.mean(line['seconds'] for line in chosen):.0f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    args = arguments()
    args.results.parent.mkdir(parents=True, exist_ok=True)
    chosen = []
    for seed in map(int, args.seeds.split(",")):
        for variant in args.variant:
            plan = plan_of(args, variant, seed)
            same = identity(args, variant, plan)
            line = next((old for old in done_before(args.results) if same.items() <= old.items()), None)
            if line is None:
                print(f"{plan.method} {same['variant']}, seed {seed} ...", file=sys.stderr)
                line = {**same, **run(args, plan)}
                with args.results.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")
            chosen.append(line)
    print(table(chosen))


if __name__ == "__main__":
    main()
