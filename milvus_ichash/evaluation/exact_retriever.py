"""Rankings of codes in memory: those made from a feature source, or those read out of a collection once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from milvus_ichash.choices import Ties
from milvus_ichash.codes import Codes, Distances, hamming_distance
from milvus_ichash.evaluation.database import Database, about_collection, encode_database, read_database
from milvus_ichash.evaluation.histograms import joint_histograms
from milvus_ichash.evaluation.retriever import Ranked, Retriever, Rows
from milvus_ichash.features import MultiHot
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.runtime.encoder import HashEncoder

_BLOCK = 512


class ExactRetriever(Retriever):
    """A retriever that compares every query with every code, in this process."""

    def __init__(
        self, database: Database, fingerprint: str, *, via: str = "exact", about: Mapping[str, Any] | None = None
    ) -> None:
        self.via = via
        self.database = database
        self.codes = tuple(database.codes)
        self.bits = next(iter(database.codes.values())).shape[1] * 8
        self.fingerprint = fingerprint
        self.about = about or {}

    @classmethod
    def encode(
        cls, encoder: HashEncoder, source: FeatureSource, single_modalities: Sequence[str] = ()
    ) -> ExactRetriever:
        """Return a retriever over the codes of a feature source, which are made here: no Milvus is needed.

        Args:
            encoder: makes the codes.
            source: the rows, with labels.
            single_modalities: modalities for which there are single-modality codes too (`encode_database`).

        Raises:
            InputError: the source has no labels, or rows that cannot be encoded.
        """
        database = encode_database(encoder, source, single_modalities)
        return cls(database, encoder.manifest.fingerprint, about={"database_file": str(source.info.path)})

    @classmethod
    def read_back(cls, index: HashIndex) -> ExactRetriever:
        """Return a retriever over the codes that a collection holds, which are read once.

        Raises:
            InputError: the collection is empty, or has no labels.
            MilvusError: Milvus was not reached in time, or refused.
        """
        database = read_database(index, tuple(index.codes))
        return cls(database, index.fingerprint, via="readback", about=about_collection(index))

    def found(self, code: str, query_codes: Codes, required: Sequence[str]) -> Iterator[tuple[Rows, Distances]]:
        """Yield for each query every row that counts and its distance. See `Retriever.found`."""
        rows = self.database.rows_with(required)
        codes = self.database.codes[code][rows]
        for query in query_codes:
            yield rows, hamming_distance(query[None, :], codes)[0].astype(np.int32)

    def ranked(
        self, code: str, query_codes: Codes, query_labels: MultiHot, required: Sequence[str], ties: Ties
    ) -> Iterator[Ranked]:
        """Yield the rankings as `Retriever.ranked` does, many queries at once where nothing has to be sorted."""
        if ties == "stable":
            yield from super().ranked(code, query_codes, query_labels, required, ties)
            return
        rows = self.database.rows_with(required)
        codes, labels = self.database.codes[code][rows], self.database.labels[rows]
        for first in range(0, len(query_codes), _BLOCK):
            block = slice(first, first + _BLOCK)
            counts = joint_histograms(query_codes[block], codes, query_labels[block], labels)
            yield Ranked.from_histograms(counts, counts.sum(axis=1))
