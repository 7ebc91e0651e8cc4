"""A case: one cell of a grid, and what tells it from others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ichash_export.methods import registry
from ichash_export.train.options import TrainingOptions, validated
from milvus_ichash.choices import IncompleteUse, Level

Line = dict[str, Any]
"""One JSON line of the results: the identity of a case, and what was measured."""

FULL = "full"
"""The variant that is the method itself."""
BASELINE = "baseline"
"""The variant of what is no method of ours."""
COMPLETE: IncompleteUse = "complete"
"""The use of rows that hides nothing in the retrieval split."""

PROTOCOL = ("pdr", "level", "query_pdr", "use", "unseen_share", "unseen", "labelled")
KEY = ("data", "method", "variant", "bits", *PROTOCOL, "seed")
"""What names a cell; two lines that agree in it are the same cell."""
MADE_WITH = ("digest", "settings", "training")
"""What else decides its figures; two lines of a cell that differ in it do not go together."""
UNSAID: Line = {"labelled": 1.0}
"""What a line means that does not say it, written before it could be asked for."""


@dataclass(frozen=True)
class Protocol:
    """What is hidden from training, queries and database.

    Attributes:
        pdr: of the training items; 0: nothing is hidden.
        level: easy, medium or hard, in place of `pdr`.
        query_pdr: of the queries.
        use: "complete": all training items, complete retrieval split; "discard", "enhance", "extend": as
            `incomplete.training_rows`, the retrieval split having gaps as the training split.
        unseen_share: share of the classes that are kept out of training, by lot of the run's seed; None: none, or those
            named.
        unseen: the classes that are kept out, of which alone queries and relevance are then told.
        labelled: share of the training items whose labels are known.
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
        cut_from: length that is trained, where the codes are the first `bits` of nested ones; None: `bits` is.
        seed: of everything random.
        protocol: what is hidden.
        settings: of the method, where they differ from their defaults.
        training: options of the training but for seed, pdr and level.
        recipe: name of the recipe that settings and training come from.
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
        """The case of the codes that are trained: this one, unless its codes are cut."""
        return self if self.cut_from is None else replace(self, bits=self.cut_from, cut_from=None)

    @property
    def is_baseline(self) -> bool:
        """Whether it is measured by `baselines`, without training a method."""
        return self.variant == BASELINE

    def options(self) -> TrainingOptions:
        """Of the training."""
        chosen = {**self.training, "seed": self.seed, "pdr": self.protocol.pdr, "level": self.protocol.level}
        return validated(TrainingOptions, chosen, "training")

    def identity(self, data: str, digests: Mapping[str, str]) -> Line:
        """KEY and MADE_WITH: all that decides the figures but for the code itself, settings and options with their defaults.

        A setting that is a file stands there by a digest of its content, so that no path of a machine gets into the
        results.
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
        """For people, without the seed."""
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


def key(line: Line) -> tuple[Any, ...]:
    """What names the cell of a line, hashable."""
    return tuple(tuple(line[name]) if name == "unseen" else line[name] for name in KEY)


def changes(old: Line, new: Line) -> list[str]:
    """What two lines of the same cell were made with that differs, each in a few words; empty: the same run."""
    found = [f"the data ({split} split)" for split in new["digest"] if old["digest"].get(split) != new["digest"][split]]
    for group in ("settings", "training"):
        for name in {**old[group], **new[group]}:
            was, now = old[group].get(name), new[group].get(name)
            if was != now:
                found.append(f"{name} (was {was}, is {now})")
    return found


def _portable(value: Any, dumped: Any) -> Any:
    """The value as JSON, or the digest of the file that it names."""
    if isinstance(value, str | Path) and Path(value).suffix and Path(value).is_file():
        return f"file:{hashlib.sha256(Path(value).read_bytes()).hexdigest()[:16]}"
    return dumped
