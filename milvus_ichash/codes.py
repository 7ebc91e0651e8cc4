"""The bit rule, in one place: how relaxed codes become bits, bytes and Hamming distances.

A bit is 1 where the relaxed value is greater than zero. Eight bits make a byte, the first bit the most significant one
(`numpy.packbits`, the order in which Milvus reads a BINARY_VECTOR). The same rule is built into every exported graph.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from milvus_ichash.errors import InputError

BIT_RULE = "relaxed > 0, most significant bit first"
MOST_BITS = 16_384
"""Longer codes than anybody needs: the relaxed codes of a batch of 1024 take 64 MiB."""

Codes = npt.NDArray[np.uint8]
Distances = npt.NDArray[np.int32]
"""Hamming distances, int32."""
AnyValue = TypeVar("AnyValue", bound=np.generic)


def check_bits(bits: int) -> None:
    """Raise InputError where `bits` is no usable code length: a positive multiple of 8, up to `MOST_BITS`, is one."""
    if bits <= 0 or bits % 8 or bits > MOST_BITS:
        raise InputError(
            f"a code length of {bits} bits cannot be stored: take a positive multiple of 8, such as 32, 64 or 128, "
            f"up to {MOST_BITS:,}."
        )


def pack(relaxed: npt.NDArray[np.floating]) -> Codes:
    """Pack relaxed codes, float (B, bits), into uint8 (B, bits / 8)."""
    check_bits(relaxed.shape[-1])
    return np.packbits(relaxed > 0, axis=-1)


def cut(codes: npt.NDArray[AnyValue], width: int) -> npt.NDArray[AnyValue]:
    """Return the first `width` columns of codes, packed or relaxed, in memory of their own.

    The codes themselves are returned where they have no more columns.
    """
    return codes if codes.shape[1] == width else codes[:, :width].copy()


def hamming_distance(a: Codes, b: Codes) -> npt.NDArray[np.uint16]:
    """Return uint16 (A, B): Hamming distances between the rows of `a`, uint8 (A, bytes), and of `b`, uint8 (B, bytes).

    Raises:
        InputError: where the two differ in code length.
    """
    if a.shape[1] != b.shape[1]:
        raise InputError(f"codes of {a.shape[1] * 8} and {b.shape[1] * 8} bits have no Hamming distance.")
    distances = np.zeros((len(a), len(b)), np.uint16)
    for left, right in zip(_words(a).T, _words(b).T, strict=True):
        distances += np.bitwise_count(left[:, None] ^ right[None, :])
    return distances


def _words(codes: Codes) -> npt.NDArray[np.unsignedinteger]:
    """Return the same bytes, seen as the widest unsigned integers that divide a row, for fewer passes."""
    width = next(size for size in (8, 4, 2, 1) if codes.shape[1] % size == 0)
    return np.asarray(np.ascontiguousarray(codes).view(f"u{width}"))
