"""Hidden labels: training items whose labels a method does not see, to measure what it learns without labels."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np

from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable
from milvus_ichash.incomplete import fraction


def exact_share(share: float) -> Fraction:
    """Return the share as the exact number that it is written as.

    Raises:
        InputError: the share is outside (0, 1].
    """
    exact = fraction(share, "share of labelled items")
    if not 0 < exact <= 1:
        raise InputError(f"--labelled {share:g}: a share of the training items is more than 0 and at most 1.")
    return exact


def with_labels(table: FeatureTable, share: float, seed: int) -> FeatureTable:
    """Return the items, of which ceil(N * share) drawn ones keep their labels; those of the others are unknown.

    One item of every class is drawn first, as far as the number allows, so that no class is without a sample.

    Raises:
        InputError: the share is outside (0, 1], or the table has no labels.
    """
    exact = exact_share(share)
    if exact == 1:
        return table
    whole = table.known_labels()
    known = np.ones(len(table), np.bool_) if table.labelled is None else table.labelled
    # A stream of its own, beside those of the mask, the validation part and the unseen classes.
    order = np.random.default_rng([seed, 3]).permutation(np.flatnonzero(known))
    labels = whole[order]
    first = np.zeros(len(order), np.bool_)
    first[labels.argmax(axis=0)[labels.any(axis=0)]] = True
    chosen = order[np.argsort(~first, kind="stable")][: math.ceil(len(order) * exact)]
    labelled = np.zeros(len(table), np.bool_)
    labelled[chosen] = True
    return replace(table, labels=whole * labelled[:, None], labelled=labelled)
