"""`milvus-ichash inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from milvus_ichash.cli.options import DbOption, Format, FormatOption, TimeoutOption, TokenOption, UriOption
from milvus_ichash.errors import MismatchError

if TYPE_CHECKING:
    from milvus_ichash.bundle import Manifest
    from milvus_ichash.settings import MilvusSettings


def inspect(
    collection: Annotated[
        str | None,
        typer.Option(
            "--collection", "-c", help="Look at this collection; without it, list them.", rich_help_panel="Milvus"
        ),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", "-b", help="Look at this bundle, and whether the collection fits it.")
    ] = None,
    uri: UriOption = None,
    token: TokenOption = None,
    db_name: DbOption = None,
    timeout: TimeoutOption = None,
    style: FormatOption = Format.table,
) -> None:
    """Show what is in Milvus, and what a bundle makes. Nothing is written.

    With a collection and a bundle that do not belong together, the exit code is 4.

    Examples:

        milvus-ichash inspect

        milvus-ichash inspect --collection items --bundle runs/mine/bundle

        milvus-ichash inspect --bundle runs/mine/bundle --format json
    """
    from milvus_ichash.bundle import verify
    from milvus_ichash.cli.output import emit, emit_document
    from milvus_ichash.settings import load_settings

    manifest = None if bundle is None else verify(bundle)
    if manifest is not None and collection is None:
        emit_document(_bundle(manifest), style)
        return
    settings = load_settings(uri=uri, token=token, db_name=db_name, timeout=timeout)
    if collection is None:
        emit(_collections(settings), style, title=settings.address)
        return
    document, problem = _collection(settings, collection, manifest)
    emit_document(document, style)
    if problem is not None:
        raise problem


def _collections(settings: MilvusSettings) -> list[dict[str, Any]]:
    """One row for each collection; of those that others made, the name only."""
    from milvus_ichash.index import collection_schema
    from milvus_ichash.index.connection import connect
    from milvus_ichash.index.hash_index import HashIndex

    rows: list[dict[str, Any]] = []
    with connect(settings, create=False) as connection:
        with connection.calling("list the collections"):
            names = sorted(connection.client.list_collections(timeout=connection.timeout))
        for name in names:
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

    with connect(settings, create=False) as connection:
        index = HashIndex.open(connection, name)
        document = index.summary()
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


def _bundle(manifest: Manifest) -> dict[str, Any]:
    return {
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
        "opset": manifest.opset,
        "versions": manifest.versions,
        "training": manifest.training,
        "files": {name: f"sha256 {digest[:12]}... ok" for name, digest in manifest.files.items()},
    }
