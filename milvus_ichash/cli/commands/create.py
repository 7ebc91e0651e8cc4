"""`milvus-ichash create`."""

from __future__ import annotations

from typing import Annotated

import typer

from milvus_ichash.choices import IdKind
from milvus_ichash.cli.option_values import listed
from milvus_ichash.cli.options import (
    BundleOption,
    CodesOption,
    CollectionOption,
    LengthOption,
    MilvusOptions,
    NewIndexOptions,
)
from milvus_ichash.cli.output import OutputOptions


def create(
    bundle: BundleOption,
    collection: CollectionOption = "ichash",
    codes: CodesOption = None,
    bits: LengthOption = None,
    ids: Annotated[IdKind, typer.Option("--ids", help="Kind of the items' ids: strings, or whole numbers.")] = "str",
    *,
    index: NewIndexOptions,
    milvus: MilvusOptions,
    output: OutputOptions,
) -> None:
    """Make an empty collection for the codes of a bundle, before several ingests write into it at the same time.

    Where it is there already, nothing is changed: the command only checks that it is the one that is wanted.

    Examples:

        milvus-ichash create --bundle runs/mine/bundle --collection items --uri http://localhost:19530

        milvus-ichash create -b runs/mine/bundle -c items --ids int64 --index BIN_IVF_FLAT --nlist 1024
    """
    from milvus_ichash.bundle import read_manifest
    from milvus_ichash.index.connection import connect
    from milvus_ichash.index.hash_index import HashIndex
    from milvus_ichash.index.index_spec import IndexSpec

    manifest = read_manifest(bundle)
    chosen = listed(codes, str, "--codes", "text_code") or None
    with connect(milvus.settings()) as connection:
        wanted = None
        if index.kind is not None or index.nlist is not None:
            wanted = IndexSpec.of(index.kind, index.nlist, None, lite=connection.is_lite)
        there = HashIndex.exists(connection, collection)
        # Whether the labels that will come have names is not known here: classes without names are called "0", "1", ...
        made = HashIndex.ensure(
            connection,
            collection,
            manifest,
            id_kind=ids,
            codes=chosen,
            bits=bits,
            index=wanted,
            labels_by_name=True,
        )
        document = {
            "collection": collection,
            "made": not there,
            "rows": made.count(),
            "method": made.method,
            "bits": made.bits,
            "fingerprint": made.fingerprint,
            "id": made.id_kind,
            "codes": {name: modality or "fused" for name, modality in made.description.codes.items()},
            "index": made.index_states(),
        }
    output.emit_document(document)
