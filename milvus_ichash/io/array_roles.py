"""The roles of the named arrays in a file, the same for `.npz`, `.h5` and `.mat`.

Columns are found by name and shape: `id` (or `ids`, `_id`), `labels` (or `label`; `L`, `Lab`, `LAll` in the layouts of
`layouts`), `label_names`, and `present` (N, M). `present` has one column for each modality, in the file's order, which
is alphabetical in HDF5; image and text come first in the layouts. Every other matrix of numbers is a modality, and
every array of one value per item is payload. Arrays of one axis and another length are left out, as a vocabulary is.
Labels are multi-hot vectors, or one class number or name per item.

Where a file has no ids, items are numbered: the retrieval split from 0, the query split after it, and a training split
with features of its own after both, so that a number means one item only. In HDF5 and MATLAB files matrices may
lie on their side: the number of items is the one that modalities and labels have in common.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from milvus_ichash.choices import Split
from milvus_ichash.errors import InputError
from milvus_ichash.io.array_source import ArraySource
from milvus_ichash.io.column_rules import ID_NAMES, LABEL_NAMES, listing, pick, pick_modalities
from milvus_ichash.io.feature_source import ColumnNames, FeatureSource, SourceInfo
from milvus_ichash.io.label_rule import LabelRule, rule_for_arrays
from milvus_ichash.io.layouts import LAYOUT_LABELS, modality_name
from milvus_ichash.io.row_arrays import ColumnArray, RowArray, TurnableArray, absent, strings
from milvus_ichash.io.unpacking import check_unpacked, check_width

Group = dict[str, RowArray]
"""The arrays of one split by column."""

_PRESENT = "present"
_LABEL_NAMES = "label_names"
_NAMES_OF_LABELS = (_LABEL_NAMES, *LABEL_NAMES)
_NOT_JSON = {"O": "cells", "c": "complex numbers", "m": "lengths of time", "V": "records"}


@dataclass(frozen=True)
class Roles:
    """The role of each column of a file.

    Attributes:
        id, labels: their columns, or None.
        vectors: every modality that the file has -> its column.
        modalities: the same for those that are read.
        others: columns that are left; of these, one value per item is payload.
    """

    id: str | None
    labels: str | None
    vectors: dict[str, str]
    modalities: dict[str, str]
    others: tuple[str, ...]

    @classmethod
    def of(cls, arrays: Group, columns: ColumnNames, *, has_splits: bool) -> Roles:
        """Find the roles by name and shape, or as `columns` says."""
        id_column = pick(arrays, columns.id, ID_NAMES, "ids")
        labels = pick(
            arrays, columns.labels, (*LAYOUT_LABELS, *LABEL_NAMES) if has_splits else ("LAll", *LABEL_NAMES), "labels"
        )
        rest = {
            name: array for name, array in arrays.items() if name not in (id_column, labels, _PRESENT, _LABEL_NAMES)
        }
        if columns.modalities is None:
            _refuse_pictures(rest)
        vectors = {modality_name(name, has_splits=has_splits): name for name, array in rest.items() if is_matrix(array)}
        if any(modality != name for modality, name in vectors.items()):
            vectors = dict(sorted(vectors.items(), key=lambda item: ("image", "text", item[0]).index(item[0])))
        modalities = pick_modalities(arrays, vectors, columns.modalities)
        return cls(
            id_column, labels, vectors, modalities, tuple(name for name in rest if name not in modalities.values())
        )


@dataclass(frozen=True)
class ArrayTable:
    """The contents of a file of arrays: every split has the same modalities, classes and payload."""

    path: Path
    groups: dict[Split, Group]
    rows: dict[Split, int]
    roles: Roles
    dims: dict[str, int]
    rule: LabelRule | None
    payload: tuple[str, ...]
    left_out: dict[str, str]

    @classmethod
    def of(
        cls, path: Path, files: Collection[Path], groups: Mapping[Split, Group], arrays: Group, columns: ColumnNames
    ) -> ArrayTable:
        """Find the columns and check that they fit together, and into memory.

        Args:
            path: the file, or the folder of files.
            files: the file, or those of the folder.
            groups: the arrays of each split by column; "all" alone where the file is one table.
            arrays: all arrays of the file, under their full names.
            columns: what the caller says about columns.

        Raises:
            InputError: says which columns do not fit together, or are not there; or the content is far larger than the
                files.
        """
        merged = {column: array for group in groups.values() for column, array in group.items()}
        roles = Roles.of(merged, columns, has_splits=list(groups) != ["all"])
        members = [name for name in (*roles.modalities.values(), roles.labels, roles.id, _PRESENT) if name is not None]
        upright = {split: _upright(group, members) for split, group in groups.items()}
        rows = {split: count for split, (_, count) in upright.items()}
        ready = {split: _as_columns(group, (roles.id, roles.labels)) for split, (group, _) in upright.items()}
        for group in ready.values():
            _check_present(group, roles)
            _check_ids(group, roles)
        labels = [group[roles.labels] for group in ready.values() if roles.labels in group]
        # An array of another length is no column: it may be a vocabulary.
        others = {
            name: [_why_left_out(group.get(name)) for group in ready.values()]
            for name in roles.others
            if all(name not in group or group[name].shape[:1] == (rows[split],) for split, group in ready.items())
        }
        payload = tuple(name for name, reasons in others.items() if not any(reasons))
        dims = {modality: _size(column, ready) for modality, column in roles.modalities.items()}
        check_width(dims)
        used = {*members, *payload, *_NAMES_OF_LABELS}
        read = [array for group in (*ready.values(), arrays) for name, array in group.items() if name in used]
        check_unpacked(sum(math.prod(array.shape) * max(array.itemsize, 4) for array in read), files)
        return cls(
            path=path,
            groups=ready,
            rows=rows,
            roles=roles,
            dims=dims,
            rule=rule_for_arrays(labels, _label_names(arrays, roles.labels)) if labels else None,
            payload=payload,
            left_out={name: max(filter(None, reasons)) for name, reasons in others.items() if any(reasons)},
        )

    def source(self, split: Split, name: str, first_id: int) -> FeatureSource:
        """Return the source of one split.

        Messages call it `name`, and its items are numbered from `first_id` where they have no ids.

        Raises:
            InputError: a split without rows, or without ids where others have them.
        """
        group, rows, roles = self.groups[split], self.rows[split], self.roles
        if not rows:
            raise InputError(f"the {name} split holds no rows." if name else "the file holds no rows.")
        if roles.id is not None and roles.id not in group and name != "train":
            raise InputError(f"the {name} split has no ids ('{roles.id}'), where other splits of the file have them.")
        ids = None if roles.id is None else group.get(roles.id)
        info = SourceInfo(
            path=self.path,
            rows=rows,
            dims=self.dims,
            id_kind="str" if ids is not None and ids.kind in "UO" else "int64",
            classes=None if self.rule is None else self.rule.classes,
            label_names=None if self.rule is None else self.rule.names,
            payload=self.payload,
            numbered=ids is None,
            left_out=self.left_out,
            columns=tuple(group),
        )
        return ArraySource(
            info=info,
            name=name,
            features={m: group.get(column, absent(rows, self.dims[m])) for m, column in roles.modalities.items()},
            ids_array=ids,
            labels=None if self.rule is None else group.get(roles.labels or "", absent(rows, self.rule.classes)),
            rule=self.rule,
            present=group.get(_PRESENT),
            present_columns=tuple(list(roles.vectors.values()).index(column) for column in roles.modalities.values()),
            payload={column: group[column] for column in self.payload},
            first_id=first_id,
        )


def is_matrix(array: RowArray) -> bool:
    """Return whether an array has two axes and holds numbers."""
    return len(array.shape) == 2 and array.kind in "ifb"


def _why_left_out(array: RowArray | None) -> str | None:
    """Return why an array of one split cannot be payload; None where it can."""
    if array is None:
        return "not in every split"
    if len(array.shape) > 1:
        return "vectors that are no modality here" if is_matrix(array) else f"shape {array.shape}"
    return None if array.kind in "ifbUM" else _NOT_JSON.get(array.kind, "of no kind that can be stored")


def _refuse_pictures(arrays: Group) -> None:
    counts = {count for array in arrays.values() if len(array.shape) <= 2 for count in array.shape}
    for name, array in arrays.items():
        if len(array.shape) > 2 and array.kind in "ifb" and (not counts or counts.intersection(array.shape)):
            raise InputError(
                f"'{name}' has shape {array.shape}, which looks like raw pictures; features are wanted, one vector per "
                "item. Compute them with an image network, or name the modalities to read (--modality NAME=COLUMN): "
                f"{listing(arrays)}."
            )


def _upright(group: Group, members: Sequence[str]) -> tuple[Group, int]:
    """Return the arrays with one row per item, and the number of items: the size that all members have in common."""
    shapes = {name: group[name].shape for name in members if name in group}
    counts = {shape[0] if shape else 0 for shape in shapes.values()}
    if len(counts) == 1:
        return group, counts.pop()
    common = set.intersection(*(set(shape) for shape in shapes.values()))
    rows = common.pop() if len(common) == 1 else -1
    turned = {name: group[name] for name, shape in shapes.items() if shape[:1] != (rows,)}
    if rows < 0 or not all(isinstance(array, TurnableArray) for array in turned.values()):
        raise InputError(
            "the arrays disagree in their number of rows: "
            f"{', '.join(f'{name} {shape}' for name, shape in shapes.items())}. "
            "Where one of them is no modality, name those that are (--modality NAME=COLUMN)."
        )
    return group | {name: array.turned() for name, array in turned.items() if isinstance(array, TurnableArray)}, rows


def _as_columns(group: Group, names: Sequence[str | None]) -> Group:
    """Return the arrays with these, where they are matrices of one column, as (N,)."""
    return {
        name: ColumnArray(array) if name in names and len(array.shape) == 2 and array.shape[1] == 1 else array
        for name, array in group.items()
    }


def _size(column: str, groups: Mapping[Split, Group]) -> int:
    sizes = {split: group[column].shape[1] for split, group in groups.items() if column in group}
    if len(set(sizes.values())) > 1:
        raise InputError(
            f"'{column}' differs in size between splits: "
            f"{', '.join(f'{split} {size}' for split, size in sizes.items())}."
        )
    return next(iter(sizes.values()))


def _check_present(group: Group, roles: Roles) -> None:
    shape = group[_PRESENT].shape if _PRESENT in group else None
    if shape is not None and group[_PRESENT].kind not in "bif":
        raise InputError(f"'{_PRESENT}' is of kind '{group[_PRESENT].kind}'; it needs True or False for each item.")
    if shape is not None and (len(shape) != 2 or shape[1] != len(roles.vectors)):
        raise InputError(
            f"'{_PRESENT}' has shape {shape}; it needs one column for each of {listing(roles.vectors.values())}."
        )


def _check_ids(group: Group, roles: Roles) -> None:
    ids = group.get(roles.id or "")
    if ids is not None and (len(ids.shape) != 1 or ids.kind not in "ifUO"):
        raise InputError(
            f"the id column '{roles.id}' has shape {ids.shape} and is of kind '{ids.kind}'; ids are one string or "
            "whole number for each item."
        )


def _label_names(arrays: Group, labels: str | None) -> tuple[str, ...] | None:
    for name in _NAMES_OF_LABELS:
        if name in arrays and name != labels and arrays[name].kind in "UO" and len(arrays[name].shape) == 1:
            array = arrays[name]
            return tuple(value for chunk in array.chunks(max(1, array.shape[0])) for value in strings(chunk))
    return None
