"""Joint histograms of Hamming distance and shared labels: all that the metrics need to know of a complete ranking.

Rows at the same distance from a query are in no order, so a ranking is the number of rows at each distance by the
number of labels that they share with the query. Counting them takes one pass over the pairs and no sorting.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from milvus_ichash.codes import Codes
from milvus_ichash.errors import InputError
from milvus_ichash.features import Mask, MultiHot

Counts = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Keys = npt.NDArray[np.unsignedinteger]

_ROWS = 1 << 15
"""Rows of one block, so few that its scratch arrays stay in the cache of a core."""


def joint_histograms(
    query_codes: Codes, codes: Codes, query_labels: MultiHot, labels: MultiHot, *, graded: bool = True
) -> Counts:
    """Count the database rows by Hamming distance from each query and by labels shared with it.

    Args:
        query_codes: uint8 (Q, bits / 8).
        codes: uint8 (N, bits / 8), codes of the database.
        query_labels: uint8 (Q, C).
        labels: uint8 (N, C), labels of the database.
        graded: whether to count by the number of shared labels; else only by none (0) or some (1), which is faster.

    Returns:
        int64 (Q, bits + 1, levels): for each query the number of rows at distance 0 to bits (inclusive) that share
        0, 1, 2, ... labels with it. `levels` is the largest number of labels that a pair could share plus 1; 2 if not
        graded.

    Raises:
        InputError: the arrays do not fit each other.
    """
    _check(query_codes, codes, query_labels, labels)
    levels = max_shared(query_labels, labels) + 1 if graded else 2
    distances = codes.shape[1] * 8 + 1
    dtype = np.min_scalar_type(levels * distances - 1)
    counts = np.zeros((len(query_codes), levels * distances), np.int64)
    words = _words(query_codes)
    # Queries with the same labels have the same relevant rows: those are looked for once per set of labels and block.
    sets, set_of_query = np.unique(_bits(query_labels), axis=0, return_inverse=True)
    queries_of_set = [np.flatnonzero(set_of_query.ravel() == s) for s in range(len(sets))]
    for first in range(0, len(codes), _ROWS):
        rows = slice(first, first + _ROWS)
        block = _Distances(_words(codes[rows]), dtype)
        row_labels = LabelSets(labels[rows])
        for labels_of_set, queries in zip(_words(sets), queries_of_set, strict=True):
            shared = row_labels.shared(labels_of_set) if graded else row_labels.any_shared(labels_of_set)
            offset = shared.astype(dtype) * dtype.type(distances)
            for q in queries:
                counts[q] += np.bincount(block.add_to(offset, words[q]), minlength=counts.shape[1])
    result: Counts = counts.reshape(len(counts), levels, distances).swapaxes(1, 2)
    return result


def max_shared(query_labels: MultiHot, labels: MultiHot) -> int:
    """Return the largest number of labels that a query and a row could share; at least 1."""
    most = (int(np.count_nonzero(side, axis=1).max(initial=1)) for side in (query_labels, labels))
    return max(1, min(most))


class LabelSets:
    """The labels of N rows as sets of bits, to count what they share with one query after the other."""

    def __init__(self, labels: MultiHot) -> None:
        self._sets = np.ascontiguousarray(_words(_bits(labels)).T)
        self._word = np.empty(len(labels), np.uint64)
        self._count = np.empty(len(labels), np.uint8)

    def shared_with(self, query_labels: MultiHot) -> npt.NDArray[np.uint16]:
        """Return the number of labels that each row shares with a query, uint8 (C,): uint16 (N,)."""
        return self.shared(_words(_bits(query_labels[None, :]))[0])

    def shared_by(self, rows: npt.NDArray[np.intp], query_labels: MultiHot) -> npt.NDArray[np.intp]:
        """Return the number of labels that these rows share with a query, uint8 (C,): intp (rows,)."""
        shared = np.zeros(len(rows), np.intp)
        for theirs, ours in zip(self._sets, _words(_bits(query_labels[None, :]))[0], strict=True):
            shared += np.bitwise_count(theirs[rows] & ours)
        return shared

    def shared(self, words: Words) -> npt.NDArray[np.uint16]:
        """Return the number of labels that each row shares with a set of labels in words: uint16 (N,)."""
        shared = np.zeros(len(self._word), np.uint16)
        for theirs, ours in zip(self._sets, words, strict=True):
            np.bitwise_count(np.bitwise_and(theirs, ours, out=self._word), out=self._count)
            shared += self._count
        return shared

    def any_shared(self, words: Words) -> Mask:
        """Return whether each row shares any label with a set of labels in words: bool (N,)."""
        some = np.zeros(len(self._word), np.bool_)
        for theirs, ours in zip(self._sets, words, strict=True):
            some |= np.bitwise_and(theirs, ours, out=self._word) != 0
        return some


class _Distances:
    """The codes of a block of rows, and scratch arrays to compare them with one query after the other."""

    def __init__(self, words: Words, dtype: np.dtype[np.unsignedinteger]) -> None:
        self._words = np.ascontiguousarray(words.T)
        self._word = np.empty(len(words), np.uint64)
        self._count = np.empty(len(words), np.uint8)
        self._sum = np.empty(len(words), dtype)

    def add_to(self, offset: Keys, query: Words) -> Keys:
        """Return offset + distance from the query for each row: (rows,), valid until the next call."""
        total = offset
        for theirs, ours in zip(self._words, query, strict=True):
            np.bitwise_count(np.bitwise_xor(theirs, ours, out=self._word), out=self._count)
            total = np.add(total, self._count, out=self._sum)
        return total


def _bits(labels: MultiHot) -> npt.NDArray[np.uint8]:
    return np.packbits(np.asarray(labels) != 0, axis=1)


def _words(packed: npt.NDArray[np.uint8]) -> Words:
    """Return bytes (rows, bytes) as 64-bit words (rows, words). Zeros fill them up, which add nothing to a distance."""
    filled = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))
    words: Words = np.ascontiguousarray(filled).view(np.uint64)
    return words


def _check(query_codes: Codes, codes: Codes, query_labels: MultiHot, labels: MultiHot) -> None:
    if query_codes.shape[1] != codes.shape[1]:
        raise InputError(
            f"the queries have codes of {query_codes.shape[1] * 8} bits, the database of {codes.shape[1] * 8}."
        )
    if query_labels.shape[1] != labels.shape[1]:
        raise InputError(f"the queries have {query_labels.shape[1]} classes, the database {labels.shape[1]}.")
    for what, some_codes, some_labels in (("query", query_codes, query_labels), ("database", codes, labels)):
        if len(some_codes) != len(some_labels):
            raise InputError(f"{len(some_codes)} {what} codes, but {len(some_labels)} rows of {what} labels.")
