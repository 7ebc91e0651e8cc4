"""Unseen classes: kept out of training and then queried, to measure what is learnt beyond the classes in training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from ichash_export.compare.dataset import Dataset
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable, Mask
from milvus_ichash.incomplete import fraction
from milvus_ichash.io.column_rules import listing


def class_names(table: FeatureTable) -> tuple[str, ...]:
    """Return the names of the classes, or their numbers counted from 0 where they have no names."""
    if table.labels is None:
        return ()
    return table.label_names or tuple(map(str, range(table.labels.shape[1])))


def known_classes(data: Dataset, names: Sequence[str]) -> tuple[str, ...]:
    """Return these classes in the order of the data.

    Raises:
        InputError: a class does not exist, or no class would be left for training.
    """
    known = class_names(data.train)
    for name in names:
        if name not in known:
            raise InputError(f"--unseen '{name}': there is no such class; there are: {listing(known)}.")
    if set(names) == set(known):
        raise InputError("--unseen names every class: some have to be left for training.")
    return tuple(name for name in known if name in set(names))


def draw_classes(data: Dataset, share: float, seed: int) -> tuple[str, ...]:
    """Draw floor(C * share) of the C classes, at least one, among those that queries and database both have.

    Raises:
        InputError: the share is outside (0, 1), or there are too few such classes.
    """
    exact = fraction(share, "share of unseen classes")
    if not Fraction(0) < exact < 1:
        raise InputError(f"--unseen-share {share}: a share of the classes is more than 0 and less than 1.")
    names = class_names(data.train)
    there = np.flatnonzero(data.query.known_labels().any(axis=0) & data.retrieval.known_labels().any(axis=0))
    wanted = max(1, math.floor(len(names) * exact))
    if wanted > len(there) or wanted == len(names):
        raise InputError(
            f"--unseen-share {share}: of {len(names)} classes {wanted} cannot be kept out; {len(there)} can be queried."
        )
    # A stream of its own, beside those of the mask and of the validation part.
    chosen = np.random.default_rng([seed, 2]).permutation(there)[:wanted]
    return tuple(names[i] for i in sorted(chosen.tolist()))


def without_unseen(data: Dataset, unseen: Sequence[str]) -> Dataset:
    """Return the data with these classes kept out of training.

    Training items of these classes are left out, and the training labels lose their columns, so that no method has
    classes without a sample. Queries are the items of these classes. The labels of queries and of the retrieval split
    are these classes alone, so that an item is relevant where it shares one of them. The retrieval split keeps all its
    items.

    Raises:
        InputError: no training item or no query is left.
    """
    columns = np.isin(class_names(data.train), unseen)
    train = data.train.take(~np.any(data.train.known_labels()[:, columns], axis=1))
    query = data.query.take(np.any(data.query.known_labels()[:, columns], axis=1))
    for table, what in ((train, "training item has none"), (query, "query has one")):
        if not len(table):
            raise InputError(f"with the classes {listing(unseen, 5)} unseen nothing is left: no {what} of them.")
    return Dataset(data.name, _only(train, ~columns), _only(query, columns), _only(data.retrieval, columns))


def _only(table: FeatureTable, columns: Mask) -> FeatureTable:
    names = tuple(name for name, chosen in zip(class_names(table), columns, strict=True) if chosen)
    return replace(table, labels=table.known_labels()[:, columns], label_names=names)
