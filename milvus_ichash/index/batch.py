"""From arrays to what Milvus stores, checked first: Milvus Lite stores wrong values without a word, or dies of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from milvus_ichash.codes import Codes
from milvus_ichash.errors import InputError
from milvus_ichash.features import Mask
from milvus_ichash.index.columnar import FieldColumns
from milvus_ichash.index.description import Description
from milvus_ichash.index.field_names import ID, ID_BYTES, LABELS, META, META_BYTES, has
from milvus_ichash.index.label_forms import LabelLists, checked_labels

Row = dict[str, Any]
Payload = Mapping[str, Sequence[Any]]
"""Further columns by name, one value for each item: whatever JSON knows."""

_NOT_JSON = (TypeError, ValueError, RecursionError)
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, eq=False)
class Batch:
    """n items with all fields of a collection, checked: made by `build_batch`, written by `index.writing`.

    Attributes:
        ids: n of them.
        codes: uint8 (n, bits / 8) by name.
        present: n booleans by field (`has_image`, ...).
        dynamic: labels and payload, n values by name; labels are None where they are unknown.
        encoded: labels and payload of each item as JSON, in UTF-8; None where there is neither.
    """

    ids: list[Any]
    codes: Mapping[str, Codes]
    present: Mapping[str, list[bool]]
    dynamic: Mapping[str, Sequence[Any]]
    encoded: list[bytes] | None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def meta(self) -> list[bytes]:
        """Labels and payload of each item as JSON, in UTF-8."""
        return [b"{}"] * len(self) if self.encoded is None else self.encoded

    def rows(self) -> list[Row]:
        """Return one dict for each item, as `MilvusClient` takes them; unknown labels are left out."""
        packed = {name: _as_bytes(codes) for name, codes in self.codes.items()}
        return _in_rows({ID: self.ids, **packed, **self.present, **self.dynamic})

    def columns(self) -> FieldColumns:
        """Return the items by field, as `Columnar` takes them."""
        # Where there is nothing dynamic, Milvus writes the empty JSON itself, faster than it reads it.
        return {ID: self.ids, **self.codes, **self.present, **({META: self.meta} if self.dynamic else {})}

    def parts(self, rows: int, size: int) -> Iterator[Batch]:
        """Yield the batch in parts of at most so many rows, and of about so many bytes at the most."""
        fixed = ID_BYTES // 8 + sum(codes.shape[1] for codes in self.codes.values())
        start = 0
        while start < len(self):
            end = min(start + rows, len(self))
            if self.encoded is not None:
                sizes = accumulate(fixed + len(text) for text in self.encoded[start:end])
                end = start + max(1, sum(1 for total in sizes if total <= size))
            yield self if (start, end) == (0, len(self)) else self._part(slice(start, end))
            start = end

    def take(self, mask: Mask) -> Batch:
        """Return the items of this mask, bool (n,), in their order."""
        rows = np.flatnonzero(mask).tolist()

        def chosen(values: Sequence[Any]) -> list[Any]:
            return [values[row] for row in rows]

        return Batch(
            chosen(self.ids),
            {name: codes[mask] for name, codes in self.codes.items()},
            {name: chosen(values) for name, values in self.present.items()},
            {name: chosen(values) for name, values in self.dynamic.items()},
            None if self.encoded is None else chosen(self.encoded),
        )

    def _part(self, rows: slice) -> Batch:
        return Batch(
            self.ids[rows],
            {name: codes[rows] for name, codes in self.codes.items()},
            {name: values[rows] for name, values in self.present.items()},
            {name: values[rows] for name, values in self.dynamic.items()},
            None if self.encoded is None else self.encoded[rows],
        )


def build_batch(
    description: Description,
    ids: Sequence[Any],
    codes: Mapping[str, Codes],
    present: Mask,
    labels: LabelLists | None,
    payload: Payload | None,
) -> Batch:
    """Return items with all fields of the collection.

    Args:
        description: of the collection.
        ids: n ids, out of `stored_ids.checked_ids`.
        codes: uint8 (n, bits / 8) by name, or whole ones, which are cut; codes that the collection does not store are
            passed over.
        present: bool (n, M), in the order of the collection's modalities; False where an item lacks one.
        labels: class names of each item, or class numbers where the collection holds those; None for an item, or
            altogether, where they are unknown.
        payload: further columns of n values that JSON knows.

    Raises:
        InputError: names the code, field or row that cannot be stored.
    """
    n = len(ids)
    has_fields = [has(modality) for modality in description.modalities]
    if present.shape != (n, len(has_fields)) or present.dtype != np.bool_:
        raise InputError(f"'present' is {present.dtype} {present.shape}; expected bool ({n}, {len(has_fields)}).")
    stored: dict[str, Codes] = {}
    for name in description.codes:
        if name not in codes:
            raise InputError(
                f"the collection stores '{name}', and there is no such code among {', '.join(codes) or 'those given'}."
            )
        stored[name] = description.cut(codes[name])
        check_codes(stored[name], description.bits)
        if len(stored[name]) != n:
            raise InputError(f"{n} ids, but {len(stored[name])} codes.")
    dynamic = _checked_payload(payload or {}, n, {ID, LABELS, *stored, *has_fields})
    if labels is not None:
        dynamic[LABELS] = checked_labels(labels, n, description)
    encoded = _as_json(dynamic) if payload else None if labels is None else _labels_as_json(dynamic[LABELS])
    present_columns = dict(zip(has_fields, present.T.tolist(), strict=True))
    return Batch(list(ids), stored, present_columns, dynamic, encoded)


def check_sizes(batch: Batch, item: Callable[[int], str]) -> None:
    """Raise InputError for an item whose labels and payload are more than a server stores; `item` names it by row."""
    sizes = list(map(len, batch.meta))
    if sizes and max(sizes) > META_BYTES:
        row = next(row for row, size in enumerate(sizes) if size > META_BYTES)
        check_size({name: values[row] for name, values in batch.dynamic.items()}, lambda: item(row))


def check_size(values: Mapping[str, Any], item: Callable[[], str]) -> None:
    """Raise InputError where labels and payload of an item, by name, are more than a server stores."""
    size = len(_to_json(values).encode())
    if size > META_BYTES:
        each = {name: len(_to_json(value).encode()) for name, value in values.items()}
        largest = max(each, key=each.__getitem__)
        raise InputError(
            f"{item()} has labels and payload of {size:,} bytes as JSON ({each[largest]:,} of them in '{largest}'): "
            f"a Milvus server stores at most {META_BYTES:,} for an item. Shorten the value, or leave columns out "
            "(--fields, --no-labels)."
        )


def check_codes(codes: Codes, bits: int) -> None:
    """Raise InputError for anything but packed bits, uint8 (n, bits / 8).

    Milvus Lite would store floats, unpacked bits and short rows as something else.
    """
    width = bits // 8
    if not isinstance(codes, np.ndarray) or codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != width:
        found = f"{codes.dtype} {codes.shape}" if isinstance(codes, np.ndarray) else type(codes).__name__
        raise InputError(
            f"codes are {found}; this collection takes packed bits, uint8 (n, {width}): see milvus_ichash.codes.pack."
        )


def code_bytes(codes: Codes, bits: int) -> list[bytes]:
    """Return the rows of uint8 (n, bits / 8) as bytes, as pymilvus takes them. Errors as `check_codes`."""
    check_codes(codes, bits)
    return _as_bytes(codes)


def _as_bytes(codes: Codes) -> list[bytes]:
    result: list[bytes] = np.ascontiguousarray(codes).view(f"V{codes.shape[1]}").ravel().tolist()
    return result


def _in_rows(columns: Mapping[str, Sequence[Any]]) -> list[Row]:
    """Return one dict for each row of these columns; unknown labels are left out."""
    names = tuple(columns)
    rows = [dict(zip(names, values)) for values in zip(*columns.values())]  # noqa: B905 (lengths are checked; strict costs a third)
    if None in columns.get(LABELS, ()):
        for row in rows:
            if row[LABELS] is None:
                del row[LABELS]
    return rows


def _as_json(dynamic: Mapping[str, Sequence[Any]]) -> list[bytes]:
    """Return the JSON of each item, which is also how it is found out what JSON does not know."""
    try:
        return [_to_json(row).encode() for row in _in_rows(dynamic)]
    except _NOT_JSON:
        everything = ((name, row, value) for name, values in dynamic.items() for row, value in enumerate(values))
        name, row, value = next(each for each in everything if not _is_json({each[0]: each[2]}))
        raise InputError(
            f"row {row} of the payload column '{name}' holds {value!r:.60}: Milvus stores strings, finite numbers, "
            "booleans, lists and dictionaries of these, and None."
        ) from None


def _is_json(value: Any) -> bool:
    try:
        return bool(_to_json(value).encode())
    except _NOT_JSON:
        return False


def _labels_as_json(labels: LabelLists) -> list[bytes]:
    """Return the JSON of items that have nothing but labels: a few different sets of labels come often."""
    known: dict[tuple[Any, ...] | None, bytes] = {None: b"{}"}
    texts = []
    for row in labels:
        key = None if row is None else tuple(row)
        text = known.get(key)
        if text is None:
            text = known[key] = _to_json({LABELS: key}).encode()
        texts.append(text)
    return texts


def _checked_payload(payload: Payload, n: int, taken: set[str]) -> dict[str, Sequence[Any]]:
    """Return the payload as lists, with names that are free and n values in each column."""
    columns: dict[str, Sequence[Any]] = {}
    for name, given in payload.items():
        if name in taken or not name or name.startswith("$"):
            raise InputError(
                f"the payload column '{name}' has a name that Milvus or this program uses itself: "
                "rename it, or leave it out."
            )
        columns[name] = given.tolist() if isinstance(given, np.ndarray) else given
        if len(columns[name]) != n:
            raise InputError(f"the payload column '{name}' has {len(columns[name])} values for {n} ids.")
    return columns
