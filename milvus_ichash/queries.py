"""Queries: words, pictures, features or stored items become codes, which find the nearest items of a collection.

    words_to_codes             words -> the bundle's vocabulary -> features -> codes
    pictures_to_codes          picture files -> the bundle's picture tower -> features -> codes
    features_to_codes          a feature table -> codes
    codes_of_stored_items      ids -> the codes that the collection has of these items

Each gives `QueryCodes`, with which `find_nearest` searches a collection. `codes_of_good_ones` calls one of them for
several queries of which some may be no good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from milvus_ichash.codes import Codes
from milvus_ichash.errors import InputError, check_known
from milvus_ichash.features import Features, FeatureTable
from milvus_ichash.index import filters
from milvus_ichash.index.field_names import ID, has
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.index.id_rows import rows_of, to_ids
from milvus_ichash.index.rankings import Hits
from milvus_ichash.index.search_request import SearchOptions
from milvus_ichash.runtime.encoder import HashEncoder

if TYPE_CHECKING:
    from typing_extensions import Unpack

Asked = TypeVar("Asked")

HitRow = dict[str, Any]
"""One hit of one query: `query`, `rank`, `id`, `distance`, `missing`, and the fields that were asked for."""

_OWN_COLUMNS = ("query", "rank", "id", "distance", "missing")


@dataclass(frozen=True, eq=False)
class QueryCodes:
    """The codes of Q queries.

    Attributes:
        names: what a hit calls its query: the words, the path of the picture, or the id of the item.
        codes: by name of the code uint8 (Q, bits / 8); all codes that are known of the queries.
        modality_of: by name of the code the modality that it belongs to; None for a fused code.
        asked: the modality that the queries come from; None where a query has several.
    """

    names: Sequence[Any]
    codes: Mapping[str, Codes]
    modality_of: Mapping[str, str | None]
    asked: str | None

    def compared_with(self, searched: str) -> Codes:
        """Return the codes of the queries that are compared with a stored code: uint8 (Q, bits / 8).

        A fused code is compared with itself. The code of a modality, such as "text_code", is compared with that of the
        queries' own modality: pictures find texts by their "image_code".

        Raises:
            InputError: the queries have several modalities, or no code of their modality.
        """
        own: str | None = searched
        if self.modality_of.get(searched, "") is not None:
            if self.asked is None:
                choices = ", ".join(modality for modality in self.modality_of.values() if modality is not None)
                raise InputError(
                    "the queries have several modalities: say with --only which of them is to be searched by "
                    f"({choices})."
                )
            own = next((name for name, modality in self.modality_of.items() if modality == self.asked), None)
        if own is None or own not in self.codes:
            raise InputError(
                f"there is no code of the modality '{self.asked}' to compare with '{searched}'; "
                f"there is {', '.join(self.codes)}."
            )
        return self.codes[own]


def words_to_codes(encoder: HashEncoder, texts: Sequence[str], modality: str | None = None) -> QueryCodes:
    """Encode words, which the bundle's vocabulary turns into features.

    Args:
        encoder: the bundle.
        texts: one query each, such as "red apple".
        modality: the one that the words belong to; may be left out where only one has a vocabulary.

    Raises:
        InputError: the bundle has no vocabulary, or knows none of the words of a text.
    """
    return _encode(encoder, texts, *encoder.raw.words(texts, modality))


def pictures_to_codes(encoder: HashEncoder, paths: Sequence[str | Path], modality: str | None = None) -> QueryCodes:
    """Encode picture files, which the bundle's picture tower turns into features.

    Args:
        encoder: the bundle.
        paths: one query each.
        modality: the one that the pictures belong to; may be left out where only one has a tower.

    Raises:
        InputError: the bundle has no picture tower, or a file is no picture.
        BackendMissingError: Pillow is not installed.
    """
    return _encode(encoder, [str(path) for path in paths], *encoder.raw.pictures(paths, modality))


def features_to_codes(encoder: HashEncoder, table: FeatureTable, only: str | None = None) -> QueryCodes:
    """Encode the items of a feature table.

    Args:
        encoder: the bundle.
        table: one query each.
        only: take only the items that have this modality, and encode them by it alone.

    Raises:
        InputError: there is no such modality, or no item has it.
    """
    if only is not None:
        table = table.only(only)
    elif len(table.modalities) == 1:
        only = table.modalities[0]
    if not len(table):
        raise InputError(f"no item has the modality '{only}': there is nothing to search by.")
    return QueryCodes(table.ids.tolist(), encoder.encode_table(table), _modality_of(encoder), only)


def codes_of_stored_items(index: HashIndex, ids: Sequence[str], only: str | None = None) -> QueryCodes:
    """Read the codes of items that are in the collection; no bundle is needed.

    Args:
        index: the collection.
        ids: of the items, as text.
        only: the modality to search by, where an item has a code for each; by default the first that all of these items
            have.

    Raises:
        InputError: there is no such item or modality.
    """
    modality_of = index.description.codes
    choices = [modality for modality in modality_of.values() if modality is not None]
    if only is not None:
        _check_stored_modality(index, only, choices)
    keys = [id_from_text(index, text) for text in ids]
    found = index.read_back(filter=filters.among(keys))
    rows = rows_of(found.ids)(to_ids(keys))
    if (rows < 0).any():
        raise InputError(f"collection '{index.collection}' has no item with the id {keys[int(rows.argmin())]!r}.")
    observed = [m for m in choices if found.present[rows, index.modalities.index(m)].all()]
    asked = only or next(iter(observed or choices), None)
    known = {name: codes[rows] for name, codes in found.codes.items() if only in (None, modality_of[name])}
    return QueryCodes(keys, known, modality_of, asked)


def codes_of_good_ones(
    encode: Callable[[Sequence[Asked]], QueryCodes], asked: Sequence[Asked]
) -> tuple[QueryCodes, list[InputError]]:
    """Encode those queries that can be encoded; return their codes, and what is wrong with each of the others.

    Args:
        encode: one of the functions above, with what it takes besides the queries.
        asked: the queries: texts, pictures or ids.

    Raises:
        InputError: none of them can be encoded.
    """
    try:
        return encode(asked), []
    except InputError:
        if len(asked) == 1:
            raise
    problems = [_problem(encode, each) for each in asked]
    errors = [problem for problem in problems if problem is not None]
    if len(errors) == len(asked):
        raise InputError(" ".join(dict.fromkeys(map(str, errors))))
    return encode([each for each, problem in zip(asked, problems, strict=True) if problem is None]), errors


def find_nearest(
    index: HashIndex,
    queries: QueryCodes,
    **options: Unpack[SearchOptions],
) -> list[HitRow]:
    """Search a collection, and return one row for each hit: those of the first query first, the nearest first.

        queries = words_to_codes(encoder, ["red apple"])
        for hit in find_nearest(index, queries, top_k=5, output_fields=["title"]):
            print(hit["rank"], hit["distance"], hit["id"], hit["missing"], hit["title"])

    Args:
        index: the collection.
        queries: from the functions above.
        options: as `HashIndex.search` takes them, but that `code` is by default the fused one, or that of the other
            modality than the queries'; and that a `radius` without `top_k` means all items within it.

    Returns:
        Rows with the keys `query` (its name), `rank` (from 1), `id`, `distance` (number of bits that differ), `missing`
        (list of the modalities that the item lacks), and the fields (None where an item has none; "rank (field)" where
        a field is called as one of the others).

    Raises:
        InputError: no such code, or several that would do; or as `HashIndex.search`.
        MilvusError: Milvus could not.
    """
    searched = _searched_code(index, queries.asked, options.get("code"))
    marks = {has(modality): modality for modality in index.modalities}
    wanted = [name for name in options.get("output_fields", ()) if name != ID]
    asked: SearchOptions = {**options, "code": searched, "output_fields": [*marks, *wanted]}
    hits = _search(index, queries.compared_with(searched), asked)
    rows = []
    for q, name in enumerate(queries.names):
        found = zip(hits.ids[q].tolist(), hits.distances[q].tolist(), hits.fields[q], strict=False)
        for rank, (key, distance, entity) in enumerate(found, 1):
            missing = [modality for field, modality in marks.items() if not entity[field]]
            row: HitRow = {"query": name, "rank": rank, "id": key, "distance": distance, "missing": missing}
            shown = [field for field in entity if field not in marks] if "*" in wanted else wanted
            row |= {f"{field} (field)" if field in _OWN_COLUMNS else field: entity.get(field) for field in shown}
            rows.append(row)
    return rows


def _search(index: HashIndex, codes: Codes, options: SearchOptions) -> Hits:
    """Search for the nearest items, or for all within the radius where there is no other limit."""
    radius = options.get("radius")
    if radius is None or "top_k" in options:
        return index.search(codes, **options)
    names = ("code", "nprobe", "filter", "output_fields")
    return index.search_within(codes, radius, **{name: options[name] for name in names if name in options})  # type: ignore[literal-required]


def hit_columns(output_fields: Sequence[str]) -> list[str]:
    """Return the keys of a row of `find_nearest` with these output fields; what "*" stands for is not among them."""
    fields = [name for name in output_fields if name not in (ID, "*")]
    return [*_OWN_COLUMNS, *(f"{name} (field)" if name in _OWN_COLUMNS else name for name in fields)]


def id_from_text(index: HashIndex, text: str) -> str | int:
    """Return an id as the collection has it: the text itself, or the whole number that it says.

    Raises:
        InputError: the collection's ids are whole numbers, and this is none.
    """
    if index.id_kind == "str":
        return text
    try:
        number = int(text)
    except ValueError as error:
        raise InputError(
            f"'{text}' is no id of collection '{index.collection}', whose ids are whole numbers."
        ) from error
    if abs(number) >= 2**63:
        raise InputError(f"{text} is no id of collection '{index.collection}', whose ids have 63 bits.")
    return number


def _problem(encode: Callable[[Sequence[Asked]], QueryCodes], one: Asked) -> InputError | None:
    """Return what is wrong with a query, or None where it can be encoded."""
    try:
        encode([one])
    except InputError as error:
        return error
    return None


def _check_stored_modality(index: HashIndex, only: str, choices: Sequence[str]) -> None:
    """Raise InputError where the collection stores no code of this modality, so that one cannot search by it alone."""
    check_known(only, index.modalities, "modality")
    if not choices:
        raise InputError(
            f"collection '{index.collection}' stores one code for each item, made of all that the item has: "
            f"'{only}' alone cannot be taken out of it. Search by the item's features (--features FILE --only {only})."
        )
    if only not in choices:
        raise InputError(
            f"collection '{index.collection}' stores no code of the modality '{only}'; it has {', '.join(choices)}."
        )


def _encode(encoder: HashEncoder, names: Sequence[Any], modality: str, features: Features) -> QueryCodes:
    return QueryCodes(names, encoder.encode(**{modality: features}), _modality_of(encoder), modality)


def _modality_of(encoder: HashEncoder) -> dict[str, str | None]:
    return {code.name: code.modality for code in encoder.manifest.codes}


def _searched_code(index: HashIndex, asked: str | None, wanted: str | None) -> str:
    """Return the name of the stored code to search: the one wanted, the fused one, or that of another modality.

    Raises:
        InputError: there is no such code, or several would do.
    """
    if wanted is not None and wanted not in index.codes:
        raise InputError(f"collection '{index.collection}' stores no code '{wanted}'; it has {', '.join(index.codes)}.")
    if wanted is not None or len(index.codes) == 1:
        return wanted or index.codes[0]
    fused = [name for name, modality in index.description.codes.items() if modality is None]
    others = [name for name, modality in index.description.codes.items() if modality != asked]
    if len(fused or others) != 1:
        raise InputError(
            f"collection '{index.collection}' has several codes to search: "
            f"choose one with --code ({', '.join(index.codes)})."
        )
    return (fused or others)[0]
