"""Plans: defaults < the run that goes on < recipe < flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from ichash_export.papers.recipes import load_recipe
from ichash_export.train.options import TrainingOptions
from ichash_export.train.plan import make_plan, parse_settings
from ichash_export.train.recipe import Recipe
from ichash_export.train.run_record import RunIdentity
from milvus_ichash.errors import InputError

pytestmark = pytest.mark.usefixtures("tiny_methods")

BEFORE = RunIdentity(
    method="tiny", bits=64, settings={"epochs": 9, "width": 5}, options=TrainingOptions(seed=3, pdr=0.2), data={}
)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "r.toml"
    path.write_text('method = "tiny"\nbits = 16\n[settings]\nwidth = 8\nepochs = 7\n[training]\npdr = 0.5\nseed = 1\n')
    return load_recipe(path)


@pytest.mark.parametrize(
    ("given", "method", "epochs"),
    [({"method": "tiny"}, "tiny", 4), ({"settings": {"epochs": 3}}, "unihash", 3)],
    ids=["a method", "no method"],
)
def test_defaults(given: dict, method: str, epochs: int) -> None:
    plan = make_plan(**given)
    assert (plan.method, plan.bits, plan.settings, plan.options.pdr, plan.epochs) == (
        method,
        32,
        given.get("settings", {}),
        0.0,
        epochs,
    )


def test_flags_come_before_the_recipe(recipe: Recipe) -> None:
    plan = make_plan(recipe=recipe, bits=24, settings={"width": "9"}, options={"pdr": 0.3, "level": None, "seed": None})
    assert (plan.bits, plan.settings, plan.epochs) == (24, {"width": "9", "epochs": 7}, 7)
    assert (plan.options.pdr, plan.options.seed) == (0.3, 1)


def test_the_recipe_comes_before_the_run_that_goes_on(recipe: Recipe) -> None:
    alone = make_plan(going_on=BEFORE)
    assert (alone.method, alone.bits, alone.settings, alone.options.seed, alone.options.pdr) == (
        "tiny",
        64,
        BEFORE.settings,
        3,
        0.2,
    )
    both = make_plan(recipe=recipe, going_on=BEFORE)
    assert (both.bits, both.settings, both.options.seed) == (16, {"epochs": 7, "width": 8}, 1)
    assert make_plan(method="tiny-cross", going_on=BEFORE).settings == {}


def test_a_method_that_is_named_must_be_the_recipes(recipe: Recipe) -> None:
    with pytest.raises(InputError, match="is one of tiny, not of tiny-cross"):
        make_plan(recipe=recipe, method="tiny-cross")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"settings": {"widht": 3}}, r"method 'tiny' has no 'widht': did you mean 'width'\?"),
        ({"settings": {"zzz": 3}}, r"has no 'zzz': there are: epochs, batch_size, width"),
        ({"settings": {"width": "many"}}, r"width: Input should be a valid integer.*\(got 'many'\)"),
        ({"options": {"pdr": 1.0}}, r"training: pdr: Input should be less than 1 \(got 1.0\)"),
        ({"options": {"pdr": 0.5, "level": "easy"}}, "pdr and level are two ways"),
        ({"bits": 12}, "12 bits cannot be stored"),
        ({"bits": 0}, "0 bits cannot be stored"),
    ],
)
def test_what_is_wrong_is_named(given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_plan(method="tiny", **given)


def test_settings_are_words_or_json() -> None:
    assert parse_settings(["a=0.5", "b=[1, 2]", "c=null", "d=x=y", "e="]) == {
        "a": "0.5",
        "b": [1, 2],
        "c": None,
        "d": "x=y",
        "e": "",
    }
    assert parse_settings(None) == {}
    plan = make_plan(method="tiny-cross", settings=parse_settings(["rates=[0.1, 0.01]", "completion=none", "epochs=2"]))
    assert plan.epochs == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "--set takes NAME=VALUE"),
        (["=3"], "--set takes NAME=VALUE"),
        (["b=[1,"], r"--set b=\[1,: a list must be JSON"),
        (["a=1", "b=2", " a =3"], "--set gives 'a' twice"),
    ],
)
def test_words_that_are_no_settings(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_settings(words)
