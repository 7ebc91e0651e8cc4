"""Every named ablation of every method: its settings are the method's, and differ from the method itself, as it is or by a recipe."""

from __future__ import annotations

import pytest

from ichash_export.methods import registry
from ichash_export.papers.recipes import load_recipe, recipe_names
from ichash_export.train.options import validated

NAMED = [(method, name) for method in registry.method_names() for name in registry.load(method).ablations]


@pytest.mark.parametrize(("method", "name"), NAMED)
def test_an_ablation_is_a_setting_that_differs(method: str, name: str) -> None:
    chosen = registry.load(method)
    settings = dict(chosen.ablations[name])
    bases = [{}, *(dict(load_recipe(recipe).settings) for recipe in recipe_names(method))]
    assert any(
        validated(chosen.Config, {**base, **settings}, name) != validated(chosen.Config, base, method) for base in bases
    )
    assert sorted(str(other) for other in chosen.ablations.values()).count(str(chosen.ablations[name])) == 1


COMPLETES_NOTHING = {"dcmh"}
"""It is the baseline that knows no incomplete data: it trains on paired items and gives a missing modality no code."""


@pytest.mark.parametrize("method", [method for method in registry.method_names() if method not in COMPLETES_NOTHING])
def test_every_method_can_be_held_against_no_completion_and_mean_completion(method: str) -> None:
    assert {"no completion", "mean completion"} <= set(registry.load(method).ablations)
