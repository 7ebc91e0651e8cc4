"""A case: one run of a comparison, and what tells it from other runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ichash_export.methods import registry
from ichash_export.train.options import TrainingOptions, validated
from milvus_ichash.choices import IncompleteUse, Level

ResultLine = dict[str, Any]
"""One JSON line of the results: the identity of a case, and what was measured of it."""

FULL = "full"
"""The variant of a method as it is, without an ablation."""
BASELINE = "baseline"
"""The variant of a baseline."""
COMPLETE: IncompleteUse = "complete"
"""The use of incomplete items that hides nothing in the retrieval split."""

PROTOCOL = ("pdr", "level", "query_pdr", "use", "unseen_share", "unseen", "labelled")
KEY = ("data", "method", "variant", "bits", *PROTOCOL, "seed")
"""What names a case: lines that agree in it are of the same case."""
MADE_WITH = ("digest", "settings", "training")
"""What else decides the figures: lines of a case that differ in it cannot stand in one table."""
UNSAID: ResultLine = {"labelled": 1.0}
"""What holds for a line that does not say it, because it was written before this could be chosen."""


@dataclass(frozen=True)
class Protocol:
    """What is hidden from training, queries and database.

    Attributes:
        pdr: share of the training items of which one modality is hidden; 0: nothing is hidden.
        level: easy, medium or hard: how many training items lack a modality, in place of `pdr`.
        query_pdr: share of the queries of which one modality is hidden.
        use: what incomplete items are used for. "complete": all items train, and the database is complete. With the
            other uses the database has gaps as the training items have: "discard" trains on complete items and searches
            those, "enhance" trains on all items and searches complete ones, "extend" trains on all and searches all.
        unseen_share: share of the classes that are kept out of training, drawn by the seed of the run; None: none is
            drawn.
        unseen: the classes that are kept out of training. Queries are then items of these classes, and an item is
            relevant where it shares one of them.
        labelled: share of the training items whose labels are known; those of the others are hidden.
    """

    pdr: float = 0.0
    level: Level | None = None
    query_pdr: float = 0.0
    use: IncompleteUse = COMPLETE
    unseen_share: float | None = None
    unseen: tuple[str, ...] = ()
    labelled: float = 1.0


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        method: name of a method or a baseline.
        variant: FULL, the name of an ablation, or BASELINE.
        bits: code length.
        seed: random seed; sets what is hidden, the initial weights and the order of the items.
        protocol: what is hidden.
        settings: settings of the method that differ from their defaults.
        training: options of the training, without seed, pdr and level.
        recipe: name of the recipe that settings and training come from.
        cut_from: the code length that is trained, where the codes are the first `bits` of nested ones; None where
            `bits` is trained.
    """

    method: str
    variant: str
    bits: int
    seed: int
    protocol: Protocol
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    recipe: str | None = None
    cut_from: int | None = None

    @property
    def called(self) -> str:
        """The variant as the results name it."""
        if self.cut_from is None:
            return self.variant
        cut = f"cut from {self.cut_from}"
        return cut if self.variant == FULL else f"{self.variant}, {cut}"

    @property
    def whole(self) -> Case:
        """The case of the codes that are trained: this one, unless its codes are cut from longer ones."""
        return self if self.cut_from is None else replace(self, bits=self.cut_from, cut_from=None)

    @property
    def is_baseline(self) -> bool:
        """Whether this is a baseline, so that no method is trained."""
        return self.variant == BASELINE

    def options(self) -> TrainingOptions:
        """Return the options of the training.

        Raises:
            InputError: an option is unknown or cannot be used.
        """
        chosen = {**self.training, "seed": self.seed, "pdr": self.protocol.pdr, "level": self.protocol.level}
        return validated(TrainingOptions, chosen, "training")

    def identity(self, data: str, digests: Mapping[str, str]) -> ResultLine:
        """Return the values of KEY and MADE_WITH: all that decides the figures, except the program itself.

        Settings and options have their defaults filled in. A setting that is a file is given by a digest of its
        content, so that no path of a machine gets into the results.

        Args:
            data: how results call the data.
            digests: a digest of each split.
        """
        p = self.protocol
        settings, training = {}, {}
        if not self.is_baseline:
            config = validated(registry.load(self.method).Config, self.settings, f"method '{self.method}'")
            settings = {
                name: _portable(getattr(config, name), value) for name, value in config.model_dump(mode="json").items()
            }
            training = self.options().model_dump(mode="json", exclude={"seed", "pdr", "level"})
        return {
            "data": data,
            "method": self.method,
            "variant": self.called,
            "bits": self.bits,
            "pdr": p.pdr,
            "level": p.level,
            "query_pdr": p.query_pdr,
            "use": p.use,
            "unseen_share": p.unseen_share,
            "unseen": list(p.unseen),
            "labelled": p.labelled,
            "seed": self.seed,
            "digest": dict(digests),
            "settings": settings,
            "training": training,
        }

    def __str__(self) -> str:
        return f"{self.title}, seed {self.seed}"

    @property
    def title(self) -> str:
        """The case in words, without its seed."""
        p = self.protocol
        parts = [
            self.method if self.called in (FULL, BASELINE) else f"{self.method}: {self.called}",
            f"{self.bits} bits",
        ]
        parts += [f"level {p.level}"] if p.level else [f"PDR {p.pdr:g}"]
        parts += [f"query PDR {p.query_pdr:g}"] * bool(p.query_pdr)
        parts += [p.use] * (p.use != COMPLETE)
        parts += [f"{len(p.unseen)} unseen classes"] * bool(p.unseen)
        parts += [f"labelled {p.labelled:g}"] * (p.labelled < 1)
        return ", ".join(parts)


def key(line: ResultLine) -> tuple[Any, ...]:
    """Return what names the case of a line, as a tuple that can be a key."""
    return tuple(tuple(line[name]) if name == "unseen" else line[name] for name in KEY)


def changes(old: ResultLine, new: ResultLine) -> list[str]:
    """Return in words what two lines of the same case were made with that differs; empty where nothing does."""
    found = [f"the data ({split} split)" for split in new["digest"] if old["digest"].get(split) != new["digest"][split]]
    for group in ("settings", "training"):
        for name in {**old[group], **new[group]}:
            was, now = old[group].get(name), new[group].get(name)
            if was != now:
                found.append(f"{name} (was {was}, is {now})")
    return found


def _portable(value: Any, dumped: Any) -> Any:
    """Return the value as JSON, or the digest of the file that it names."""
    if isinstance(value, str | Path) and Path(value).suffix and Path(value).is_file():
        return f"file:{hashlib.sha256(Path(value).read_bytes()).hexdigest()[:16]}"
    return dumped
