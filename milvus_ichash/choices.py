"""The words that options and arguments can take: each set is written once, for the library and for the command line.

This module imports nothing heavy, so that `milvus-ichash --help` stays quick.
"""

from __future__ import annotations

from typing import Literal

Device = Literal["auto", "cpu", "cuda"]
"""Where a graph or a training runs; "auto" takes CUDA where there is one, and the CPU elsewhere."""

Split = Literal["all", "query", "retrieval", "train"]
"""The rows of a data file: one of its splits, or all of them."""

HoldoutBy = Literal["id", "order"]
"""How the queries of a holdout are chosen: by the hashes of their ids, or by lot among the rows in the file's order."""

IndexKind = Literal["BIN_FLAT", "BIN_IVF_FLAT"]
"""The index of a collection: BIN_FLAT compares with every code, BIN_IVF_FLAT with those in the nearest cells."""

IdKind = Literal["str", "int64"]
"""The kind of a collection's ids: strings, or whole numbers."""

DatabasePart = Literal["observed", "all", "complete"]
"""The database rows that take part: those that have the target modality, all rows, or rows that lack nothing."""

Ties = Literal["expected", "stable"]
"""The order of rows at the same distance: the expected value over all orders, or by id."""

PictureFit = Literal["stretch", "pad"]
"""How a picture becomes a square: stretched, or padded with white."""

Level = Literal["easy", "medium", "hard"]
"""How many training items lack a modality, as CICH and EGICH name it."""

IncompleteUse = Literal["complete", "discard", "enhance", "extend"]
"""What items that lack a modality are used for ("complete": none lacks one in the database)."""

FEATURE_ENDINGS = (".parquet", ".npz", ".h5", ".hdf5", ".mat")
"""Endings of the files that `milvus_ichash.io` reads."""
