"""`milvus-ichash methods`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.cli.output import FormatOptions
from milvus_ichash.cli.written_rows import Row, filled

if TYPE_CHECKING:
    from ichash_export.methods.registry import MethodInfo


def methods(
    name: Annotated[
        str | None,
        typer.Argument(help="Name of a method, to show its settings with their defaults and the published figures."),
    ] = None,
    *,
    output: FormatOptions,
) -> None:
    """List the methods that `train` knows, or show one of them. Needs no torch.

    Examples:

        milvus-ichash methods

        milvus-ichash methods pmch
    """
    from ichash_export.methods import registry

    if name is None:
        output.emit([_line(registry.describe(each)) for each in registry.method_names()])
        return
    from ichash_export.papers.published import published_figures
    from ichash_export.papers.recipes import recipe_names

    info = registry.describe(name)
    settings = [
        {"setting": s.name, "default": s.default, "from": s.source, "type": s.type, "meaning": s.description}
        for s in info.settings
    ]
    figures = [figure.model_dump(exclude={"method"}) for figure in published_figures(name)]
    about = {**_line(info), "paper": str(info.citation or ""), "recipes": recipe_names(name)}
    if output.style != "table":
        citation = asdict(info.citation) if info.citation else None
        output.emit_document({**about, "citation": citation, "settings": settings, "figures": figures})
        return
    output.emit_document(about)
    output.emit(settings, title="Settings (train --set NAME=VALUE)")
    if figures:
        output.emit(filled(figures), title="Published figures")


def _line(info: MethodInfo) -> Row:
    codes = "code" if info.family == "fused" else "<modality>_code"
    return {"method": info.name, "family": info.family, "codes": codes, "description": info.description}
