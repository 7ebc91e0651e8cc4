"""`milvus-ichash methods`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.cli.options import Format, FormatOption
from milvus_ichash.cli.output import Row, emit, emit_document, filled

if TYPE_CHECKING:
    from ichash_export.methods.registry import MethodInfo


def methods(
    name: Annotated[
        str | None, typer.Argument(help="A method: its settings with their defaults, and the paper's figures.")
    ] = None,
    style: FormatOption = Format.table,
) -> None:
    """List the methods that `train` knows, or show one of them. Needs no torch.

    Examples:

        milvus-ichash methods

        milvus-ichash methods pmch
    """
    from ichash_export.methods import registry

    if name is None:
        emit([_line(registry.describe(each)) for each in registry.method_names()], style)
        return
    from ichash_export.papers.published import published_figures
    from ichash_export.papers.recipes import recipe_names

    info = registry.describe(name)
    settings = [{"setting": s.name, "default": s.default, "type": s.type, "what": s.description} for s in info.settings]
    figures = [figure.model_dump(exclude={"method"}) for figure in published_figures(name)]
    about = {**_line(info), "paper": info.paper, "recipes": recipe_names(name)}
    if style is not Format.table:
        emit_document({**about, "settings": settings, "figures": figures}, style)
        return
    emit_document(about, style)
    emit(settings, style, title="Settings (train --set NAME=VALUE)")
    if figures:
        emit(filled(figures), style, title="Published figures")


def _line(info: MethodInfo) -> Row:
    codes = "code" if info.family == "fused" else "<modality>_code"
    return {"method": info.name, "family": info.family, "codes": codes, "description": info.description}
