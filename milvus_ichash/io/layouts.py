"""The layouts in which researchers share data sets, recognised by the names of the arrays in a file (of any format).

- NCH style: `I_tr T_tr L_tr I_db T_db L_db I_te T_te L_te` (train, retrieval, query). Wikipedia style is the same
  without `_db`: then the training set is the retrieval set. Without `_tr`, `train` may hold row numbers of the
  retrieval set, counted from 0; without that, all of it is for training. Other columns may have splits too: `id_db`,
  `id_te`, `text_db`, ...
- EGICH style: `ImgQuery TagQuery LabQuery ImgTrain TagTrain LabTrain ImgDataBase TagDataBase LabDataBase`.
- DCMH style: one table of `IAll` (raw pictures, which are refused) or `FAll` (features), `YAll`, `LAll`, in one file or
  in three that are called `<name>-iall.mat` (or `-fall`), `<name>-yall.mat`, `<name>-lall.mat`: any of them, or their
  folder, stands for all.

In these layouts `I`, `F`, `Img` are the modality "image"; `T`, `Y`, `Tag` are "text"; `L`, `Lab` are the labels. Any
other modality is called by its own name in lower case: `P_tr` is "p".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from milvus_ichash.choices import Split
from milvus_ichash.errors import InputError

Array = TypeVar("Array")

LAYOUT_LABELS = ("L", "Lab", "LAll")

_SPLIT_NAME = re.compile(r"(?P<column>.+)_(?P<short>tr|db|te)|(?P<stem>[A-Z][a-z]*?)(?P<long>Query|Train|Data[Bb]ase)")
_SPLITS: dict[str, Split] = {
    "tr": "train",
    "db": "retrieval",
    "te": "query",
    "Train": "train",
    "DataBase": "retrieval",
    "Database": "retrieval",
    "Query": "query",
}
_MODALITIES = {"I": "image", "F": "image", "Img": "image", "T": "text", "Y": "text", "Tag": "text"}
_DCMH_NAME = re.compile(r"[A-Z]All")
_DCMH_FILE = re.compile(r"(?P<data>.*?)(?P<letter>[ifyl])all\.mat", re.IGNORECASE)


def by_split(arrays: Mapping[str, Array], is_matrix: Callable[[Array], bool]) -> dict[Split, dict[str, Array]]:
    """Return split -> column -> array where some matrix comes in two splits or more, and nothing for any other file."""
    splits: dict[Split, dict[str, Array]] = {}
    for name, array in arrays.items():
        match = _SPLIT_NAME.fullmatch(name)
        if match:
            split = _SPLITS[match["short"] or match["long"]]
            splits.setdefault(split, {})[match["column"] or match["stem"]] = array
    columns = {
        split: {column for column, array in group.items() if is_matrix(array)} for split, group in splits.items()
    }
    matrices = [column for there in columns.values() for column in there]
    if len(matrices) == len(set(matrices)):
        return {}
    return {split: group for split, group in splits.items() if columns[split]}


def modality_name(column: str, *, has_splits: bool) -> str:
    """Return the modality that a column of vectors is: what the layouts above call it, or the column's own name."""
    if _DCMH_NAME.fullmatch(column):
        column, has_splits = column[0], True
    return _MODALITIES.get(column, column.lower()) if has_splits else column


def dcmh_files(path: Path) -> list[Path]:
    """Return the files of one DCMH-style data set, from one of them or their folder; only `path` for any other file.

    Raises:
        InputError: a folder that holds no such files, or those of several data sets.
    """
    match = None if path.is_dir() else _DCMH_FILE.fullmatch(path.name)
    if not path.is_dir() and not match:
        return [path]
    found: dict[str, dict[str, Path]] = {}
    for file in sorted((path if path.is_dir() else path.parent).iterdir()):
        if named := _DCMH_FILE.fullmatch(file.name):
            found.setdefault(named["data"], {})[named["letter"].lower()] = file
    if match:
        found = {match["data"]: found[match["data"]]}
    if len(found) != 1:
        sets = f"those of {len(found)} data sets ({_names(found)}): name one of the files" if found else "none"
        raise InputError(
            f"{path} is a folder; of files called <name>-iall.mat, -fall.mat, -yall.mat, -lall.mat it holds {sets}."
        )
    files = next(iter(found.values()))
    return list(files.values())


def _names(data_sets: Iterable[str]) -> str:
    return ", ".join(name.rstrip("-_") or "without a name" for name in data_sets)
