"""`milvus-ichash delete`."""

from __future__ import annotations

from typing import Annotated

import typer

from milvus_ichash.cli.options import CollectionOption, MilvusOptions
from milvus_ichash.cli.output import FormatOptions, confirm
from milvus_ichash.errors import InputError

_WHAT = "What to delete (one of these)"


def delete(
    collection: CollectionOption = "ichash",
    item: Annotated[
        list[str] | None, typer.Option("--id", help="Id of an item; may be given several times.", rich_help_panel=_WHAT)
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--filter", help="Milvus expression, such as 'array_contains(labels, \"red\")'.", rich_help_panel=_WHAT
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    *,
    milvus: MilvusOptions,
    output: FormatOptions,
) -> None:
    """Delete items of a collection, by id or by a filter. Ids that are not in the collection are ignored.

    Examples:

        milvus-ichash delete --collection items --id fruit/apple_1 --id fruit/apple_2

        milvus-ichash delete -c items --filter 'has_text == false' --yes
    """
    from milvus_ichash.index.connection import connect
    from milvus_ichash.index.hash_index import HashIndex
    from milvus_ichash.queries import id_from_text

    if bool(item) == bool(where):
        raise InputError("say what to delete, with --id or with --filter (one of them).")
    with connect(milvus.settings(), create=False) as connection:
        opened = HashIndex.open(connection, collection)
        keys = list(dict.fromkeys(id_from_text(opened, text) for text in item or ()))
        if not yes and (where or len(keys) > 1):
            rows = opened.count(where) if where else len(keys)
            confirm(f"{rows:,} items of the collection '{collection}' at {connection.address} will be deleted")
        deleted = opened.delete(keys) if keys else opened.delete(filter=where or "")
        left = opened.count()
    output.emit([{"collection": collection, "deleted": deleted, "rows": left}])
