"""Recipes: the settings of a paper, or ours, for a method on a data set, with the published figures.

method = "pmch"
bits = 32
note = "where the settings come from"

[settings]            # of the method (its Config)
epochs = 50

[training]            # of the run (`TrainingOptions`)
pdr = 0.5

[[paper.figures]]     # what the paper reports
table = "3"
page = 6
dataset = "MIRFlickr-25K"
setting = "text only"
variant = ""          # an ablation's name, or another method's; empty: the method itself
bits = 32
value = 0.7725
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ichash_export.options import TrainingOptions, validated
from milvus_ichash.codes import check_bits
from milvus_ichash.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Figure(BaseModel):
    """One cell of a published table: mAP over the whole retrieval set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    page: int | None = None
    dataset: str
    setting: str
    variant: str = ""
    bits: int
    value: float = Field(ge=0, le=1)


class Paper(BaseModel):
    """What the paper reports."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    figures: tuple[Figure, ...] = ()


class Recipe(BaseModel):
    """A recipe file. `settings` are held against the method's Config when they are used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    bits: int = 32
    note: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    """The members of TrainingOptions that are not at their defaults."""
    paper: Paper = Paper()


def recipes_folder() -> Path:
    """Folder of the recipes: in the package where it was installed from a wheel, beside it in a clone."""
    here = Path(__file__).parent
    return here / "recipes" if (here / "recipes").is_dir() else here.parent / "recipes"


def recipe_names(method: str | None = None) -> list[str]:
    """Names, `<method>/<data set>`, of all recipes, or of one method's."""
    return sorted(str(path.relative_to(recipes_folder()).with_suffix("").as_posix()) for path in _files(method))


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe by its name (`pmch/fashion`) or from a file (`./mine.toml`).

    Raises:
        InputError: no such recipe, not TOML, or unknown names and values in it.
    """
    path = Path(name) if str(name).endswith(".toml") else recipes_folder() / f"{name}.toml"
    if not path.is_file():
        there = ", ".join(recipe_names()) or "none"
        raise InputError(f"there is no recipe '{name}'; there are: {there}; or give a path that ends in .toml.")
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"recipe '{path}' is not TOML: {error}.") from error
    recipe = validated(Recipe, content, f"recipe '{path}'")
    validated(TrainingOptions, recipe.training, f"recipe '{path}', section [training]")
    check_bits(recipe.bits)
    return recipe


def published_figures(method: str) -> list[tuple[str, Figure]]:
    """The published figures of a method: (name of the recipe, figure)."""
    return [(name, figure) for name in recipe_names(method) for figure in load_recipe(name).paper.figures]


def _files(method: str | None) -> Iterator[Path]:
    return recipes_folder().glob(f"{method or '*'}/*.toml")
