"""FeatureTable: a batch, or a whole data set, of items whose modalities may be missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from milvus_ichash.errors import InputError

Features = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Ids = npt.NDArray[Any]
"""int64 (N,) or object (N,) of str: the two kinds of primary key that Milvus takes."""


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """N items in M >= 1 named modalities.

    Attributes:
        ids: (N,) int64, or object array of str.
        features: one float32 (N, D_m) array per modality, in the order of the columns of `present`. Rows that are not
            present may hold anything.
        present: bool (N, M); True where the item has the modality. Every row has at least one.
        labels: uint8 (N, C), multi-hot, or None where the data has no labels.
        labelled: bool (N,); False where an item's labels are unknown (its row of `labels` is zero). None: all are known.
        label_names: the C names, or None.
        payload: further columns, each a sequence of N values that Milvus can store.
        first_row: number of the first row in its file, so that messages name rows as the file has them.

    Use `FeatureTable.build` to make one from arrays with gaps; the constructor checks shapes only.
    """

    ids: Ids
    features: dict[str, Features]
    present: Mask
    labels: npt.NDArray[np.uint8] | None = None
    labelled: Mask | None = None
    label_names: tuple[str, ...] | None = None
    payload: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    first_row: int = 0

    def __post_init__(self) -> None:
        n, m = len(self.ids), len(self.features)
        if not m:
            raise InputError("a feature table needs at least one modality.")
        for name, x in self.features.items():
            if x.ndim != 2 or len(x) != n:
                raise InputError(f"modality '{name}' has shape {x.shape}; expected ({n}, size), one row per id.")
        if self.present.shape != (n, m):
            raise InputError(f"'present' has shape {self.present.shape}; expected ({n}, {m}).")
        if self.labels is not None and (self.labels.ndim != 2 or len(self.labels) != n):
            raise InputError(f"labels have shape {self.labels.shape}; expected ({n}, classes).")

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

        A row of a modality is missing where `present` says so, or where all of it is NaN.

        Raises:
            InputError: names the row that has no modality, or NaN or infinity in a modality that it does have.
        """
        arrays = {name: np.asarray(x, dtype=np.float32) for name, x in features.items() if x is not None}
        for name, x in arrays.items():
            if x.ndim != 2:
                raise InputError(f"modality '{name}' has shape {x.shape}; expected (items, size).")
        seen = np.column_stack([~np.isnan(x).all(axis=1) for x in arrays.values()]) if arrays else np.zeros((len(ids), 0), bool)
        table = cls(
            ids=ids,
            features=arrays,
            present=seen if present is None else seen & np.asarray(present, bool),
            labels=None if labels is None else np.asarray(labels, np.uint8),
            labelled=labelled,
            label_names=None if label_names is None else tuple(label_names),
            payload=dict(payload or {}),
            first_row=first_row,
        )
        table.check_rows()
        return table

    def check_rows(self) -> None:
        """Raise InputError where a row has no modality at all, or a present row holds NaN or infinity."""
        empty = np.flatnonzero(~self.present.any(axis=1))
        if len(empty):
            more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
            raise InputError(
                f"row {self.first_row + empty[0]} (id {self.ids[empty[0]]!r}) has no modality at all{more}: "
                f"it cannot get a code; remove it or give it one of {', '.join(self.features)}."
            )
        for column, (name, x) in enumerate(self.features.items()):
            # One NaN or infinity makes the sum so; only then is every value looked at.
            bad = np.flatnonzero(self.present[:, column] & ~np.isfinite(x).all(axis=1))
            if len(bad):
                more = f" (and {len(bad) - 1} more rows)" if len(bad) > 1 else ""
                raise InputError(
                    f"row {self.first_row + bad[0]} (id {self.ids[bad[0]]!r}) has NaN or infinity in '{name}'{more}: "
                    "mend the value, or make the whole row null (all NaN) if the modality is missing."
                )

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

    def take(self, rows: npt.NDArray[np.integer] | Mask) -> FeatureTable:
        """The table of these rows (indices or a mask), in this order."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return replace(
            self,
            ids=self.ids[index],
            features={name: x[index] for name, x in self.features.items()},
            present=self.present[index],
            labels=None if self.labels is None else self.labels[index],
            labelled=None if self.labelled is None else self.labelled[index],
            payload={name: [column[int(i)] for i in index] for name, column in self.payload.items()},
            first_row=0,
        )

    def hide(self, present: Mask) -> FeatureTable:
        """The same items with fewer modalities: a mask only removes, so gaps of the data itself stay."""
        return replace(self, present=self.present & present)

    def only(self, *modalities: str) -> FeatureTable:
        """The items that have all of these modalities, with the others hidden (single-modality queries, for example).

        Raises:
            InputError: where a name is no modality of this table.
        """
        for name in modalities:
            if name not in self.features:
                raise InputError(f"no modality '{name}' here; there are: {', '.join(self.features)}.")
        wanted = np.array([name in modalities for name in self.features])
        return self.take(self.present[:, wanted].all(axis=1)).hide(wanted[None, :])
