"""Incomplete data: masks that hide modalities of an exact number of rows, and which rows then train.

There are two protocols. PDR (partial data ratio; NCH, PMCH, JCPMH) is the share of rows that lack one modality, shared
evenly among the modalities. A partition (CICH, EGICH) gives the shares of paired, image-only and text-only rows, and
what the incomplete ones are used for ("discard", "enhance", "extend").

A mask is bool (N, M), for `FeatureTable.hide`; it only removes. Rows that are incomplete by nature keep their gaps and
count towards the numbers, so only as many complete rows lose a modality as are still needed. Numbers come from exact
fractions: 0.29 of 100 rows is 29 rows, where binary floats make it 28.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import floor

import numpy as np

from milvus_ichash.choices import IncompleteUse
from milvus_ichash.errors import InputError, check_known
from milvus_ichash.features import Mask

Share = Fraction | Decimal | str | float
"""A share of the rows. A float counts as what it is written as: 0.1 is one tenth."""

LEVELS: dict[str, tuple[int, int, int]] = {"easy": (50, 25, 25), "medium": (30, 35, 35), "hard": (10, 45, 45)}
"""Per cent of paired, image-only and text-only rows (CICH, section V)."""


def pdr_mask(present: Mask, pdr: Share, seed: int) -> Mask:
    """Return a mask in which a share of the rows lacks one modality, each modality in as many rows as the others.

    floor(N * pdr) rows are incomplete in the end. Modality m lacks in floor(incomplete / M) of them, and the first
    (incomplete mod M) modalities in one more: of images and text, floor(incomplete / 2) rows are image-only and the
    rest text-only. Rows chosen for a smaller PDR are among those for a larger one with the same seed.

    Args:
        present: bool (N, M), what the data has by nature. A row that lacks several modalities
            counts as lacking the first of them only.
        pdr: in [0, 1).
        seed: of the choice of rows.

    Returns:
        bool (N, M): `present` with what was taken away False.

    Raises:
        InputError: a PDR outside [0, 1) or not a number; a PDR above 0 with one modality only.
    """
    share = fraction(pdr, "PDR")
    if not 0 <= share < 1:
        raise InputError(
            f"a PDR of {pdr} is not possible: it is the share of incomplete rows, at least 0 and less than 1."
        )
    rows, modalities = present.shape
    incomplete = floor(rows * share)
    if incomplete and modalities < 2:
        raise InputError(
            f"a PDR of {pdr} needs two modalities or more: a row that lacks its only one has nothing left."
        )
    even, odd = divmod(incomplete, modalities)
    return _take_away(present, [even + (m < odd) for m in range(modalities)], seed)


def partition_mask(present: Mask, partition: str | Sequence[Share], seed: int) -> Mask:
    """Return a mask in which the shares of paired, image-only and text-only rows are those asked for (CICH, section V).

    paired = floor(N * p), image-only = floor((N - paired) / 2), text-only the rest; where image-only and text-only
    shares differ, image-only = floor((N - paired) * i / (i + t)).

    Args:
        present: bool (N, 2), the first column the image's.
        partition: "easy" (50, 25, 25), "medium" (30, 35, 35), "hard" (10, 45, 45), or three shares (paired, image-only,
            text-only) that make 1 or 100.
        seed: of the choice of rows.

    Returns:
        bool (N, 2): `present` with what was taken away False.

    Raises:
        InputError: an unknown level, shares that do not add up, or a number of modalities other than two.
    """
    paired_share, image_share, text_share = _partition(partition)
    rows, modalities = present.shape
    if modalities != 2:
        raise InputError(
            f"a partition into paired, image-only and text-only rows needs two modalities; there are {modalities}."
        )
    single = rows - floor(rows * paired_share)
    image_only = floor(single * image_share / (image_share + text_share)) if single else 0
    return _take_away(present, [single - image_only, image_only], seed)


def training_rows(present: Mask, use: IncompleteUse) -> Mask:
    """Return bool (N,): the rows that train (CICH, section V).

    "discard" leaves out the rows that lack a modality; every other use trains on all rows. `present` is bool (N, M).
    """
    return np.asarray(present.all(axis=1) | (use != "discard"))


def fraction(value: Share, what: str) -> Fraction:
    """Return the exact number that `value` is written as.

    Raises:
        InputError: it is no number.
    """
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"'{value}' is no number for the {what}; write it like 0.3 or 3/10.") from error


def _partition(partition: str | Sequence[Share]) -> tuple[Fraction, Fraction, Fraction]:
    if isinstance(partition, str):
        check_known(partition, LEVELS, "level")
        partition = LEVELS[partition]
    shares = [fraction(share, "partition") for share in partition]
    total = sum(shares, Fraction(0))
    if len(shares) != 3 or min(shares) < 0 or total not in (1, 100):
        raise InputError(
            "a partition is three shares (paired, image-only, text-only), none negative, that make 1 or 100 together."
        )
    paired, image, text = (share / total for share in shares)
    return paired, image, text


def _take_away(present: Mask, lacking: list[int], seed: int) -> Mask:
    """Take modalities from complete rows until `lacking[m]` rows lack modality m, and sum(lacking) rows lack one.

    Where one modality has more natural gaps than its number, fewer rows of the others are hidden.
    """
    complete = present.all(axis=1)
    natural = np.bincount(np.argmin(present[~complete], axis=1), minlength=present.shape[1])
    more = _shortfalls(lacking, natural.tolist())
    order = np.random.default_rng(seed).permutation(np.flatnonzero(complete))
    mask: Mask = present.copy()
    mask[order[: sum(more)], np.repeat(np.arange(len(more)), more)] = False
    return mask


def _shortfalls(lacking: list[int], natural: list[int]) -> list[int]:
    """Return, for each modality, how many rows must lose it.

    That is its number less its gaps by nature, and fewer where another modality has more such gaps than its number.
    """
    more = [max(0, number - gaps) for number, gaps in zip(lacking, natural, strict=True)]
    spare = sum(more) - max(0, sum(lacking) - sum(natural))
    # With two modalities only one can fall short while the other has too many; with more, the largest give way first.
    for _ in range(spare):
        more[more.index(max(more))] -= 1
    return more
