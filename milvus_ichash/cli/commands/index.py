"""`milvus-ichash index`."""

from __future__ import annotations

from milvus_ichash.cli.options import CollectionOption, IndexOptions, MilvusOptions
from milvus_ichash.cli.output import OutputOptions
from milvus_ichash.cli.progress import towards


def index(
    collection: CollectionOption = "ichash", *, wanted: IndexOptions, milvus: MilvusOptions, output: OutputOptions
) -> None:
    """Give a collection the index that fits its size, or the one asked for, and wait until it is built.

    Where the collection has that index already, the command only waits. While another index is built, the collection
    cannot be searched.

    Examples:

        milvus-ichash index --collection items

        milvus-ichash index -c items --index BIN_IVF_FLAT --nlist 1024
    """
    from milvus_ichash.index import index_building
    from milvus_ichash.index.connection import connect
    from milvus_ichash.index.hash_index import HashIndex
    from milvus_ichash.index.index_spec import IndexSpec

    with connect(milvus.settings(), create=False) as connection:
        opened = HashIndex.find(connection, collection)
        rows = 0 if connection.is_lite else index_building.rows_stored(connection, collection)
        spec = IndexSpec.of(wanted.kind, wanted.nlist, rows, lite=connection.is_lite)
        opened.reindex(spec)
        if wanted.wait:
            with output.progress(f"indexing {collection}", rows, unit="rows") as advance:
                opened.wait_until_indexed(advance=towards(advance))
        document = opened.summary()
    output.emit_document({name: document[name] for name in ("collection", "rows", "index", "nprobe")})
