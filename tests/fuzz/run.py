"""The long form of the fuzz: minutes of hostile files from a seed that is printed; what fails is kept.

python tests/fuzz/run.py --minutes 10
python tests/fuzz/run.py --minutes 10 --seed 123 --only bundle --only graph
"""

from __future__ import annotations

import argparse
import hashlib
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

sys.path.append(str(Path(__file__).parents[1]))  # for `support`

from support.fuzzing.reader import Outcome, Reader
from support.fuzzing.targets import TARGETS, Case

FOUND = Path(__file__).parent / "found"
CASES = 100
"""Cases of a kind before the next kind has its turn."""


class Tally:
    """The outcomes of one kind of file, and the failures of it, each kept once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outcomes: Counter[str] = Counter()
        self.memory, self.seconds, self.failed = 0, 0.0, 0
        self.failures: dict[str, Path] = {}

    def add(self, case: Case, outcome: Outcome) -> None:
        """Count an outcome, and keep the case where it is one that must not be."""
        self.outcomes[outcome.kind] += 1
        self.memory, self.seconds = max(self.memory, outcome.memory), max(self.seconds, outcome.seconds)
        if not outcome.problem:
            return
        self.failed += 1
        lines = outcome.problem.strip().splitlines()
        mark = hashlib.sha256(outcome.mark.encode("utf-8", "replace")).hexdigest()[:12]
        if mark in self.failures:
            return
        place = self.failures[mark] = FOUND / f"{self.name.replace(' ', '-')}-{mark}"
        (place / "files").mkdir(parents=True, exist_ok=True)
        for name, content in case.files.items():
            (place / "files" / name).write_bytes(content)
        (place / "case.txt").write_text(f"{case.what}\n{case.entry or '.'}\n")
        (place / "outcome.txt").write_text(outcome.problem, "utf-8", "backslashreplace")
        print(f"FAILED {self.name}: {lines[-1][:300]}\n       kept in {place}", flush=True)

    def row(self) -> str:
        """The line of the table."""
        figures = (sum(self.outcomes.values()), self.outcomes["table"], self.outcomes["refused"], self.failed)
        return f"{self.name:24}" + "".join(f"{n:>9,}" for n in figures) + f"{self.memory >> 20:>9} {self.seconds:>8.1f}"


def main() -> int:
    """Run it; 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    parser.add_argument("--only", action="append", choices=list(TARGETS))
    options = parser.parse_args()
    print(f"seed {options.seed}: the same cases come again with --seed {options.seed}", flush=True)
    tallies = {name: Tally(name) for name in options.only or TARGETS}
    deadline, turn, reader = time.monotonic() + 60 * options.minutes, 0, Reader()
    folder = Path(tempfile.mkdtemp(prefix="ichash-fuzz-"))
    try:
        while time.monotonic() < deadline:
            for tally in tallies.values():
                _turn(tally, options.seed + turn, deadline, reader, folder)
            turn += 1
    finally:
        reader.close()
        shutil.rmtree(folder)
    print(
        f"\n{'file':24}" + "".join(f"{name:>9}" for name in ("cases", "read", "refused", "failed", "MB")) + "  most s"
    )
    print("\n".join(tally.row() for tally in tallies.values()))
    return int(any(tally.failures for tally in tallies.values()))


def _turn(tally: Tally, number: int, deadline: float, reader: Reader, folder: Path) -> None:
    @seed(number)
    @settings(
        max_examples=CASES, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
    )
    @given(TARGETS[tally.name])
    def one(case: Case) -> None:
        if time.monotonic() < deadline:
            with case.written(folder) as path:
                tally.add(case, reader.read(case.what, path))

    one()


if __name__ == "__main__":
    sys.exit(main())
