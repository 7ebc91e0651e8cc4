"""What a run is to do, put together from flags, a recipe, and the run that goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ichash_export.methods import registry
from ichash_export.train.options import TrainingOptions, options_elsewhere, validated
from ichash_export.train.recipe import Recipe
from ichash_export.train.run_record import RunIdentity
from milvus_ichash.codes import check_bits
from milvus_ichash.errors import InputError, check_once

DEFAULT_METHOD = "unihash"
DEFAULT_BITS = 32
_ELSEWHERE = options_elsewhere(
    method="--method",
    recipe="--recipe",
    bits="--bits",
    seed="--seed",
    seeds="--seed",
    pdr="--pdr",
    level="--level",
    validation="--validation",
    holdout="--holdout",
    device="--device",
)


@dataclass(frozen=True)
class Plan:
    """The arguments of `training.train` that say what is trained."""

    method: str
    bits: int
    settings: dict[str, Any]
    options: TrainingOptions
    epochs: int
    """Number of epochs, as the settings say."""


def make_plan(
    *,
    recipe: Recipe | None = None,
    method: str | None = None,
    bits: int | None = None,
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    going_on: RunIdentity | None = None,
) -> Plan:
    """Put a plan together. Flags come before the recipe, the recipe before the run that goes on, and that before
    defaults.

    Args:
        recipe: the recipe to start from.
        method: flag; must be the recipe's method where both are given. DEFAULT_METHOD where nothing names one.
        bits: flag; the code length.
        settings: flags; settings of the method by name.
        options: flags; members of TrainingOptions by name. None counts as not given.
        going_on: the identity of the run that goes on, if one does. What differs from it is refused later, by name.

    Raises:
        InputError: the method is unknown or not the recipe's, or a setting or option cannot be used.
    """
    if recipe and method and method != recipe.method:
        raise InputError(
            f"recipe '{recipe.name}' is one of {recipe.method}, not of {method}: "
            "leave --method out, or take another recipe."
        )
    chosen = method or (recipe.method if recipe else going_on.method if going_on else DEFAULT_METHOD)
    length = bits if bits is not None else (recipe.bits if recipe else going_on.bits if going_on else DEFAULT_BITS)
    check_bits(length)
    chosen_settings = {
        **(going_on.settings if going_on and going_on.method == chosen else {}),
        **(recipe.settings if recipe else {}),
        **(settings or {}),
    }
    chosen_options = {
        **(dict(going_on.options) if going_on else {}),
        **(recipe.training if recipe else {}),
        **{name: value for name, value in (options or {}).items() if value is not None},
    }
    return Plan(
        method=chosen,
        bits=length,
        settings=chosen_settings,
        options=validated(TrainingOptions, chosen_options, "training"),
        epochs=validated(registry.load(chosen).Config, chosen_settings, f"method '{chosen}'", _ELSEWHERE).epochs,
    )


def parse_settings(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Return pairs such as ["alpha=0.5", "hidden=[2048, 1024]"] as a dict.

    Lists, objects and null are read as JSON. Everything else stays a string, which the setting's type reads.

    Raises:
        InputError: a pair is not NAME=VALUE, its JSON cannot be read, or a name comes twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs or ():
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise InputError(f"--set takes NAME=VALUE, such as epochs=20; got '{pair}'.")
        check_once(name.strip(), found, "--set")
        found[name.strip()] = _value(pair, value.strip())
    return found


def _value(pair: str, text: str) -> Any:
    if text != "null" and not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"--set {pair}: a list must be JSON, such as [2048, 1024] ({error.msg}).") from error
