"""Damage to a file of Milvus Lite, as a bad disk or another program does it: whole pages of it are something else."""

from __future__ import annotations

import random
from pathlib import Path

PAGE = 4096


def damage_pages(file: Path, copy: Path, rng: random.Random) -> str:
    """Write a copy of a file with some pages overwritten, or its end cut off; return what was done."""
    content = bytearray(file.read_bytes())
    pages = len(content) // PAGE
    first, number = rng.randrange(pages), min(rng.choice([1, 1, 4, 20]), pages)
    how = rng.choice(["zeros", "ones", "noise", "another page", "cut off"])
    first = min(first, pages - number)
    if how == "cut off":
        first = max(1, first)
        del content[first * PAGE :]
    else:
        other = rng.randrange(pages) * PAGE
        with_what = {
            "zeros": bytes(PAGE),
            "ones": b"\xff" * PAGE,
            "noise": rng.randbytes(PAGE),
            "another page": bytes(content[other : other + PAGE]),
        }
        content[first * PAGE : (first + number) * PAGE] = with_what[how] * number
    copy.write_bytes(content)
    return f"pages {first} to {first + number - 1} of {pages}: {how}"
