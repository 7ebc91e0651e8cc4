"""The database of an evaluation: which rows there are, their labels, and the modalities that they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.class_names import NAME_THEM, are_numbers, numbered_classes
from milvus_ichash.codes import Codes, cut
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.histograms import Counts, LabelSets
from milvus_ichash.evaluation.tasks import has_all, single_modality_code
from milvus_ichash.features import FeatureTable, Ids, Mask, MultiHot
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.io.column_rules import listing
from milvus_ichash.io.feature_source import FeatureSource
from milvus_ichash.runtime.encoder import HashEncoder

_BATCH = 4096


@dataclass(frozen=True, eq=False)
class Database:
    """N rows, sorted by id.

    Attributes:
        ids: (N,) int64 or object of str.
        labels: uint8 (N, C); zeros where a row's labels are unknown.
        label_names: the C names, or None.
        present: bool (N, M), in the order of `modalities`: True where the row has the modality, False where it is
            missing.
        modalities: M names.
        codes: uint8 (N, bits / 8) by the code's name; empty where the codes stay in Milvus.
        all_classes: whether there are no other classes than these C. False for a collection without names, where a
            class that no row has is not known.
    """

    ids: Ids
    labels: MultiHot
    label_names: tuple[str, ...] | None
    present: Mask
    modalities: tuple[str, ...]
    codes: Mapping[str, Codes]
    all_classes: bool = True
    _counted: dict[tuple[tuple[str, ...], bytes], Counts] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def cut(self, bits: int) -> Database:
        """Return the same rows with the first `bits` of their codes."""
        return replace(self, codes={name: cut(codes, bits // 8) for name, codes in self.codes.items()})

    def rows_with(self, modalities: Sequence[str]) -> npt.NDArray[np.intp]:
        """Return the numbers of the rows that have all of these modalities, ascending: intp (rows,)."""
        return np.flatnonzero(has_all(self.present, self.modalities, modalities))

    @cached_property
    def label_sets(self) -> LabelSets:
        """The labels of all rows, for counting what they share with a query."""
        return LabelSets(self.labels)

    def count_by_shared_labels(self, labels: MultiHot, required: Sequence[str], levels: int) -> Counts:
        """Return how many rows share 0, 1, 2, ... labels with a query: int64 (levels,). Equal queries are counted once.

        Args:
            labels: uint8 (C,), labels of the query.
            required: modalities that a row must have to be counted.
            levels: length of the result, more than the number of labels of the query.
        """
        key = (tuple(required), labels.tobytes())
        if key not in self._counted:
            self._counted[key] = np.bincount(self.label_sets.shared_with(labels)[self.rows_with(required)])
        counts = self._counted[key]
        return np.pad(counts, (0, levels - len(counts)))


def encode_database(encoder: HashEncoder, source: FeatureSource, single_modalities: Sequence[str] = ()) -> Database:
    """Return the rows of a feature source with their codes, which are made batch by batch.

    Args:
        encoder: makes the codes.
        source: the rows, with labels.
        single_modalities: modalities for which there are single-modality codes too: fused codes made from this modality
            only, named by `tasks.single_modality_code`. They are zero in rows that lack it.

    Raises:
        InputError: the source has no labels, or rows that cannot be encoded.
    """
    source.info.check_labels()
    batches = [
        (
            table.ids,
            table.known_labels() if table.labelled is None else table.known_labels() * table.labelled[:, None],
            table.present,
            encoder.encode_table(table) | _single_modality_codes(encoder, table, single_modalities),
        )
        for table in source.batches(_BATCH)
    ]
    if not batches:
        raise InputError(f"{source.info.path} has no rows to search in.")
    ids, labels, present, codes = zip(*batches, strict=True)
    order = np.argsort(np.concatenate(ids), kind="stable")
    return Database(
        ids=np.concatenate(ids)[order],
        labels=np.concatenate(labels)[order],
        label_names=source.info.label_names,
        present=np.concatenate(present)[order],
        modalities=tuple(source.info.dims),
        codes={name: np.concatenate([some[name] for some in codes])[order] for name in codes[0]},
    )


def read_database(index: HashIndex, codes: tuple[str, ...]) -> Database:
    """Return all rows of a collection, with the codes of these names.

    Raises:
        InputError: the collection is empty, or has no labels.
        MilvusError: Milvus was not reached in time, or refused.
    """
    rows = index.read_back(codes=codes)
    if not len(rows.ids):
        raise InputError(f"collection '{index.collection}' is empty: ingest something into it first.")
    if rows.labels is None:
        raise InputError(
            f"collection '{index.collection}' has no labels, so what is relevant cannot be told: ingest its items "
            "again from a file with labels (--labels-column); that replaces the rows by their ids."
        )
    names: Sequence[str] | None = index.label_names
    lists: Sequence[Sequence[Any]] = [labels or () for labels in rows.labels]
    if index.labels_by_name:
        lists, names = numbers_of_names(lists, names or ())
    return Database(
        ids=rows.ids,
        labels=labels_from_lists(lists, len(names) if names else None),
        label_names=None if names is None else tuple(names),
        present=rows.present,
        modalities=tuple(index.modalities),
        codes=rows.codes,
        all_classes=bool(names),
    )


def numbers_of_names(
    lists: Sequence[Sequence[str]], names: Sequence[str] = ()
) -> tuple[list[list[int]], tuple[str, ...]]:
    """Return lists of class names as lists of class numbers, and the names in the order of the numbers.

    These are the names that are given, and after them, sorted, those that only the lists have.

    Raises:
        InputError: a label is no name.
    """
    number = {name: place for place, name in enumerate(names)}
    found = set(chain.from_iterable(lists)) - number.keys()
    if any(type(name) is not str for name in found):
        wrong = next(name for name in found if type(name) is not str)
        raise InputError(f"the collection holds the label {wrong!r} among names of classes: ingest it again.")
    number |= {name: len(names) + place for place, name in enumerate(sorted(found))}
    return [[number[name] for name in row] for row in lists], tuple(number)


def labels_from_lists(lists: Sequence[Sequence[int]], classes: int | None = None) -> MultiHot:
    """Return lists of class indices, as a collection holds them, as one array: uint8 (N, classes).

    Raises:
        InputError: a negative index, or one beyond the number of classes where that is known.
    """
    if set(map(type, chain.from_iterable(lists))) - {int}:
        raise InputError("the collection holds labels that are no class numbers: ingest it again.")
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
    """Match the queries' classes with the database's, by name; classes without names are called by their numbers.

    Args:
        query: uint8 (Q, classes of the queries).
        query_names: their names, or None.
        database: its labels and their names.

    Returns:
        The queries' labels over the database's classes, uint8 (Q, C); and the names of the queries' classes that the
        database does not know: those match nothing.

    Raises:
        InputError: the two sides cannot have the same classes.
    """
    names, classes = database.label_names, database.labels.shape[1]
    if query_names is None and names is None:
        if query.shape[1] < classes or (query.shape[1] > classes and database.all_classes):
            raise InputError(
                f"the queries have {query.shape[1]} classes, the database {classes}, and without names for both "
                "nobody can tell which are the same: give the query file the database's classes."
            )
        return query[:, :classes], []
    bare = query_names is None or (names is None and database.all_classes)
    if query_names is None or names is None:
        _check_numbered(query_names, names)
    query_names = numbered_classes(query.shape[1]) if query_names is None else query_names
    names = numbered_classes(classes) if names is None else names
    column_of = {name: column for column, name in enumerate(names)}
    used = [(column, name) for column, name in enumerate(query_names) if query[:, column].any()]
    unknown = [name for _, name in used if name not in column_of]
    if used and (len(unknown) == len(used) or (bare and unknown)):
        if are_numbers(query_names) != are_numbers(names):
            _check_numbered(query_names, names)
        raise InputError(
            f"queries and database have no class in common: the queries have {listing(unknown, 5)}, the database "
            f"{listing(names, 5)}. Are these the same classes under other names?"
        )
    aligned = np.zeros((len(query), classes), np.uint8)
    for column, name in used:
        if name in column_of:
            aligned[:, column_of[name]] = query[:, column]
    return aligned, unknown


def _check_numbered(query_names: Sequence[str] | None, names: Sequence[str] | None) -> None:
    """Raise InputError where one side has names of classes, so that the other must have numbers."""
    for side, real in (("the queries name", query_names), ("the database names", names)):
        if real is not None and not are_numbers(real):
            raise InputError(
                f"{side} classes ({listing(real, 3)}), and the other side has class numbers or 0/1 vectors without "
                f"names. {NAME_THEM}"
            )


def _single_modality_codes(encoder: HashEncoder, table: FeatureTable, modalities: Sequence[str]) -> dict[str, Codes]:
    """Return the fused codes of all rows made from one modality each."""
    fused = [code.name for code in encoder.manifest.codes if code.modality is None]
    found: dict[str, Codes] = {}
    for modality in modalities if fused else ():
        there = table.present[:, table.modalities.index(modality)]
        made = encoder.encode_table(table.only(modality))
        for name in fused:
            codes = found[single_modality_code(name, modality)] = np.zeros((len(table), encoder.bits // 8), np.uint8)
            codes[there] = made[name]
    return found


def about_collection(index: HashIndex) -> dict[str, Any]:
    """Return what the result says about a collection and about the Milvus that holds it."""
    connection = index.connection
    return {
        "collection": index.collection,
        "index": index.index_states(),
        "index_kind": index.spec.kind,
        "nlist": index.spec.nlist,
        "rows_not_indexed": index.rows_without_index(),
        "milvus": f"Milvus Lite {connection.server_version}" if connection.is_lite else connection.server_version,
        "address": connection.address,
        "pymilvus": version("pymilvus"),
    }


def not_indexed_note(index: HashIndex, rows: int) -> str:
    """Return a note which says that so many rows are not indexed yet."""
    return (
        f"{rows} rows of '{index.collection}' are not indexed yet, so the recall is not the index's (it is better than "
        f"it will be): wait with `milvus-ichash index --collection {index.collection} --wait`, then evaluate again."
    )
