"""Recipes: the settings of a paper, or ours, for a method on a data set. What the papers publish is in `published`.

method = "pmch"
bits = 32
note = "where the settings come from"

[settings]            # of the method (its Config)
epochs = 50

[training]            # of the run (`TrainingOptions`)
pdr = 0.5
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from ichash_export.train.options import TrainingOptions, validated
from ichash_export.train.recipe import Recipe, RecipeContent
from milvus_ichash.codes import check_bits
from milvus_ichash.errors import InputError, check_known

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def recipes_folder() -> Path:
    """Return the folder of the recipes: inside the package where it was installed from a wheel, beside it in a
    clone."""
    here = Path(__file__).parents[1]
    return here / "recipes" if (here / "recipes").is_dir() else here.parent / "recipes"


def recipe_names(method: str | None = None) -> list[str]:
    """Return the names of all recipes, or of those of one method, as `<method>/<data set>`."""
    return sorted(str(path.relative_to(recipes_folder()).with_suffix("").as_posix()) for path in _files(method))


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe by its name (`pmch/fashion`) or from a file (`./mine.toml`).

    Raises:
        InputError: there is no such recipe, it is no TOML, or a name or value in it cannot be used.
    """
    path = Path(name) if str(name).endswith(".toml") else recipes_folder() / f"{name}.toml"
    if not path.is_file():
        there = ", ".join(recipe_names()) or "none"
        raise InputError(f"there is no recipe '{name}'; there are: {there}; or give a path that ends in .toml.")
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits and deep lists too
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).partition(";")[0]
        raise InputError(f"recipe '{path}' is not TOML that can be read: {why}.") from error
    recipe = validated(RecipeContent, content, f"recipe '{path}'")
    validated(TrainingOptions, recipe.training, f"recipe '{path}', section [training]")
    check_bits(recipe.bits)
    return Recipe(name=str(name), **recipe.model_dump())


def load_recipe_set(name: str | None) -> dict[str, Recipe]:
    """Read the recipes `<method>/<name>` of all methods that have one.

    Args:
        name: a data set's name, as recipe files have it; None: no recipes.

    Returns:
        Recipes by the name of their method.

    Raises:
        InputError: no method has such a recipe, or one of the files cannot be used.
    """
    if name is None:
        return {}
    sets: dict[str, list[str]] = {}
    for each in recipe_names():
        sets.setdefault(each.partition("/")[2], []).append(each)
    check_known(name, sets, "set of recipes")
    return {recipe.method: recipe for recipe in map(load_recipe, sets[name])}


def _files(method: str | None) -> Iterator[Path]:
    return recipes_folder().glob(f"{method or '*'}/*.toml")
