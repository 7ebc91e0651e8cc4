"""From feature tables to batches of a collection: codes, what was observed, labels by the names of their classes, payload."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from milvus_ichash.bundle import Manifest
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable, check_modalities
from milvus_ichash.index.batch import Batch, build_batch, checked_ids
from milvus_ichash.index.description import Description, IdKind
from milvus_ichash.index.field_names import has
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.runtime.encoder import HashEncoder


@dataclass(frozen=True)
class BatchMaker:
    """Makes batches for a collection, or for files that one is made of.

    Attributes:
        encoder: the bundle.
        description: of the collection.
        id_kind: of its ids.
        lite: whether it is on Milvus Lite, which takes fewer ids.
        fields: payload columns that go along; None for all.
        labels: whether labels go along.
    """

    encoder: HashEncoder
    description: Description
    id_kind: IdKind
    lite: bool
    fields: Sequence[str] | None
    labels: bool

    def __call__(self, table: FeatureTable) -> Batch:
        """The items of a table (at least one), encoded and checked.

        Raises:
            InputError: names the row, column or class that cannot be stored.
        """
        payload = {name: values for name, values in table.payload.items() if self.fields is None or name in self.fields}
        labels = list(_label_lists(self._in_classes(table))) if self.labels and table.labels is not None else None
        keys = checked_ids(table.ids, self.id_kind, lite=self.lite)
        return build_batch(
            self.description,
            keys,
            self.encoder.encode_table(table),
            table.present_for(self.description.modalities),
            labels,
            payload,
        )

    def missing(self, batch: Batch) -> dict[str, int]:
        """By modality, how many items of a batch lack it."""
        return {name: batch.present[has(name)].count(False) for name in self.description.modalities}

    def _in_classes(self, table: FeatureTable) -> FeatureTable:
        if self.description.label_names is None:
            return table
        try:
            return table.with_classes(self.description.label_names)
        except InputError as error:
            raise InputError(f"{error} Rename the classes, or leave the labels out with --no-labels.") from error


def with_names(manifest: Manifest, source: FeatureSource) -> Manifest:
    """The manifest with names of the classes: its own, else those of the source."""
    return (
        manifest
        if manifest.label_names is not None
        else manifest.model_copy(update={"label_names": source.info.label_names})
    )


def check_source(source: FeatureSource, encoder: HashEncoder, fields: Sequence[str] | None) -> None:
    """Raise InputError for payload columns that the source does not have, and modalities that the bundle does not take."""
    unknown = [name for name in fields or () if name not in source.info.payload]
    if unknown:
        there = ", ".join(source.info.payload) or "none"
        raise InputError(f"{source.info.path} has no payload column '{unknown[0]}'; there is {there}.")
    check_modalities(source.info.dims, encoder.manifest.dims, source.info.path)


def _label_lists(table: FeatureTable) -> Iterator[list[int] | None]:
    """Class indices of each item; None where its labels are unknown."""
    if table.labels is None:
        return
    places, classes = np.nonzero(table.labels)
    ends = np.cumsum(np.bincount(places, minlength=len(table))).tolist()
    flat = classes.tolist()
    known = [True] * len(table) if table.labelled is None else table.labelled.tolist()
    for begin, end, labelled in zip([0, *ends], ends, known, strict=False):
        yield flat[begin:end] if labelled else None
