"""`milvus-ichash inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from milvus_ichash.cli.option_groups import given, refuse_given
from milvus_ichash.cli.options import MILVUS, MilvusOptions
from milvus_ichash.cli.output import FormatOptions
from milvus_ichash.errors import MismatchError

if TYPE_CHECKING:
    from milvus_ichash.bundle import Manifest
    from milvus_ichash.index.hash_index import HashIndex
    from milvus_ichash.settings import MilvusSettings

_COLUMNS = ("collection", "rows", "method", "bits", "codes", "fingerprint")
"""What is shown of each collection."""
_LISTED = 30
"""Labels that people are shown at most."""
_COUNTED = 100_000
"""Items whose labels are counted at most: all of them are read for it."""


def inspect(
    collection: Annotated[
        str | None,
        typer.Option("--collection", "-c", help="Show this collection; without it, list all.", rich_help_panel=MILVUS),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", "-b", help="Show this bundle; with --collection, say whether the two belong together."
        ),
    ] = None,
    *,
    milvus: MilvusOptions,
    output: FormatOptions,
) -> None:
    """Show collections and bundles, and whether they belong together. Nothing is written.

    A file of Milvus Lite is searched for damage, however large it is. The exit code is 4 where the collection was not
    made with the bundle, and 3 where the file is damaged.

    Examples:

        milvus-ichash inspect

        milvus-ichash inspect --collection items --bundle runs/mine/bundle

        milvus-ichash inspect --bundle runs/mine/bundle --format json
    """
    from milvus_ichash.bundle import verify

    manifest = None if bundle is None else verify(bundle)
    if manifest is not None and collection is None:
        refuse_given(given(milvus), "a bundle is a folder, without Milvus; add --collection to compare the two")
        output.emit_document(_shown(_bundle(manifest), output))
        return
    settings = milvus.settings()
    if collection is None:
        output.emit(_collections(settings), title=settings.address, columns=_COLUMNS)
        return
    document, problem = _collection(settings, collection, manifest)
    output.emit_document(_shown(document, output))
    if problem is not None:
        raise problem


def _collections(settings: MilvusSettings) -> list[dict[str, Any]]:
    """Return one row for each collection; of those that other programs made, only the name."""
    from milvus_ichash.index import collection_schema
    from milvus_ichash.index.connection import connect
    from milvus_ichash.index.hash_index import HashIndex

    rows: list[dict[str, Any]] = []
    with connect(settings, create=False, thorough=True) as connection:
        for name in collection_schema.names(connection):
            try:
                collection_schema.read(connection, name)
            except MismatchError:
                rows.append({"collection": name, "method": "(not made by milvus-ichash)"})
                continue
            index = HashIndex.open(connection, name)
            rows.append(
                {
                    "collection": name,
                    "rows": index.count(),
                    "method": index.method,
                    "bits": index.bits,
                    "codes": list(index.codes),
                    "fingerprint": index.fingerprint,
                }
            )
    return rows


def _collection(
    settings: MilvusSettings, name: str, manifest: Manifest | None
) -> tuple[dict[str, Any], MismatchError | None]:
    from milvus_ichash.index.connection import connect
    from milvus_ichash.index.hash_index import HashIndex

    with connect(settings, create=False, thorough=True) as connection:
        index = HashIndex.open(connection, name)
        if manifest is not None and manifest.fingerprint == index.fingerprint:
            index.name_classes(manifest.label_names)
        form = "names" if index.labels_by_name else "class numbers"
        document = index.summary() | {"labels": _labels(index), "labels stored as": form}
        if connection.is_lite:
            document["file bytes"] = Path(settings.uri).expanduser().stat().st_size
        document["milvus"] = (
            f"{'Lite' if connection.is_lite else 'server'} {connection.server_version} at {connection.address}"
        )
    if manifest is None:
        return document, None
    try:
        index.check(manifest)
    except MismatchError as error:
        return {**document, "bundle": f"does not fit: {manifest.fingerprint}"}, error
    return {**document, "bundle": "fits"}, None


def _labels(index: HashIndex) -> dict[str, int] | list[str]:
    """Return the names of the classes with their numbers of items; without these where there are too many items."""
    return index.label_counts() if index.count() <= _COUNTED else list(index.label_names or ())


def _shown(document: dict[str, Any], output: FormatOptions) -> dict[str, Any]:
    """Return what is written: for people the first of many labels, since thousands would hide the rest."""
    from milvus_ichash.io.column_rules import listing

    labels = document["labels"]
    if not output.for_people:
        return document
    words = [f"{name} ({count:,})" for name, count in labels.items()] if isinstance(labels, dict) else list(labels)
    return document | {"labels": listing(words, _LISTED)}


def _bundle(manifest: Manifest) -> dict[str, Any]:
    from milvus_ichash.trained_items import TRAINED_ITEMS

    return {
        "format": manifest.format,
        "method": manifest.method,
        "bits": manifest.bits,
        "lengths": list(manifest.lengths),
        "fingerprint": manifest.fingerprint,
        "takes": manifest.dims,
        "makes": {code.name: code.modality or "fused" for code in manifest.codes},
        "raw input": {name: step.kind for name, step in manifest.raw.items()},
        "completion": manifest.completion,
        "precision": manifest.precision,
        "classes": None if manifest.label_names is None else len(manifest.label_names),
        "labels": manifest.label_names or (),
        "opset": manifest.opset,
        "versions": manifest.versions,
        "training": {name: value for name, value in manifest.training.items() if name != TRAINED_ITEMS},
        "files": {name: f"sha256 {digest[:12]}... ok" for name, digest in manifest.files.items()},
    }
