"""Recipes: every file is usable, and what is not is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ichash_export.methods import registry
from ichash_export.papers import recipes
from ichash_export.papers.recipes import load_recipe, load_recipe_set, recipe_names
from ichash_export.train.options import validated
from milvus_ichash.errors import InputError

GOOD = """
method = "tiny"
bits = 16
[settings]
width = 8
[training]
pdr = 0.5
"""


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_usable(name: str) -> None:
    recipe = load_recipe(name)
    assert name.split("/")[0] == recipe.method
    validated(registry.load(recipe.method).Config, recipe.settings, name)


def test_a_recipe_may_be_any_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    recipe = load_recipe(path)
    assert (recipe.method, recipe.bits, recipe.settings, recipe.training) == ("tiny", 16, {"width": 8}, {"pdr": 0.5})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("method =", "metod ="), r"mine\.toml' has no 'metod': did you mean 'method'\?"),
        (("pdr =", "prd ="), r"section \[training\] has no 'prd': did you mean 'pdr'\?"),
        (("pdr = 0.5", "pdr = 1.0"), r"pdr: Input should be less than 1 \(got 1.0\)"),
        (("bits = 16", "bits = 12"), "12 bits cannot be stored"),
        (("width = 8", "width = "), "is not TOML"),
        (("width = 8", f"width = {'9' * 5000}"), r"mine\.toml' is not TOML that can be read: Exceeds the limit"),
        (("width = 8", f"width = {'[' * 5000}"), r"mine\.toml' is not TOML that can be read: it is nested too deeply"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(InputError, match=message):
        load_recipe(path)


@pytest.mark.parametrize(
    ("load", "name", "message"),
    [
        (load_recipe, "nch/nowhere", r"no recipe 'nch/nowhere'; there are: .*nch/mirflickr25k"),
        (load_recipe_set, "fashoin", r"no set of recipes 'fashoin'; there are: .*fashion"),
    ],
)
def test_a_recipe_that_is_not_there(load: Callable[[str], object], name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(name)


def test_in_a_wheel_the_recipes_are_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "__file__", str(tmp_path / "ichash_export" / "papers" / "recipes.py"))
    inside = tmp_path / "ichash_export" / "recipes" / "tiny"
    inside.mkdir(parents=True)
    (inside / "toy.toml").write_text(GOOD)
    assert recipe_names() == ["tiny/toy"]
