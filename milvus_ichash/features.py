"""FeatureTable: a batch, or a whole data set, of items whose modalities may be missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.class_names import check_classes, numbered_classes
from milvus_ichash.errors import InputError, check_known

Features = npt.NDArray[np.float32]
MultiHot = npt.NDArray[np.uint8]
"""Labels, uint8 (N, C): 1 where an item belongs to a class, else 0."""
Mask = npt.NDArray[np.bool_]
Ids = npt.NDArray[Any]
"""int64 (N,) or object (N,) of str: the two kinds of primary key that Milvus takes."""
MOST_EXTREME = 1e18
"""Features beyond this, positive or negative, mark an error: in float32 their squares overflow, and codes are noise."""


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """N items in M >= 1 named modalities.

    Attributes:
        ids: (N,) int64, or object array of str.
        features: one float32 (N, D_m) array per modality, in the order of the columns of `present`. Rows that are not
            present may hold anything.
        present: bool (N, M); True where the item has the modality. Every row has at least one.
        labels: uint8 (N, C), multi-hot, or None where the data has no labels.
        labelled: bool (N,); False where an item's labels are unknown (its row of `labels` is zero). None: all are
            known.
        label_names: the C names, or None.
        payload: further columns, each a sequence of N values that Milvus can store.
        first_row: number of the first row in its file, so that messages name rows as the file has them.
        checked: True where the features of present modalities are known to be finite, so that nobody has to look at
            them again; such a table's arrays must not be written to. A copy by `dataclasses.replace` is not checked.

    Use `FeatureTable.build` to make one from arrays with gaps; the constructor checks shapes only.
    """

    ids: Ids
    features: dict[str, Features]
    present: Mask
    labels: MultiHot | None = None
    labelled: Mask | None = None
    label_names: tuple[str, ...] | None = None
    payload: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    first_row: int = 0
    checked: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        n, m = len(self.ids), len(self.features)
        if not m:
            raise InputError("a feature table needs at least one modality.")
        for name, x in self.features.items():
            if x.ndim != 2 or len(x) != n or not x.shape[1]:
                raise InputError(f"modality '{name}' has shape {x.shape}; expected ({n}, size), one row per id.")
        if self.present.shape != (n, m):
            raise InputError(f"'present' has shape {self.present.shape}; expected ({n}, {m}).")
        if self.labels is not None and (self.labels.ndim != 2 or len(self.labels) != n):
            raise InputError(f"labels have shape {self.labels.shape}; expected ({n}, classes).")
        if self.labelled is not None and self.labelled.shape != (n,):
            raise InputError(f"'labelled' has shape {self.labelled.shape}; expected ({n},).")
        for name, values in self.payload.items():
            if len(values) != n:
                raise InputError(f"payload '{name}' has {len(values)} values; expected {n}, one per id.")

    @classmethod
    def build(
        cls,
        ids: Ids,
        features: Mapping[str, npt.ArrayLike | None],
        *,
        present: Mask | None = None,
        labels: npt.NDArray[Any] | None = None,
        labelled: Mask | None = None,
        label_names: Sequence[str] | None = None,
        payload: Mapping[str, Sequence[Any]] | None = None,
        first_row: int = 0,
    ) -> FeatureTable:
        """Make a table from arrays with gaps, and check it.

        A row of a modality is missing where `present` says so, or where all of it is NaN. A row of zeros is not
        missing.

        Raises:
            InputError: names the row that has no modality, or NaN, infinity or a number beyond 1e18 in one that it has.

        Example:
            >>> image = np.array([[0.5, 1.0], [np.nan, np.nan]])
            >>> FeatureTable.build(np.array([7, 8]), {"image": image, "text": np.ones((2, 3))}).present.tolist()
            [[True, True], [False, True]]
        """
        with np.errstate(over="ignore"):
            # A double beyond float32 becomes infinity, and is reported as such below.
            arrays = {name: np.asarray(x, dtype=np.float32) for name, x in features.items() if x is not None}
        table = cls(
            ids=ids,
            features=arrays,
            present=np.ones((len(ids), len(arrays)), np.bool_) if present is None else np.array(present, np.bool_),
            labels=None if labels is None else np.asarray(labels, np.uint8),
            labelled=labelled,
            label_names=None if label_names is None else tuple(label_names),
            payload=dict(payload or {}),
            first_row=first_row,
        )
        suspects = {}
        for column, (name, x) in enumerate(arrays.items()):
            rows, empty = rows_unusable(x)
            table.present[rows[empty], column] = False
            suspects[name] = rows[~empty]
        table._check(suspects)
        return table

    def check_rows(self) -> None:
        """Raise InputError where a row has no modality, or a present one holds NaN, infinity or numbers beyond 1e18."""
        self._check({} if self.checked else {name: rows_unusable(x)[0] for name, x in self.features.items()})

    def _check(self, suspects: Mapping[str, npt.NDArray[np.intp]]) -> None:
        """Do what `check_rows` says, where only these rows of each modality may hold what cannot be used."""
        empty = np.flatnonzero(~self.present.any(axis=1))
        if len(empty):
            more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
            raise InputError(
                f"{self.row_name(empty[0])} has no modality at all{more}: "
                f"it cannot get a code; remove it or give it one of {', '.join(self.features)}."
            )
        for column, name in enumerate(self.features):
            bad = suspects.get(name, empty)
            bad = bad[self.present[bad, column]]
            if len(bad):
                more = f" (and {len(bad) - 1} more rows)" if len(bad) > 1 else ""
                largest = np.abs(self.features[name][bad[0]]).max()
                what = "NaN or infinity" if not np.isfinite(largest) else f"a number as large as {largest:.3g}"
                raise InputError(
                    f"{self.row_name(bad[0])} has {what} in '{name}'{more}: "
                    "mend the value, or make the whole row null (all NaN) if the modality is missing."
                )
        object.__setattr__(self, "checked", True)

    def row_name(self, row: int | np.intp) -> str:
        """Return how messages name the row at this place: see the function `row_name`."""
        return row_name(self.first_row + int(row), self.ids[row])

    @classmethod
    def concat(cls, tables: Iterable[FeatureTable], rows: int) -> FeatureTable:
        """Return one table of `rows` rows, made of several of the same kind.

        Each table is copied as it comes, so `tables` may be an iterator, of which memory holds one table at a time.

        Raises:
            InputError: where there are no tables, or they do not have `rows` rows between them.
        """
        whole: FeatureTable | None = None
        payload: dict[str, list[Any]] = {}
        end, checked = 0, True
        for table in tables:
            if whole is None:
                whole = table._room(rows)
                payload = {name: [] for name in table.payload}
            begin, end = end, end + len(table)
            if end > rows:
                break
            whole._fill(slice(begin, end), table)
            checked = checked and table.checked
            for name, values in table.payload.items():
                payload[name].extend(values)
        if whole is None or end != rows:
            raise InputError(f"{rows} rows were expected, and {'more' if end > rows else end} came.")
        known = whole.labelled is None or bool(whole.labelled.all())
        object.__setattr__(whole, "checked", checked)
        return whole._like(payload=payload, labelled=None if known else whole.labelled)

    def _room(self, rows: int) -> FeatureTable:
        """Return a table of this kind with `rows` rows still to be filled, without payload."""
        return FeatureTable(
            ids=np.empty(rows, self.ids.dtype),
            features={name: np.empty((rows, x.shape[1]), np.float32) for name, x in self.features.items()},
            present=np.empty((rows, len(self.features)), np.bool_),
            labels=None if self.labels is None else np.empty((rows, self.labels.shape[1]), np.uint8),
            labelled=np.ones(rows, np.bool_),
            label_names=self.label_names,
            first_row=self.first_row,
        )

    def _fill(self, rows: slice, table: FeatureTable) -> None:
        self.ids[rows] = table.ids
        self.present[rows] = table.present
        for name, x in self.features.items():
            x[rows] = table.features[name]
        if self.labels is not None and table.labels is not None:
            self.labels[rows] = table.labels
        if self.labelled is not None and table.labelled is not None:
            self.labelled[rows] = table.labelled

    def _like(self, **changes: Any) -> FeatureTable:
        """Return the table with changes that bring no new features, so that it is as well checked as this one."""
        table = replace(self, **changes)
        object.__setattr__(table, "checked", self.checked)
        return table

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the order of the columns of `present`."""
        return tuple(self.features)

    @property
    def dims(self) -> dict[str, int]:
        """Feature size of each modality."""
        return {name: x.shape[1] for name, x in self.features.items()}

    def known_labels(self, what: str = "the data") -> MultiHot:
        """Return the labels, uint8 (N, C).

        Raises:
            InputError: there are none; the message calls the items `what`, in the plural.
        """
        if self.labels is None:
            raise InputError(
                f"{what} have no labels: what is relevant cannot be told. Name their column with --labels-column."
            )
        return self.labels

    def take(self, rows: npt.NDArray[np.integer] | Mask) -> FeatureTable:
        """Return the table of these rows (indices or a mask), in this order."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        payload = {name: [column[int(i)] for i in index] for name, column in self.payload.items()}
        return self._select(index, payload, first_row=0)

    def rows(self, start: int, stop: int) -> FeatureTable:
        """Return the rows from `start` up to, but not including, `stop`, as a view of this table."""
        if not start and stop >= len(self):
            return self
        part = slice(start, stop)
        payload = {name: values[part] for name, values in self.payload.items()}
        return self._select(part, payload, first_row=self.first_row + start)

    def _select(
        self, rows: npt.NDArray[Any] | slice, payload: Mapping[str, Sequence[Any]], first_row: int
    ) -> FeatureTable:
        return self._like(
            ids=self.ids[rows],
            features={name: x[rows] for name, x in self.features.items()},
            present=self.present[rows],
            labels=None if self.labels is None else self.labels[rows],
            labelled=None if self.labelled is None else self.labelled[rows],
            payload=payload,
            first_row=first_row,
        )

    def numbered(self, first_row: int) -> FeatureTable:
        """Return the same items, the first of which is called row `first_row` in messages."""
        return self._like(first_row=first_row)

    def hide(self, present: Mask) -> FeatureTable:
        """Return the same items with fewer modalities: a mask only removes, so gaps of the data itself stay."""
        return self._like(present=self.present & present)

    def only(self, *modalities: str) -> FeatureTable:
        """Return the items that have all of these modalities, with the others hidden: for queries by one modality, say.

        Raises:
            InputError: where a name is no modality of this table.
        """
        for name in modalities:
            check_known(name, self.features, "modality")
        wanted = np.array([name in modalities for name in self.features])
        rows = np.flatnonzero(self.present[:, wanted].all(axis=1))
        return self.take(rows).hide(wanted[None, :])

    def present_for(self, modalities: Sequence[str]) -> Mask:
        """Return bool (N, len(modalities)): which of these modalities each item has, in this order.

        Raises:
            InputError: the table has a modality that is none of these.
        """
        check_modalities(self.features, modalities, "the data")
        present = np.zeros((len(self), len(modalities)), np.bool_)
        present[:, [modalities.index(name) for name in self.features]] = self.present
        return present

    def with_classes(self, names: Sequence[str]) -> FeatureTable:
        """Return the same items with their labels in the columns of another file's classes, matched by name.

        Two files number their classes alike only where they hold the same ones; a bundle keeps the names it was trained
        with. A class without a name is called by its number.

        Raises:
            InputError: names a class that `names` does not have.
        """
        if self.labels is None:
            return self
        own = self.class_names
        check_classes(own, names)
        place = {name: column for column, name in enumerate(names)}
        labels = np.zeros((len(self), len(names)), np.uint8)
        labels[:, [place[name] for name in own]] = self.labels
        return self._like(labels=labels, label_names=tuple(names))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, or their numbers where they have no names; none without labels."""
        if self.labels is None or self.label_names is not None:
            return self.label_names or ()
        return numbered_classes(self.labels.shape[1])


