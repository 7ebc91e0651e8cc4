"""Read what `run.py` kept once more: which of it still fails.

python tests/fuzz/again.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # for `support`

from support.fuzzing.reader import Reader

FOUND = Path(__file__).parent / "found"


def main() -> int:
    """Run it; 1 where something fails still."""
    reader, failing = Reader(), 0
    for place in sorted(FOUND.iterdir()) if FOUND.is_dir() else ():
        what, entry = (place / "case.txt").read_text().splitlines()
        outcome = reader.read(what, place / "files" / entry)
        failing += bool(outcome.problem)
        print(f"{place.name:50} {outcome.problem.strip().splitlines()[-1][:200] if outcome.problem else 'well'}")
    reader.close()
    return int(failing > 0)


if __name__ == "__main__":
    sys.exit(main())
