"""From the rows of a source to batches of a collection: codes, present modalities, labels, payload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from milvus_ichash.choices import IdKind
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable, check_modalities
from milvus_ichash.index.batch import Batch, build_batch, check_sizes
from milvus_ichash.index.description import Description
from milvus_ichash.index.stored_ids import checked_ids
from milvus_ichash.ingestion.ingest_options import IngestOptions
from milvus_ichash.ingestion.label_lists import check_known_classes, label_lists
from milvus_ichash.ingestion.payload import PayloadCleaner
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.runtime.encoder import HashEncoder


@dataclass(frozen=True)
class BatchMaker:
    """Makes batches for a collection, or for files that a server imports into one.

    Attributes:
        encoder: the bundle; its codes are as long as those of the collection.
        description: of the collection.
        id_kind: kind of its ids.
        lite: whether it is on Milvus Lite, which stores other ids, and payload of any size.
        options: which payload columns go along, and whether labels do.
        clean: makes payload fit for Milvus, and counts what it changes.
    """

    encoder: HashEncoder
    description: Description
    id_kind: IdKind
    lite: bool
    options: IngestOptions
    clean: PayloadCleaner = field(default_factory=PayloadCleaner)

    def __call__(self, table: FeatureTable) -> Batch:
        """Return the items of a table (at least one), encoded and checked.

        Raises:
            InputError: names the row, column or class that cannot be stored.
        """
        fields = table.payload if self.options.fields is None else self.options.fields
        payload = {name: values for name, values in table.payload.items() if name in fields}
        labels = label_lists(table, self.description, self._class_names) if self.options.labels else None
        keys = checked_ids(table.ids, self.id_kind, lite=self.lite)
        batch = build_batch(
            self.description,
            keys,
            self.encoder.encode_table(table),
            table.present_for(self.description.modalities),
            labels,
            self.clean(payload),
        )
        if not self.lite:
            check_sizes(batch, table.row_name)
        return batch

    @property
    def _class_names(self) -> Sequence[str] | None:
        """The names of all classes: the bundle's, else those that the collection knows."""
        names = self.encoder.manifest.label_names
        return self.description.label_names if names is None else names


def description_of_rows(source: FeatureSource, encoder: HashEncoder, options: IngestOptions) -> Description:
    """Return the description of a collection for the rows of a source; class names come from the bundle, or the source.

    Raises:
        InputError: options that cannot be used; a source without ids, where row numbers were not asked for; a payload
            column that the source does not have; a modality, class, code or length that the bundle does not know.
    """
    options.check()
    source.info.check_ids(row_ids=options.row_ids)
    unknown = [name for name in options.fields or () if name not in source.info.payload]
    if unknown:
        path, there = source.info.path, ", ".join(source.info.payload) or "none"
        why = source.info.left_out.get(unknown[0])
        no = f"column '{unknown[0]}' of {path} cannot be stored ({why})" if why else None
        raise InputError(f"{no or f'{path} has no payload column {unknown[0]!r}'}; there is {there}.")
    manifest = encoder.manifest
    check_modalities(source.info.dims, manifest.dims, source.info.path)
    if options.labels and source.info.classes is not None:
        check_known_classes(source.info, manifest.label_names)
    names = source.info.label_names if manifest.label_names is None else manifest.label_names
    bits = encoder.bits if options.bits is None else options.bits
    return Description.of(manifest.model_copy(update={"label_names": names}), options.codes, bits)
