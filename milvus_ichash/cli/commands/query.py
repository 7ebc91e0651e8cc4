"""`milvus-ichash query`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.choices import Device
from milvus_ichash.cli.option_groups import given, refuse_given
from milvus_ichash.cli.options import FEATURE_FILES, CollectionOption, DataOptions, DeviceOption, MilvusOptions
from milvus_ichash.cli.output import OutputOptions, complain
from milvus_ichash.errors import InputError

if TYPE_CHECKING:
    from milvus_ichash.index.hash_index import HashIndex
    from milvus_ichash.io import FeatureSource
    from milvus_ichash.queries import QueryCodes
    from milvus_ichash.runtime.encoder import HashEncoder

_BY = "What to search by (one of these)"
_WHAT = "What to find"
_ROWS = 256
"""Rows of a feature file that are searched by at a time."""


def query(
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", "-b", help="Folder of the bundle; not needed with --id.", show_default=False),
    ] = None,
    collection: CollectionOption = "ichash",
    words: Annotated[
        list[str] | None,
        typer.Option(
            "--words", "-w", help="Words, such as 'red apple'; may be given several times.", rich_help_panel=_BY
        ),
    ] = None,
    picture: Annotated[
        list[Path] | None,
        typer.Option("--picture", help="A picture file; may be given several times.", rich_help_panel=_BY),
    ] = None,
    item: Annotated[
        list[str] | None,
        typer.Option(
            "--id",
            help="Id of an item of the collection, whose stored code is the query; it finds itself too. Repeat it.",
            rich_help_panel=_BY,
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option("--features", help=f"A {FEATURE_FILES} file; each of its items is a query.", rich_help_panel=_BY),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            help="Use only this modality of the queries (with --features and --id).",
            rich_help_panel=_BY,
            metavar="MODALITY",
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            "-k",
            help="Number of items to find for each query.",
            rich_help_panel=_WHAT,
            show_default="10; with --radius all within it",
        ),
    ] = None,
    radius: Annotated[
        int | None,
        typer.Option(
            "--radius",
            "-r",
            help="Find only items within this Hamming distance (inclusive): all of them, unless --top-k limits it.",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    nprobe: Annotated[
        int | None,
        typer.Option(
            "--nprobe",
            help="Number of cells of a BIN_IVF_FLAT index to search in: more cells find more, and take longer.",
            rich_help_panel=_WHAT,
            show_default="nlist / 64, at least 8",
        ),
    ] = None,
    where: Annotated[
        str,
        typer.Option(
            "--filter",
            help="Milvus expression, such as 'has_text == true' or 'array_contains(labels, \"red\")'.",
            rich_help_panel=_WHAT,
        ),
    ] = "",
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            help="A field of the items to show, or '*' for all fields; may be given several times.",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    code: Annotated[
        str | None,
        typer.Option(
            "--code",
            help="The stored code to compare with.",
            rich_help_panel=_WHAT,
            show_default="code, or that of the other modality",
        ),
    ] = None,
    *,
    rows: DataOptions,
    device: DeviceOption = "auto",
    milvus: MilvusOptions,
    output: OutputOptions,
) -> None:
    """Find the nearest items by Hamming distance: by words, by a picture, by an item of the collection, or by features.

    Items that lack the modality that is searched are found by a code that was completed from what they have, and are
    marked: "missing: text". Of a file with splits, the query split is taken. Of several queries, those that cannot be
    searched by (no word of them is known, say) are named, the others are answered, and the exit code is 2.

    Examples:

        milvus-ichash query -b runs/mine/bundle -c items --words "red apple" --words "blue car" --field title

        milvus-ichash query -b runs/mine/bundle -c items --picture apple.png --top-k 5

        milvus-ichash query -c items --id fruit/apple_1 --radius 4 --format json

        milvus-ichash query -b runs/mine/bundle -c items --features queries.parquet --only image --filter 'has_text ==
        true'
    """
    from milvus_ichash.bundle import read_manifest
    from milvus_ichash.index.connection import connect
    from milvus_ichash.index.hash_index import HashIndex
    from milvus_ichash.index.search_request import SearchOptions
    from milvus_ichash.queries import find_nearest, hit_columns

    _one_of(words, picture, item, features)
    if only and (words or picture):
        raise InputError("--only goes with --features or --id: words and pictures are of one modality.")
    if features is None:
        refuse_given(given(rows), "it goes with --features")
    if item and device != "auto":
        refuse_given(["--device"], "items of the collection have their codes already")
    settings = milvus.settings()
    source = None if features is None else rows.open(features, "query")
    encoder = None if item else _encoder(bundle, device)
    manifest = encoder.manifest if encoder else None if bundle is None else read_manifest(bundle)
    wanted = SearchOptions(code=code, radius=radius, nprobe=nprobe, filter=where, output_fields=field or ())
    if top_k is not None or radius is None:
        wanted["top_k"] = 10 if top_k is None else top_k
    found, bad = [], []
    with connect(settings, create=False) as connection:
        index = HashIndex.open(connection, collection)
        if manifest is not None:
            index.check(manifest)
            index.name_classes(manifest.label_names)
        if radius is not None and index.spec.nlist is not None:
            cells = f"{index.spec.choose_nprobe(nprobe)} of {index.spec.nlist} cells"
            output.note(f"The index looks through {cells}: it may miss items within the radius that are in others.")
        for queries, errors in _queries(index, encoder, words, picture, item, source, only):
            bad += errors
            found += find_nearest(index, queries, **wanted)
    for text, unknown in zip(words or (), encoder.raw.unknown_words(words) if encoder and words else (), strict=False):
        if unknown:
            output.note(f"The bundle does not know {', '.join(unknown)} of '{text}'.")
    for name in _never_there(found, field or ()):
        output.note(f"No item found has a field '{name}'.")
    if not found:
        output.note("Nothing was found.")
    output.emit(found, columns=hit_columns(field or ()))
    for error in bad:
        complain(f"{error} The other queries were answered.")
    if bad:
        raise typer.Exit(InputError.exit_code)


def _one_of(*ways: Sequence[object] | Path | None) -> None:
    if sum(bool(way) for way in ways) != 1:
        raise InputError("say what to search by, with one of --words, --picture, --id and --features.")


def _encoder(bundle: Path | None, device: Device) -> HashEncoder:
    from milvus_ichash.runtime.encoder import HashEncoder

    if bundle is None:
        raise InputError(
            "searching by anything but --id needs the bundle that the collection was made with: --bundle FOLDER."
        )
    return HashEncoder.load(bundle, device=device)


def _queries(
    index: HashIndex,
    encoder: HashEncoder | None,
    words: Sequence[str] | None,
    pictures: Sequence[Path] | None,
    ids: Sequence[str] | None,
    source: FeatureSource | None,
    only: str | None,
) -> Iterator[tuple[QueryCodes, list[InputError]]]:
    """Yield the codes of the queries, and what is wrong with those that have none.

    Raises:
        InputError: none of the queries can be encoded.
    """
    from milvus_ichash import queries

    if encoder is None:
        yield queries.codes_of_good_ones(partial(queries.codes_of_stored_items, index, only=only), ids or ())
    elif words:
        yield queries.codes_of_good_ones(partial(queries.words_to_codes, encoder), words)
    elif pictures:
        yield queries.codes_of_good_ones(partial(queries.pictures_to_codes, encoder), pictures)
    elif source is not None:
        there = False
        for table in source.batches(_ROWS):
            if only is None or len(table.only(only)):
                there = True
                yield queries.features_to_codes(encoder, table, only), []
        if not there:
            raise InputError(f"no item of {source.info.path} has the modality '{only}': there is nothing to search by.")


def _never_there(rows: Sequence[dict[str, object]], names: Sequence[str]) -> list[str]:
    return [name for name in names if name != "*" and rows and all(row.get(name) is None for row in rows)]
