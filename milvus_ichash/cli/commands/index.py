"""`milvus-ichash index`."""

from __future__ import annotations

from milvus_ichash.cli.options import (
    CollectionOption,
    DbOption,
    Format,
    FormatOption,
    IndexOption,
    NlistOption,
    QuietOption,
    TimeoutOption,
    TokenOption,
    UriOption,
    WaitOption,
)
from milvus_ichash.cli.output import emit_document, progress, towards


def index(
    collection: CollectionOption = "ichash",
    kind: IndexOption = None,
    nlist: NlistOption = None,
    wait: WaitOption = True,
    uri: UriOption = None,
    token: TokenOption = None,
    db_name: DbOption = None,
    timeout: TimeoutOption = None,
    style: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Give a collection the index that fits its size, or the one asked for, and wait until it is built.

    Where it has that index already, there is only the waiting. While another one is built, nothing can be searched.

    Examples:

        milvus-ichash index --collection items

        milvus-ichash index -c items --index BIN_IVF_FLAT --nlist 1024
    """
    from milvus_ichash.index import index_building
    from milvus_ichash.index.connection import connect
    from milvus_ichash.index.hash_index import HashIndex
    from milvus_ichash.index.index_spec import IndexSpec
    from milvus_ichash.settings import load_settings

    settings = load_settings(uri=uri, token=token, db_name=db_name, timeout=timeout)
    with connect(settings, create=False) as connection:
        opened = HashIndex.find(connection, collection)
        rows = 0 if connection.is_lite else index_building.rows_stored(connection, collection)
        spec = IndexSpec.of(kind and kind.value, nlist, rows, lite=connection.is_lite)
        opened.reindex(spec)
        if wait:
            with progress(f"indexing {collection}", rows, quiet=quiet) as advance:
                opened.wait_until_indexed(advance=towards(advance))
        document = opened.summary()
    emit_document({name: document[name] for name in ("collection", "rows", "index", "nprobe")}, style)
