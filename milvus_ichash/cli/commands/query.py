"""`milvus-ichash query`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.cli.options import (
    CollectionOption,
    DbOption,
    Device,
    DeviceOption,
    Format,
    FormatOption,
    HoldoutOption,
    IdColumnOption,
    ModalityOption,
    QuietOption,
    SplitOption,
    TimeoutOption,
    TokenOption,
    UriOption,
    mapping,
)
from milvus_ichash.cli.output import emit, note
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
        Path | None, typer.Option("--bundle", "-b", help="Bundle folder; not needed with --id.", show_default=False)
    ] = None,
    collection: CollectionOption = "ichash",
    words: Annotated[
        list[str] | None,
        typer.Option("--words", "-w", help="Words, such as 'red apple'; repeat it.", rich_help_panel=_BY),
    ] = None,
    picture: Annotated[
        list[Path] | None, typer.Option("--picture", help="A picture file; repeat it.", rich_help_panel=_BY)
    ] = None,
    item: Annotated[
        list[str] | None,
        typer.Option(
            "--id",
            help="An item of the collection, by its stored code; it finds itself too. Repeat it.",
            rich_help_panel=_BY,
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option("--features", help="The items of a feature file: .parquet, .npz, .h5, .mat.", rich_help_panel=_BY),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only", help="Search by this modality alone (--features, --id).", rich_help_panel=_BY, metavar="MODALITY"
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            "-k",
            help="Items for each query.",
            rich_help_panel=_WHAT,
            show_default="10; with --radius all within it",
        ),
    ] = None,
    radius: Annotated[
        int | None,
        typer.Option(
            "--radius", "-r", help="Items within this Hamming distance only.", rich_help_panel=_WHAT, show_default=False
        ),
    ] = None,
    nprobe: Annotated[
        int | None,
        typer.Option(
            "--nprobe",
            help="Cells of a BIN_IVF_FLAT index that are looked through: more find more, and take longer.",
            rich_help_panel=_WHAT,
            show_default="nlist / 64, at least 8",
        ),
    ] = None,
    where: Annotated[
        str,
        typer.Option(
            "--filter",
            help="Milvus expression, such as 'has_text == true' or 'array_contains(labels, 3)'.",
            rich_help_panel=_WHAT,
        ),
    ] = "",
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            help="A field of the items to show, or '*' for all; repeat it.",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    code: Annotated[
        str | None,
        typer.Option(
            "--code",
            help="Which stored code to search.",
            rich_help_panel=_WHAT,
            show_default="code, or that of the other modality",
        ),
    ] = None,
    split: SplitOption = None,
    holdout: HoldoutOption = None,
    modality: ModalityOption = None,
    id_column: IdColumnOption = None,
    device: DeviceOption = Device.auto,
    uri: UriOption = None,
    token: TokenOption = None,
    db_name: DbOption = None,
    timeout: TimeoutOption = None,
    style: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Find the nearest items by Hamming distance: by words, by a picture, by an item of the collection, or by features.

    Items that lack the modality that is searched are found by their completed code, and marked: "missing: text".

    Examples:

        milvus-ichash query -b runs/mine/bundle -c items --words "red apple" --words "blue car" --field title

        milvus-ichash query -b runs/mine/bundle -c items --picture apple.png --top-k 5

        milvus-ichash query -c items --id fruit/apple_1 --radius 4 --format json

        milvus-ichash query -b runs/mine/bundle -c items --features queries.parquet --only image --filter 'has_text ==
        true'
    """
    from milvus_ichash.index.connection import connect
    from milvus_ichash.index.hash_index import HashIndex
    from milvus_ichash.index.search_request import LIMIT
    from milvus_ichash.io import ColumnNames, open_splits
    from milvus_ichash.queries import find_nearest
    from milvus_ichash.settings import load_settings

    _one_of(words, picture, item, features)
    if only and (words or picture):
        raise InputError("--only goes with --features or --id: words and pictures are of one modality.")
    settings = load_settings(uri=uri, token=token, db_name=db_name, timeout=timeout)
    source = (
        None
        if features is None
        else open_splits(features, ColumnNames(mapping(modality, "--modality"), id_column), holdout).choose(
            split.value if split else None, "query"
        )
    )
    encoder = None if item else _encoder(bundle, device)
    with connect(settings, create=False) as connection:
        index = HashIndex.open(connection, collection)
        if encoder is not None:
            index.check(encoder.manifest)
        rows = []
        for queries in _queries(index, encoder, words, picture, item, source, only):
            k = top_k if top_k is not None else 10 if radius is None else LIMIT
            rows += find_nearest(
                index, queries, code=code, top_k=k, radius=radius, nprobe=nprobe, filter=where, fields=field or ()
            )
    for text, unknown in zip(words or (), encoder.raw.unknown_words(words) if encoder and words else (), strict=False):
        if unknown:
            note(f"The bundle does not know {', '.join(unknown)} of '{text}'.", quiet=quiet)
    for name in _never_there(rows, field or ()):
        note(f"No item found has a field '{name}'.", quiet=quiet)
    if not rows:
        note("Nothing was found.", quiet=quiet)
    emit(rows, style)


def _one_of(*ways: Sequence[object] | Path | None) -> None:
    if sum(bool(way) for way in ways) != 1:
        raise InputError("say what to search by, with one of --words, --picture, --id and --features.")


def _encoder(bundle: Path | None, device: Device) -> HashEncoder:
    from milvus_ichash.runtime.encoder import HashEncoder

    if bundle is None:
        raise InputError(
            "searching by anything but --id needs the bundle that the collection was made with: --bundle FOLDER."
        )
    return HashEncoder.load(bundle, device=device.value)


def _queries(
    index: HashIndex,
    encoder: HashEncoder | None,
    words: Sequence[str] | None,
    pictures: Sequence[Path] | None,
    ids: Sequence[str] | None,
    source: FeatureSource | None,
    only: str | None,
) -> Iterator[QueryCodes]:
    from milvus_ichash import queries

    if encoder is None:
        yield queries.codes_of_stored_items(index, ids or (), only)
    elif words:
        yield queries.words_to_codes(encoder, words)
    elif pictures:
        yield queries.pictures_to_codes(encoder, pictures)
    elif source is not None:
        for table in source.batches(_ROWS):
            yield queries.features_to_codes(encoder, table, only)


def _never_there(rows: Sequence[dict[str, object]], names: Sequence[str]) -> list[str]:
    return [name for name in names if name != "*" and rows and all(row.get(name) is None for row in rows)]
