"""A round: some steps on a collection of its own, each followed by a comparison with the model.

What a round does follows from its seed; the moment of a kill is as exact as the machine.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos import programs
from chaos.damaged_files import damage_pages
from chaos.items import Versions, key_of, write_items
from chaos.model import Change, Model
from chaos.places import Place, connected, read_rows
from chaos.programs import ENDS_AFTER, Ended

from milvus_ichash.index.hash_index import HashIndex

SMALL, LARGE = 300, 1_500
"""Items of a round: with few of them, more kills fall into the beginning and the end."""
FAILED = {3, 5}
"""Milvus is gone, and nothing or some rows were written."""


@dataclass
class Round:
    """A round on a place.

    Attributes:
        place: keeps the rows.
        folder: for its files.
        bundle: makes the codes.
        seed: decides what is done.
        collection: its name.
        log: what was done, line by line.
        problems: what went wrong; empty in the end where all is well.
    """

    place: Place
    folder: Path
    bundle: Path
    seed: str
    collection: str = "chaos"
    log: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.model = Model()
        self.size = self.rng.choice([SMALL, LARGE])
        self._files = 0
        self._seconds = 1.5  # that a load takes, about

    def play(self, *names: str) -> Round:
        """Do the steps of these names, or some that the seed chooses; stop at the first problem."""
        for step in map(self.__getattribute__, names) if names else self.steps():
            self.say(f"step {step.__name__}")
            step()
            self.compare()
            if self.problems:
                break
        return self

    def steps(self) -> list[Callable[[], None]]:
        """Steps that the seed chooses."""
        often: dict[Callable[[], None], int] = {self.replace: 6, self.recreate: 1, self.delete: 2}
        if self.place.shared:
            often |= {self.write_at_once: 4, self.kill_milvus: 1}
        else:
            often |= {self.kill_milvus: 3, self.damage: 2}
        first = self.rng.choice([self.replace, self.write_at_once] if self.place.shared else [self.replace])
        return [first, *self.rng.choices(list(often), list(often.values()), k=self.rng.randint(2, 4))]

    def say(self, line: str) -> None:
        self.log.append(line)

    # Steps.

    def replace(self) -> None:
        """Write new versions, and items that are new; interrupted up to three times."""
        change = self.next_versions()
        words = self.ingest(change)
        self.interrupt(words, change, self.rng.choice([0, 1, 1, 2, 3]))
        self.run(self.again(words))
        self.model.done(change)

    def recreate(self) -> None:
        """Delete the collection and write other items into it; interrupted at most once."""
        new = self.next_versions()
        change: dict[int, int | None] = {**dict.fromkeys(self.model.possible, None), **new}
        words = [*self.ingest(new), "--recreate", "--yes"]
        interruptions = self.rng.choice([0, 1])
        self.interrupt(words, change, interruptions)
        if interruptions and self.rng.random() < 0.5:
            # What the interrupted one says how to go on with; it may not have got as far as the deletion.
            self.run([*words[:-2], "--resume"])
            self.model.done(new)
        else:
            self.run(words)
            self.model.done(change)

    def delete(self) -> None:
        """Delete some items; interrupted at most once."""
        there = self.model.there
        gone = dict.fromkeys(self.rng.sample(there, min(len(there), self.rng.randint(1, 60))))
        ids = [word for number in gone for word in ("--id", key_of(number))]
        words = ["delete", "-c", self.collection, "--uri", self.place.uri, "--yes", *ids]
        if not gone:
            return
        self.interrupt(words, gone, self.rng.choice([0, 1]))
        self.run(words)
        self.model.done(gone)

    def write_at_once(self) -> None:
        """Several writers: of the same file in another order, or of other versions; one of them may be killed."""
        same = self.next_versions()
        changes = [same] * self.rng.randint(2, 4)
        if self.rng.random() < 0.3:
            changes = [{number: version + i for number, version in same.items()} for i in range(len(changes))]
        commands = [self.ingest(change) for change in changes]
        for change in changes:
            self.model.attempt(change)
        started = [programs.start(words) for words in commands]
        killed = self.rng.random() < 0.4
        if killed:
            programs.let_run(started[0], self.rng.uniform(0.8, 1 + 2 * self._seconds), lambda: 0, 1)
            programs.end(started[0], signal.SIGKILL)
        ends = [programs.finish(process) for process in started]
        self.say(f"writers ended with {[end.code for end in ends]}")
        for end in ends[killed:]:
            self.note(end, {0})
        self.model.done(*changes)
        if killed:
            self.model.attempt(changes[0])
            self.run(self.again(commands[0]))
            if len({id(change) for change in changes}) == 1:
                self.model.done(*changes)

    def kill_milvus(self) -> None:
        """kill -9 of the server, which comes back, or of the process of Milvus Lite, which does not."""
        change = self.next_versions()
        words = self.ingest(change)
        self.model.attempt(change)
        process = programs.start(words)
        self.wait(process)
        killed = self.place.kill(process)
        self.say(f"Milvus killed: {killed}")
        if killed:
            self.place.revive()
        end = programs.finish(process)
        self.say(f"the client ended with {end.code}")
        self.note(end, {0, *FAILED})
        if end.code:
            self.run(self.again(words))
        self.model.done(change)

    def damage(self) -> None:
        """Overwrite pages of a copy of the file: either it is told, or every row is there all the same."""
        copy = self.folder / "damaged.db"
        self.say(damage_pages(Path(self.place.uri), copy, self.rng))
        words = ["--uri", str(copy), "--format", "json"]
        looked = programs.run_whole(["inspect", "-c", self.collection, *words])
        self.note(looked, {0, 2, 3})
        doctor = programs.run_whole(["doctor", *words])
        self.note(doctor, {0, 2, 3})
        one = key_of(self.rng.choice(self.model.there or [0]))
        asked = programs.run_whole(["query", "-b", self.bundle, "-c", self.collection, "--id", one, *words])
        self.note(asked, {0, 2, 3})
        self.say(f"inspect ends with {looked.code}, doctor with {doctor.code}, query with {asked.code}")
        if looked.code == 0 and json.loads(looked.out)["rows"] != len(self.model.there):
            self.problems.append(f"a damaged file is passed over: {looked.out}")
        if (looked.code == 0) != (doctor.code == 0):
            self.problems.append(f"inspect and doctor do not agree: {looked} {doctor}")

    # What steps consist of.

    def next_versions(self) -> Versions:
        """A part of the items, or all of them, each of a version that it never had, in any order."""
        numbers = self.rng.sample(range(self.size), self.rng.choice([self.size, self.size // 2, self.size // 10]))
        newest = max((v for versions in self.model.possible.values() for v in versions if v is not None), default=0)
        return dict.fromkeys(numbers, newest + 1)

    def ingest(self, change: Versions) -> list[object]:
        """The command that writes items, in an order and in batches of its own."""
        numbers = list(change)
        self.rng.shuffle(numbers)
        self._files += 1
        file = write_items(self.folder / f"items{self._files}.parquet", {number: change[number] for number in numbers})
        size = self.rng.choice([7, 20, 100, 5_000])
        words = ["ingest", file, "-b", self.bundle, "-c", self.collection, "--uri", self.place.uri]
        return [*words, "--batch-size", size, "--no-wait", "--device", "cpu"]

    def again(self, words: Sequence[object]) -> list[object]:
        return [*words, *self.rng.choice([[], ["--resume"], ["--resume"]])]

    def interrupt(self, words: Sequence[object], change: Change, times: int) -> None:
        """Start a command and end it by a signal; what is there in between must be old or new."""
        for _ in range(times):
            self.model.attempt(change)
            how = programs.pick_signal(self.rng)
            if words[0] == "ingest" and "--recreate" not in words:
                words = self.again(words)
            process = programs.start(words)
            self.wait(process)
            programs.end(process, how)
            end = programs.finish(process)
            self.say(f"{how.name} to {shown(words)}: {end.code}")
            self.note(end, {0, *ENDS_AFTER[how]})
            self.compare()

    def wait(self, process: programs.psutil.Popen) -> None:
        """Let a writer run for a while: into its start, or until its nth change of the file."""
        seconds = self.rng.uniform(0.3, 1 + 2 * self._seconds)
        number = self.rng.randint(1, 60)
        programs.let_run(process, seconds, self.changes(), number)

    def changes(self) -> Callable[[], int]:
        """Counts the changes of the file of Milvus Lite from now on."""
        seen: set[int] = set()

        def count() -> int:
            path = Path(self.place.uri)
            if path.suffix == ".db" and path.exists():
                seen.add(path.stat().st_mtime_ns)
            return len(seen)

        return count

    def run(self, words: Sequence[object]) -> None:
        """Run a command to its end, which must be a good one."""
        began = time.monotonic()
        end = programs.run_whole(words)
        self._seconds = min(10.0, time.monotonic() - began)
        self.say(f"{shown(words)}: {end.code}")
        self.note(end, {0})

    def note(self, end: Ended, codes: set[int]) -> None:
        self.problems += end.problems(codes)

    def compare(self) -> None:
        """Compare all rows with the model."""
        with connected(self.place) as connection:
            if HashIndex.exists(connection, self.collection):
                rows = read_rows(connection, self.collection)
            else:
                rows = []
        self.problems += self.model.problems(rows)
        if not self.problems:
            self.model.saw(rows)


def shown(words: Sequence[object]) -> str:
    """A command in a line of the log, without the ids of a delete."""
    return " ".join(map(str, words[:2] if words[0] == "delete" else words))
