"""The files that results are written into, JSON and figures: checks before a long measurement, and writing."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milvus_ichash.errors import InputError, writing
from milvus_ichash.extras import import_extra
from milvus_ichash.printable import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_ENDINGS = (".png", ".svg", ".pdf")


def check_folder(path: str | Path) -> None:
    """Raise InputError where the folder of a file to be written does not exist."""
    folder = Path(path).parent
    if not folder.is_dir():
        raise InputError(f"'{path}' cannot be written: there is no folder '{folder}'.")


def check_figure(path: str | Path) -> None:
    """Raise where no figure can be written into this file. Call it before a long measurement.

    Raises:
        InputError: an unknown file ending, or a folder that does not exist.
        BackendMissingError: matplotlib is not installed.
    """
    if Path(path).suffix.lower() not in FIGURE_ENDINGS:
        raise InputError(f"'{path}': a figure ends in {', '.join(FIGURE_ENDINGS)}.")
    check_folder(path)
    empty_figure(1, 1)


def empty_figure(width: float, height: float) -> Figure:
    """Return a matplotlib figure to draw on.

    Args:
        width: in inches.
        height: in inches.

    Raises:
        BackendMissingError: matplotlib is not installed.
    """
    matplotlib_figure = import_extra("matplotlib.figure", "a figure", "plot")
    figure: Figure = matplotlib_figure.Figure(figsize=(width, height), layout="constrained")
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure into a .png, .svg or .pdf file. Its words are shown as they are: a `$` in them begins no formula.

    Raises:
        InputError: the file cannot be written.
    """
    for words in figure.findobj(import_module("matplotlib.text").Text):
        words.set_text("\n".join(map(printable, words.get_text().split("\n"))))
        if "$" in words.get_text():
            words.set_parse_math(False)
    with writing(f"'{path}'"):
        figure.savefig(path, dpi=150)


def save_json(document: dict[str, Any], path: str | Path) -> None:
    """Write a document as a JSON file in UTF-8; names of files that are not UTF-8 become escapes.

    Raises:
        InputError: the file cannot be written.
    """
    with writing(f"'{path}'"):
        Path(path).write_text(
            json.dumps(document, ensure_ascii=False, indent=2) + "\n", "utf-8", "backslashreplace", "\n"
        )
