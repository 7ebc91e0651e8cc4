"""The bit rule: packing there and back, and Hamming distances against a loop over bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from milvus_ichash.codes import check_bits, cut, hamming_distance, pack
from milvus_ichash.errors import InputError

bit_rows = st.integers(1, 20).flatmap(
    lambda size: arrays(np.uint8, st.tuples(st.integers(0, 9), st.just(size * 8)), elements=st.integers(0, 1))
)


def codes(size: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.uint8, st.tuples(st.integers(1, 7), st.just(size)))


@given(bit_rows)
def test_packing_bits_and_unpacking_gives_the_same_bits(bits):
    packed = pack(bits.astype(np.float32) - 0.5)
    assert packed.dtype == np.uint8
    assert packed.shape == (len(bits), bits.shape[1] // 8)
    assert np.array_equal(np.unpackbits(packed, axis=1), bits)


@given(st.integers(1, 20).flatmap(codes))
def test_unpacking_codes_and_packing_gives_the_same_codes(stored):
    assert np.array_equal(pack(np.unpackbits(stored, axis=1).astype(np.float32)), stored)


@given(bit_rows, st.data())
def test_packing_the_first_bits_gives_the_first_bytes(bits, data):
    width = data.draw(st.integers(1, bits.shape[1] // 8))
    packed = pack(bits.astype(np.float32) - 0.5)
    found = cut(packed, width)
    assert np.array_equal(found, pack(bits[:, : width * 8].astype(np.float32) - 0.5))
    assert found.flags.c_contiguous
    assert width == packed.shape[1] or not np.shares_memory(found, packed)


@given(arrays(np.float32, (3, 16), elements=st.floats(-2, 2, width=32)))
def test_a_bit_is_set_where_the_relaxed_value_is_above_zero(relaxed):
    expected = [[int(value > 0) for value in row] for row in relaxed]
    assert np.unpackbits(pack(relaxed), axis=1).tolist() == expected


def test_the_first_bit_is_the_most_significant_and_zero_is_no_bit():
    assert pack(np.array([[1, 0, 0, 0, 0, 0, 0, -1.0]])).tolist() == [[0b10000000]]
    assert pack(np.array([[-1, -1, -1, -1, -1, -1, -1, 1e-30]])).tolist() == [[1]]


@given(st.integers(1, 17).flatmap(lambda size: st.tuples(codes(size), codes(size))))
def test_hamming_distance_is_what_a_loop_over_bits_counts(pair):
    a, b = pair
    expected = [
        [sum((int(x) ^ int(y)).bit_count() for x, y in zip(left, right, strict=True)) for right in b] for left in a
    ]
    assert hamming_distance(a, b).tolist() == expected


def test_hamming_distance_of_long_codes_does_not_overflow():
    zeros, ones = np.zeros((1, 1024), np.uint8), np.full((1, 1024), 255, np.uint8)
    assert hamming_distance(zeros, ones).tolist() == [[8192]]


def test_hamming_distance_of_rows_that_are_not_contiguous():
    wide = np.arange(64, dtype=np.uint8).reshape(4, 16)
    assert np.array_equal(
        hamming_distance(wide[:, ::2], wide[:, ::2]), hamming_distance(wide[:, ::2].copy(), wide[:, ::2].copy())
    )


def test_codes_of_different_length_have_no_distance():
    with pytest.raises(InputError, match="32 and 64 bits"):
        hamming_distance(np.zeros((1, 4), np.uint8), np.zeros((1, 8), np.uint8))


@pytest.mark.parametrize("bits", [0, -8, 7, 12, 33, 16_392, 1_000_000])
def test_code_lengths_that_do_not_fill_bytes_or_are_absurd_are_refused(bits):
    with pytest.raises(InputError, match=f"{bits} bits"):
        check_bits(bits)


def test_relaxed_codes_of_such_a_length_are_refused():
    with pytest.raises(InputError, match="12 bits"):
        pack(np.zeros((2, 12), np.float32))


@pytest.mark.parametrize("bits", [8, 16, 128])
def test_usable_code_lengths_pass(bits):
    check_bits(bits)
