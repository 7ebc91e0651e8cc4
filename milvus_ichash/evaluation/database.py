"""The database side of an evaluation: which rows there are, what they are labelled with, and which modalities they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from milvus_ichash.codes import Codes, cut
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.tasks import single_modality_code
from milvus_ichash.features import FeatureTable, Ids, Mask, MultiHot
from milvus_ichash.io.column_rules import listing

if TYPE_CHECKING:
    from milvus_ichash.io.feature_source import FeatureSource
    from milvus_ichash.runtime.encoder import HashEncoder

_BATCH = 4096


@dataclass(frozen=True, eq=False)
class Database:
    """N rows, sorted by id.

    Attributes:
        ids: (N,) int64 or object of str.
        labels: multi-hot uint8 (N, C); zeros where a row's labels are unknown.
        label_names: the C names, or None.
        all_classes: False where there may be more classes than these, of which no row was seen (a collection without
            names).
        present: bool (N, M), in the order of `modalities`: what was observed, not completed.
        modalities: M names.
        codes: uint8 (N, bits / 8) by the code's name; empty where the codes stay in Milvus.
    """

    ids: Ids
    labels: MultiHot
    label_names: tuple[str, ...] | None
    present: Mask
    modalities: tuple[str, ...]
    codes: Mapping[str, Codes]
    all_classes: bool = True

    def __len__(self) -> int:
        return len(self.ids)

    def cut(self, bits: int) -> Database:
        """The same rows with the first `bits` of their codes."""
        return replace(self, codes={name: cut(codes, bits // 8) for name, codes in self.codes.items()})


def encode_database(encoder: HashEncoder, source: FeatureSource, alone: Sequence[str] = ()) -> Database:
    """Encode a feature source, batch by batch.

    Args:
        encoder: makes the codes.
        source: the rows.
        alone: modalities that fused codes are made from alone too, as `tasks.single_modality_code` names them; zeros in rows that
            lack it.

    Raises:
        InputError: the source has no labels, or rows that cannot be encoded.
    """
    if source.info.classes is None:
        raise InputError(
            f"{source.info.path} has no labels: what is relevant cannot be told. Name their column with --labels-column."
        )
    ids: list[Ids] = []
    labels: list[MultiHot] = []
    present: list[Mask] = []
    codes: dict[str, list[Codes]] = {}
    for table in source.batches(_BATCH):
        ids.append(table.ids)
        labels.append(_known_labels(table.labels, table.labelled))
        present.append(table.present)
        for name, part in (encoder.encode_table(table) | _alone(encoder, table, alone)).items():
            codes.setdefault(name, []).append(part)
    if not ids:
        raise InputError(f"{source.info.path} has no rows to search in.")
    order = np.argsort(np.concatenate(ids), kind="stable")
    return Database(
        ids=np.concatenate(ids)[order],
        labels=np.concatenate(labels)[order],
        label_names=source.info.label_names,
        present=np.concatenate(present)[order],
        modalities=tuple(source.info.dims),
        codes={name: np.concatenate(parts)[order] for name, parts in codes.items()},
    )


def labels_from_lists(lists: Sequence[Sequence[int]], classes: int | None = None) -> MultiHot:
    """Lists of class indices, as a collection holds them, as multi-hot uint8 (N, classes).

    Raises:
        InputError: a negative index, or one beyond the number of classes where that is known.
    """
    lengths = np.fromiter(map(len, lists), np.intp, len(lists))
    index = np.fromiter(chain.from_iterable(lists), np.int64, int(lengths.sum()))
    highest = int(index.max(initial=-1))
    if index.min(initial=0) < 0 or (classes is not None and highest >= classes):
        raise InputError(
            f"the collection holds class indices up to {highest}; expected 0 to {(classes or 0) - 1}: ingest it again."
        )
    labels = np.zeros((len(lists), classes or highest + 1), np.uint8)
    labels[np.repeat(np.arange(len(lists)), lengths), index] = 1
    return labels


def align_labels(query: MultiHot, query_names: Sequence[str] | None, database: Database) -> tuple[MultiHot, list[str]]:
    """Queries' labels over the database's classes: by name where both sides have names, else by index.

    Returns:
        uint8 (Q, C), and the names of the queries' classes that the database does not know: those match nothing.

    Raises:
        InputError: where the classes of the two cannot be the same ones.
    """
    names, classes = database.label_names, database.labels.shape[1]
    if query_names is None or names is None:
        if query.shape[1] < classes or (query.shape[1] > classes and database.all_classes):
            raise InputError(
                f"the queries have {query.shape[1]} classes, the database {classes}, and without names for both "
                "nobody can tell which are the same: give the query file the database's classes."
            )
        return query[:, :classes], []
    used = [int(column) for column in np.flatnonzero(query.any(axis=0))]
    known = {name: column for column, name in enumerate(names)}
    unknown = [query_names[column] for column in used if query_names[column] not in known]
    if used and len(unknown) == len(used):
        raise InputError(
            f"queries and database have no class in common: the queries have {listing(unknown, 5)}, the database {listing(names, 5)}. "
            "Are these the same classes under other names?"
        )
    aligned = np.zeros((len(query), classes), np.uint8)
    for column in used:
        if query_names[column] in known:
            aligned[:, known[query_names[column]]] = query[:, column]
    return aligned, unknown


def _alone(encoder: HashEncoder, table: FeatureTable, modalities: Sequence[str]) -> dict[str, Codes]:
    """Fused codes of all rows from one modality each."""
    fused = [code.name for code in encoder.manifest.codes if code.modality is None]
    found: dict[str, Codes] = {}
    for modality in modalities if fused else ():
        there = table.present[:, table.modalities.index(modality)]
        made = encoder.encode_table(table.only(modality))
        for name in fused:
            found[single_modality_code(name, modality)] = np.zeros((len(table), encoder.bits // 8), np.uint8)
            found[single_modality_code(name, modality)][there] = made[name]
    return found


def _known_labels(labels: MultiHot | None, labelled: Mask | None) -> MultiHot:
    if labels is None:
        raise InputError("a batch of the database has no labels.")
    return labels if labelled is None else labels * labelled[:, None]
