"""`milvus-ichash delete`."""

from __future__ import annotations

from typing import Annotated

import typer

from milvus_ichash.cli.options import (
    CollectionOption,
    DbOption,
    Format,
    FormatOption,
    TimeoutOption,
    TokenOption,
    UriOption,
)
from milvus_ichash.cli.output import confirm, emit
from milvus_ichash.errors import InputError

_WHAT = "What to delete (one of these)"


def delete(
    collection: CollectionOption = "ichash",
    item: Annotated[list[str] | None, typer.Option("--id", help="An item; repeat it.", rich_help_panel=_WHAT)] = None,
    where: Annotated[
        str | None,
        typer.Option("--filter", help="Milvus expression, such as 'array_contains(labels, 3)'.", rich_help_panel=_WHAT),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    uri: UriOption = None,
    token: TokenOption = None,
    db_name: DbOption = None,
    timeout: TimeoutOption = None,
    style: FormatOption = Format.table,
) -> None:
    """Delete items of a collection, by id or by a filter. Ids that are not there are passed over.

    Examples:

        milvus-ichash delete --collection items --id fruit/apple_1 --id fruit/apple_2

        milvus-ichash delete -c items --filter 'has_text == false' --yes
    """
    from milvus_ichash.index.connection import connect
    from milvus_ichash.index.hash_index import HashIndex
    from milvus_ichash.queries import id_from_text
    from milvus_ichash.settings import load_settings

    if bool(item) == bool(where):
        raise InputError("say what to delete, with --id or with --filter (one of them).")
    settings = load_settings(uri=uri, token=token, db_name=db_name, timeout=timeout)
    with connect(settings, create=False) as connection:
        opened = HashIndex.open(connection, collection)
        keys = list(dict.fromkeys(id_from_text(opened, text) for text in item or ()))
        if not yes and (where or len(keys) > 1):
            rows = opened.count(where) if where else len(keys)
            confirm(f"{rows:,} items of the collection '{collection}' at {connection.address} will be deleted")
        deleted = opened.delete(keys) if keys else opened.delete(filter=where or "")
        left = opened.count()
    emit([{"collection": collection, "deleted": deleted, "rows": left}], style)
