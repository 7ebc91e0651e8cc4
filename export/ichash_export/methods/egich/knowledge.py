"""External knowledge in EGICH: which words a class gets, and what is learnt of them."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ichash_export.knowledge.knowledge import Knowledge, load_knowledge
from ichash_export.losses import cosine
from milvus_ichash.errors import InputError


class ClassKnowledge(nn.Module):
    """Eq. 1 and 2: a vector for each class, the gated sum of its words' embeddings, brought to the encoders' width.

    Args:
        classes: C.
        words: how many a class has.
        size: of the embeddings.
        width: of the encoders' features; where `size` is another one, a linear map leads there.
    """

    def __init__(self, classes: int, words: int, size: int, width: int) -> None:
        super().__init__()
        self.words = nn.Parameter(F.normalize(torch.randn(classes, words, size), dim=2))
        self.gates = nn.Parameter(torch.zeros(classes, words))
        self.adapter = nn.Identity() if size == width else nn.Linear(size, width)

    @torch.no_grad()
    def take(self, known: Knowledge, guides: Tensor) -> Tensor:
        """Start from the file's words that fit the guides (C, d) best; returns their indices, int64 (C, words)."""
        words = torch.from_numpy(known.embeddings).to(guides.device)
        chosen = select(guides, padded(words, guides.shape[1]), self.words.shape[1])
        self.words.copy_(words[chosen])
        return chosen

    def vectors(self) -> Tensor:
        """Return k (eq. 1), float32 (C, width)."""
        found: Tensor = self.adapter((self.gates.softmax(dim=1).unsqueeze(2) * self.words).sum(dim=1))
        return found

    def forward(self, shares: Tensor) -> Tensor:
        """Return f* (eq. 2), float32 (B, width): means of the vectors, weighted by labels or probabilities (B, C).

        A row whose weights are all zero has zeros.
        """
        total = shares.sum(dim=1, keepdim=True)
        return shares @ self.vectors() / torch.where(total > 0, total, torch.ones_like(total))


def select(guides: Tensor, words: Tensor, count: int) -> Tensor:
    """Return the indices (C, count) of each class's words.

    A softmax over the classes of the cosines gives each word to its best class; a class keeps those that it has with
    most confidence. What it lacks then is filled by cosine, with words of other classes.

    Args:
        guides: what stands for a class (C, d).
        words: embeddings (n, d), n at least `count`.
        count: how many words a class gets.
    """
    similarity = cosine(guides, words)
    confidence = similarity.softmax(dim=0)
    own = confidence.argmax(dim=0) == torch.arange(len(guides), device=guides.device).unsqueeze(1)
    # No cosine is above 1, so that a class's own words come before all others.
    return torch.where(own, 2 + confidence.double(), similarity.double()).topk(count, dim=1).indices


def class_guides(knowledge: Knowledge, names: tuple[str, ...], classes: int) -> Tensor:
    """Return the embeddings of the classes' names (C, d).

    Raises:
        InputError: classes without names, or a name that the file does not have.
    """
    if not names:
        raise InputError(
            f"egich: the {classes} classes have no names, by which selection=names would choose their words: give the "
            "data label names, or take selection=centres."
        )
    found = [by_name(knowledge, name) for name in names]
    for name, guide in zip(names, found, strict=True):
        if guide is None:
            raise InputError(
                f"egich: the knowledge file has no class '{name}': make it anew with --classes and this data, or take "
                "selection=centres."
            )
    return torch.stack([guide for guide in found if guide is not None])


def by_name(knowledge: Knowledge, name: str) -> Tensor | None:
    """Return the embedding (d,) of a class's name; None where the file does not have it."""
    if name not in knowledge.class_names:
        return None
    return torch.from_numpy(knowledge.class_embeddings[knowledge.class_names.index(name)])


def centre_guides(features: Tensor, labels: Tensor, knowledge: Knowledge, names: tuple[str, ...]) -> Tensor:
    """Return class centres (C, d'): the mean features of a class's items, or its name's embedding where it has none.

    Centres and embeddings of another size are compared as they are in the public code, the shorter ones filled up with
    zeros.

    Args:
        features: of all items (n, width).
        labels: (n, C).
        knowledge: the file.
        names: of the classes, where they are known.

    Raises:
        InputError: a class without an item and without an embedding of its name.
    """
    counts = labels.sum(dim=0)
    centres = padded(labels.T @ features / counts.clamp_min(1).unsqueeze(1), knowledge.size)
    for c in (counts == 0).nonzero().flatten().tolist():
        guide = by_name(knowledge, names[c]) if names else None
        if guide is None:
            label = f"'{names[c]}'" if names else f"number {c}"
            raise InputError(
                f"egich: no training item has the class {label}, so that it has no centre to select words by: leave "
                "the class out, or name it in the data and in the knowledge file (--classes)."
            )
        centres[c] = padded(guide.to(centres).unsqueeze(0), centres.shape[1])[0]
    return centres


def padded(x: Tensor, size: int) -> Tensor:
    """Return x (n, d) with zeros behind it, up to `size`; unchanged where it is as long."""
    return F.pad(x, (0, max(0, size - x.shape[1])))


def read(path: str, count: int) -> Knowledge:
    """Return the knowledge file, which must have enough words.

    Raises:
        InputError: no file, or fewer words than a class shall have.
    """
    try:
        found = load_knowledge(Path(path))
    except InputError as error:
        if Path(path).exists():
            raise
        raise InputError(
            f"egich takes external knowledge, and there is no file '{path}': make it with `milvus-ichash knowledge "
            f"build --words WORDS --classes DATA --out {path}`, name another one (--set knowledge=FILE), or go without "
            "(--set selection=none)."
        ) from error
    if len(found.names) < count:
        raise InputError(
            f"egich gives each class {count} words, '{path}' has {len(found.names)}: add words, or set "
            f"words={len(found.names)}."
        )
    return found
