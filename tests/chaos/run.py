"""Rounds of chaos for as long as there is time; ends with 1 where a row was lost, doubled or stale, or a command broke.

    PYTHONPATH=tests python -m chaos.run --seconds 3600 --seed 7            Milvus Lite, and a server where there is one
    PYTHONPATH=tests python -m chaos.run --place lite --seed 7 --round 12   one round again

A server is that of MILVUS_URI, else one of our own, which is killed as well; it needs a closed network
(`python tests/support/closed_network.py python -m chaos.run ...`).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from chaos.items import make_bundle
from chaos.places import LitePlace, Place, ServerPlace, connected
from chaos.rounds import Round
from support import milvus_server


def main() -> int:
    """Play; returns the exit code."""
    given = arguments()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # `make &` has it ignored, and so would have the commands
    ends, played, failed = time.monotonic() + given.seconds, Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="ichash-chaos-") as temporary, server_of(given, Path(temporary)) as server:
        bundle = make_bundle(Path(temporary) / "bundle")
        for number in [given.round] if given.round is not None else count():
            if time.monotonic() > ends or sum(played.values()) >= given.rounds or failed:
                break
            # Rounds of a server take turns with those of Milvus Lite.
            on_server = server is not None and (given.place == "server" or number % 2 == 1)
            name = "server" if on_server else "lite"
            folder = Path(temporary) / f"round{number}"
            folder.mkdir()
            place: Place = server if on_server and server is not None else LitePlace(folder)
            played[name] += 1
            failed += not play(place, folder, bundle, f"{given.seed}/{number}", name)
    rounds = ", ".join(f"{rounds} on {name}" for name, rounds in played.items())
    print(f"{sum(played.values())} rounds ({rounds or 'none'}) from seed {given.seed}: {failed} failed", flush=True)
    return int(failed > 0)


def play(place: Place, folder: Path, bundle: Path, seed: str, name: str) -> bool:
    """Play a round and tell of it; False where something went wrong."""
    began = time.monotonic()
    played = Round(place, folder, bundle, seed, collection=f"chaos_{seed.replace('/', '_')}")
    crash = None
    try:
        played.play()
    except BaseException as error:
        crash = error
        played.problems.append(repr(error))
    steps = [line.removeprefix("step ") for line in played.log if line.startswith("step ")]
    state = "FAILED" if played.problems else "ok"
    print(f"{name} {seed}: {state} in {time.monotonic() - began:.0f} s: {', '.join(steps)}", flush=True)
    if played.problems:
        print("\n".join(["  " + line for line in [*played.log, "--", *played.problems]]))
        given, _, number = seed.rpartition("/")
        print(f"again: PYTHONPATH=tests python -m chaos.run --place {name} --seed {given} --round {number}")
    if crash is not None:
        raise crash
    if place.shared and not played.problems:
        with connected(place) as connection:
            connection.client.drop_collection(played.collection)
    return not played.problems


@contextmanager
def server_of(given: argparse.Namespace, folder: Path) -> Iterator[ServerPlace | None]:
    """The server to play on; None where there is none."""
    if given.place == "lite":
        yield None
    elif os.environ.get("MILVUS_URI"):
        yield ServerPlace(os.environ["MILVUS_URI"], None)
    elif not milvus_server.installed() or not milvus_server.network_is_closed():
        if given.place == "server":
            sys.exit("no server: set MILVUS_URI, or run it in tests/support/closed_network.py")
        print("no server here: rounds on Milvus Lite only", flush=True)
        yield None
    else:
        (folder / "server").mkdir()
        with milvus_server.MilvusServer(folder / "server") as server:
            yield ServerPlace(server.uri, server)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="no round begins after so many")
    parser.add_argument("--rounds", type=int, default=10**9, help="at most so many")
    parser.add_argument("--seed", default=str(int(time.time())), help="decides what the rounds do")
    parser.add_argument("--round", type=int, help="only the round of this number")
    parser.add_argument("--place", choices=["lite", "server", "both"], default="both")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
