"""Queries: from words, pictures, features or a stored item to codes, and from those to ranked rows of a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milvus_ichash.codes import Codes
from milvus_ichash.errors import InputError
from milvus_ichash.features import Features, FeatureTable
from milvus_ichash.index import filters
from milvus_ichash.index.field_names import ID, has
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.runtime.encoder import HashEncoder

Row = dict[str, Any]

_COLUMNS = ("query", "rank", "id", "distance", "missing")


@dataclass(frozen=True, eq=False)
class Queries:
    """Q queries, encoded.

    Attributes:
        names: by which the results name each query.
        codes: uint8 (Q, bits / 8) by name: all that is known of the queries.
        of: code -> modality, None for a fused code.
        modality: the one that the queries come from; None where an item has several.
    """

    names: Sequence[Any]
    codes: Mapping[str, Codes]
    of: Mapping[str, str | None]
    modality: str | None

    def code(self, searched: str) -> Codes:
        """The queries' codes to compare with a stored code: a fused one with itself, else that of the queries' modality.

        Raises:
            InputError: it cannot be told which.
        """
        if self.of.get(searched, "") is None:
            return self.codes[searched]
        if self.modality is None:
            choices = ", ".join(modality for modality in self.of.values() if modality is not None)
            raise InputError(
                f"the queries have several modalities: say with --only which of them is to be searched by ({choices})."
            )
        own = next((name for name, modality in self.of.items() if modality == self.modality), None)
        if own is None or own not in self.codes:
            raise InputError(
                f"there is no code of the modality '{self.modality}' to search by; there is {', '.join(self.codes)}."
            )
        return self.codes[own]


def words_queries(encoder: HashEncoder, texts: Sequence[str], modality: str | None = None) -> Queries:
    """Texts as queries, through the bundle's vocabulary."""
    return _raw_queries(encoder, texts, encoder.raw.words(texts, modality))


def picture_queries(encoder: HashEncoder, paths: Sequence[str | Path], modality: str | None = None) -> Queries:
    """Picture files as queries, through the bundle's tower."""
    return _raw_queries(encoder, [str(path) for path in paths], encoder.raw.pictures(paths, modality))


def feature_queries(encoder: HashEncoder, table: FeatureTable, only: str | None = None) -> Queries:
    """The items of a table as queries; with `only`, those that have this modality, by it alone.

    Raises:
        InputError: no such modality, or no item has it.
    """
    if only is not None:
        table = table.only(only)
    elif len(table.modalities) == 1:
        only = table.modalities[0]
    if not len(table):
        raise InputError(f"no item has the modality '{only}': there is nothing to search by.")
    return Queries(table.ids.tolist(), encoder.encode_table(table), _made(encoder), only)


def stored_queries(index: HashIndex, ids: Sequence[str], only: str | None = None) -> Queries:
    """Items of the collection as queries, by their stored codes.

    Args:
        index: the collection.
        ids: of the items, as text.
        only: which modality's code is taken, where an item has one for each; by default the first that all items have.

    Raises:
        InputError: no such item or modality.
    """
    keys = [item_key(index, text) for text in ids]
    found = index.read_back(filter=filters.among(keys))
    place = {key: row for row, key in enumerate(found.ids.tolist())}
    missing = [key for key in keys if key not in place]
    if missing:
        raise InputError(f"collection '{index.collection}' has no item with the id {missing[0]!r}.")
    rows = [place[key] for key in keys]
    of = index.description.codes
    choices = [modality for modality in of.values() if modality is not None]
    if only is not None and choices and only not in choices:
        raise InputError(
            f"collection '{index.collection}' stores no code of the modality '{only}'; it has {', '.join(choices)}."
        )
    observed = [m for m in choices if found.present[rows, index.modalities.index(m)].all()]
    return Queries(
        keys,
        {name: codes[rows] for name, codes in found.codes.items()},
        of,
        only or next(iter(observed or choices), None),
    )


def searched_code(index: HashIndex, modality: str | None, wanted: str | None = None) -> str:
    """Name of the stored code to search: the one wanted, a fused one, or that of another modality than the queries'.

    Raises:
        InputError: no such code, or several would do.
    """
    if wanted is not None and wanted not in index.codes:
        raise InputError(f"collection '{index.collection}' stores no code '{wanted}'; it has {', '.join(index.codes)}.")
    if wanted is not None or len(index.codes) == 1:
        return wanted or index.codes[0]
    fused = [name for name, of in index.description.codes.items() if of is None]
    others = [name for name, of in index.description.codes.items() if of != modality]
    if len(fused or others) != 1:
        raise InputError(
            f"collection '{index.collection}' has several codes to search: choose one with --code ({', '.join(index.codes)})."
        )
    return (fused or others)[0]


def find(
    index: HashIndex,
    queries: Queries,
    *,
    code: str | None = None,
    top_k: int = 10,
    radius: int | None = None,
    nprobe: int | None = None,
    filter: str = "",
    fields: Sequence[str] = (),
) -> list[Row]:
    """Search, and give one row per hit: query, rank, id, distance, missing (modalities that the item lacks), fields.

    Arguments and errors as `HashIndex.search`; `code` is chosen by `searched_code` where it is left out.
    """
    searched = searched_code(index, queries.modality, code)
    marks = {has(modality): modality for modality in index.modalities}
    wanted = [name for name in fields if name != ID]
    codes = queries.code(searched)
    hits = index.search(
        codes, code=searched, top_k=top_k, radius=radius, nprobe=nprobe, filter=filter, output_fields=[*marks, *wanted]
    )
    rows = []
    for q, name in enumerate(queries.names):
        found = zip(hits.ids[q].tolist(), hits.distances[q].tolist(), hits.fields[q], strict=False)
        for rank, (key, distance, entity) in enumerate(found, 1):
            missing = [modality for field, modality in marks.items() if not entity[field]]
            row: Row = {"query": name, "rank": rank, "id": key, "distance": distance, "missing": missing}
            chosen = [field for field in entity if field not in marks] if "*" in wanted else wanted
            row.update({field if field not in _COLUMNS else f"{field} (field)": entity.get(field) for field in chosen})
            rows.append(row)
    return rows


def _raw_queries(encoder: HashEncoder, names: Sequence[Any], raw: tuple[str, Features]) -> Queries:
    modality, features = raw
    return Queries(names, encoder.encode(**{modality: features}), _made(encoder), modality)


def _made(encoder: HashEncoder) -> dict[str, str | None]:
    return {code.name: code.modality for code in encoder.manifest.codes}


def item_key(index: HashIndex, text: str) -> str | int:
    """An id as the collection has it, from its text.

    Raises:
        InputError: its ids are whole numbers, and this is none.
    """
    if index.id_kind == "str":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise InputError(
            f"'{text}' is no id of collection '{index.collection}', whose ids are whole numbers."
        ) from error