def row_name(number: int, key: Any) -> str:
    """Return how messages name a row: by its number in the file, and its id if that is another."""
    key = key.item() if isinstance(key, np.generic) else key  # the repr of numpy's integers is np.int64(7)
    return f"row {number}" if key == number else f"row {number} (id {key!r})"


def check_modalities(names: Iterable[str], known: Collection[str], what: object) -> None:
    """Raise InputError where `what` (a file, say) has a modality that is not among those that a bundle knows.

    It is refused rather than left out, since it is most likely a known modality under another name.
    """
    for name in names:
        if name not in known:
            raise InputError(
                f"{what} has a modality '{name}' that the bundle does not know; it takes {', '.join(known)}: "
                "say which column is which with --modality NAME=COLUMN."
            )


def rows_unusable(x: Features) -> tuple[npt.NDArray[np.intp], Mask]:
    """Return the numbers of the rows that hold NaN, infinity or extreme numbers, and for each whether all of it is NaN.

    `x` is float32 (N, D); the numbers are rising.
    """
    # Any of these makes the sum of squares of its row NaN, infinite or extreme: only such rows are looked at value by
    # value. einsum takes no threads, which would get in the way of onnxruntime's, and no copy.
    suspects = np.flatnonzero(~(np.einsum("ij,ij->i", x, x) < MOST_EXTREME**2))
    if not len(suspects):
        return suspects, np.zeros(0, np.bool_)
    rows = suspects[np.flatnonzero(~(np.abs(x[suspects]) <= MOST_EXTREME).all(axis=1))]
    return rows, np.asarray(np.isnan(x[rows]).all(axis=1))
