"""Encoders whose codes are cut to a length that the bundle was trained for."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.labelled_items import items

from milvus_ichash import HashEncoder
from milvus_ichash.errors import InputError

LENGTHS = (8, 24, 64)


@pytest.fixture(scope="module", params=[True, False], ids=["fused", "cross"])
def folder(request: pytest.FixtureRequest, make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(bits=64, nested=LENGTHS, fused=request.param)


@pytest.fixture(scope="module")
def whole(folder: Path) -> HashEncoder:
    return HashEncoder.load(folder, batch_size=7, threads=1)


@given(rows=st.integers(0, 20), bits=st.sampled_from(LENGTHS), seed=st.integers(0, 99))
def test_cut_codes_are_the_first_bits_of_whole_ones(whole: HashEncoder, rows: int, bits: int, seed: int) -> None:
    encoder = whole.cut(bits)
    table = items(rows, seed=seed) if rows else items(3).take(np.zeros(3, np.bool_))
    given = {**table.features, "present": table.present}
    for found, all_of_it, width, dtype in (
        (encoder.encode_table(table), whole.encode_table(table), bits // 8, np.uint8),
        (encoder.encode(**given), whole.encode(**given), bits // 8, np.uint8),
        (encoder.relaxed(**given), whole.relaxed(**given), bits, np.float32),
    ):
        assert found.keys() == all_of_it.keys()
        for name, codes in found.items():
            assert (codes.shape, codes.dtype) == ((rows, width), dtype)
            assert codes.flags.c_contiguous
            np.testing.assert_allclose(codes, all_of_it[name][:, :width], rtol=1e-6)


def test_it_is_opened_with_a_length(folder: Path, whole: HashEncoder) -> None:
    encoder = HashEncoder.load(folder, bits=24)
    assert (encoder.bits, encoder.manifest.bits, whole.bits) == (24, 64, 64)
    assert "bits=24" in repr(encoder)
    image = items(5, gaps=0).features["image"]
    for name, codes in encoder.encode(image=image).items():
        np.testing.assert_array_equal(codes, whole.encode(image=image)[name][:, :3])
    assert encoder.cut(24) is encoder
    assert encoder.cut(64).bits == encoder.cut(None).bits == 64, "the graph still makes all bits"


def test_a_copy_by_pickle_is_cut_alike(folder: Path) -> None:
    copy = pickle.loads(pickle.dumps(HashEncoder.load(folder, bits=8, threads=1)))  # noqa: S301
    assert copy.bits == 8
    assert {codes.shape for codes in copy.encode(image=np.ones((2, 12))).values()} == {(2, 1)}


def test_lengths_that_there_are_not(whole: HashEncoder, folder: Path, make_bundle: Callable[..., Path]) -> None:
    for bits in (0, 16, 12, -8, 128):
        with pytest.raises(InputError, match=f"codes of {bits} bits cannot be had: .* cut to 8, 24 of 64 bits"):
            HashEncoder.load(folder, bits=bits)
        with pytest.raises(InputError, match="cut to 8, 24 of 64 bits"):
            whole.cut(bits)
    plain = make_bundle(bits=64)
    assert HashEncoder.load(plain, bits=64).bits == 64
    with pytest.raises(InputError, match="this bundle's codes are not nested: only 64 bits"):
        HashEncoder.load(plain, bits=24)
