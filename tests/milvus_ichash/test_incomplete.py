"""Incompleteness masks: counts against methods.md, laws by hypothesis, gaps by nature."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from milvus_ichash.errors import InputError
from milvus_ichash.incomplete import LEVELS, fraction, partition_mask, pdr_mask, training_rows


def counts(mask: np.ndarray) -> tuple[int, int, int]:
    """(paired, image-only, text-only) of a mask with two columns."""
    image, text = mask.T
    return int((image & text).sum()), int((image & ~text).sum()), int((~image & text).sum())


def full(rows: int, modalities: int = 2) -> np.ndarray:
    return np.ones((rows, modalities), bool)


@pytest.mark.parametrize(
    ("rows", "pdr", "expected"),
    [
        (17_772, "0.1", (15_995, 888, 889)),
        (5_000, 0.5, (2_500, 1_250, 1_250)),
        (5_000, "0.9", (500, 2_250, 2_250)),
        # In binary floats 0.29 * 100 is 28.999999999999996, and 0.7 * 10 is 7 but 0.57 * 100 is 56.99999999999999.
        (100, 0.29, (71, 14, 15)),
        (100, 0.57, (43, 28, 29)),
        (100, Decimal("0.29"), (71, 14, 15)),
        (3, Fraction(1, 3), (2, 0, 1)),
        (7, 0, (7, 0, 0)),
        (0, 0.5, (0, 0, 0)),
    ],
)
def test_pdr_counts(rows, pdr, expected):
    assert counts(pdr_mask(full(rows), pdr, seed=1)) == expected


@pytest.mark.parametrize(
    ("rows", "shares", "expected"),
    [
        *(
            (18_015, given, expected)
            for level, expected in (
                ("easy", (9_007, 4_504, 4_504)),
                ("medium", (5_404, 6_305, 6_306)),
                ("hard", (1_801, 8_107, 8_107)),
            )
            for given in (level, LEVELS[level], [Fraction(share, 100) for share in LEVELS[level]])
        ),
        (100, ("0.5", "0.3", "0.2"), (50, 30, 20)),
        (10, (0, 100, 0), (0, 10, 0)),
        (10, (1, 0, 0), (10, 0, 0)),
    ],
    ids=str,
)
def test_partitions_as_the_levels_of_cich_on_mirflickr_and_with_uneven_shares(rows, shares, expected):
    assert counts(partition_mask(full(rows), shares, seed=5)) == expected


natural = st.integers(1, 60).flatmap(
    lambda rows: st.integers(2, 4).flatmap(
        lambda m: arrays(np.bool_, (rows, m)).map(lambda a: a | ~a.any(axis=1, keepdims=True))
    )
)
shares = st.decimals(0, Decimal("0.99"), places=2)


@given(natural, shares, st.integers(0, 5))
def test_pdr_laws(present, pdr, seed):
    mask = pdr_mask(present, pdr, seed)
    assert mask.any(axis=1).all(), "no row loses its last modality"
    assert not (mask & ~present).any(), "a mask only removes"
    gaps = ~present.all(axis=1)
    assert np.array_equal(mask[gaps], present[gaps]), "rows incomplete by nature stay as they are"
    target = floor(len(present) * Fraction(pdr))
    assert (~mask.all(axis=1)).sum() == max(target, gaps.sum())
    cut = mask[~gaps & ~mask.all(axis=1)]
    assert ((~cut).sum(axis=1) == 1).all(), "a row that is cut lacks exactly one"


@given(st.integers(0, 200), st.integers(2, 5), shares, st.integers(0, 5))
def test_pdr_is_shared_evenly_and_the_first_modalities_lack_in_one_row_more(rows, modalities, pdr, seed):
    lacking = (~pdr_mask(full(rows, modalities), pdr, seed)).sum(axis=0).tolist()
    even, odd = divmod(floor(rows * Fraction(pdr)), modalities)
    assert lacking == [even + 1] * odd + [even] * (modalities - odd)


@given(st.integers(1, 100), st.integers(0, 9))
def test_a_larger_pdr_takes_the_rows_of_a_smaller_one_too(rows, seed):
    small, large = (~pdr_mask(full(rows), pdr, seed).all(axis=1) for pdr in ("0.3", "0.6"))
    assert not (small & ~large).any()


def test_seeds_choose_rows_and_repeat():
    a, b, other = (pdr_mask(full(200), 0.5, seed) for seed in (3, 3, 4))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, other)
    assert not np.array_equal(~a.all(axis=1), np.arange(200) < 100), "not simply the first rows"


@pytest.mark.parametrize(("gaps", "expected"), [(20, (50, 25, 25)), (40, (50, 40, 10))])
def test_gaps_by_nature_count_and_where_one_modality_has_more_than_its_half_the_other_fills_up_the_rest(gaps, expected):
    present = full(100)
    present[:gaps, 1] = False
    assert counts(pdr_mask(present, 0.5, seed=0)) == expected
    assert counts(partition_mask(present, "easy", seed=0)) == expected


@pytest.mark.parametrize(("mask", "share"), [(pdr_mask, 0.5), (partition_mask, "easy")])
def test_where_there_are_more_gaps_than_asked_for_nothing_is_taken(mask, share):
    present = full(10)
    present[:8, 0] = False
    assert np.array_equal(mask(present, share, seed=0), present)


def test_with_three_modalities_the_largest_shortfall_gives_way():
    present = full(30, 3)
    present[:9, 0] = False  # of 12 incomplete rows, 4 each: 9 lack the first already, so 3 remain for the others
    lacking = (~pdr_mask(present, "0.4", seed=0)).sum(axis=0).tolist()
    assert lacking[0] == 9
    assert sorted(lacking[1:]) == [1, 2]


@pytest.mark.parametrize(
    ("mask", "modalities", "share", "message"),
    [
        *((pdr_mask, 2, pdr, f"PDR of {pdr}") for pdr in (1, 1.0, "1", -0.1, "2", 5)),
        *((pdr_mask, 2, pdr, "no number") for pdr in ("half", "", "50%", float("nan"), float("inf"), "1/0", None)),
        (pdr_mask, 1, 0.5, "two modalities"),
        (partition_mask, 3, "easy", "two modalities; there are 3"),
        (partition_mask, 2, "severe", "no level 'severe'"),
        *(
            (partition_mask, 2, shares, "make 1 or 100")
            for shares in ((50, 25), (50, 25, 24), (50, 75, -25), (0, 0, 0))
        ),
    ],
)
def test_what_cannot_be_made_is_refused(mask, modalities, share, message):
    with pytest.raises(InputError, match=message):
        mask(full(10, modalities), share, seed=0)


def test_one_modality_may_stay_complete():
    assert pdr_mask(full(10, 1), 0, seed=0).all()


@given(st.floats(0, 1, exclude_max=True))
def test_a_float_counts_as_it_is_written(value):
    assert fraction(value, "PDR") == Fraction(repr(value))
    assert fraction(np.float64(value), "PDR") == Fraction(repr(value))


def test_which_rows_train():
    present = np.array([[1, 1], [1, 0], [0, 1]], bool)
    assert training_rows(present, "discard").tolist() == [True, False, False]
    for use in ("enhance", "extend", "complete"):
        assert training_rows(present, use).tolist() == [True, True, True]
