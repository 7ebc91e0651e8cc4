"""What a run is to do: from a recipe, flags, and the run that goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ichash_export.methods import registry
from ichash_export.train.options import TrainingOptions, validated
from ichash_export.train.recipe import Recipe
from ichash_export.train.run_record import RunIdentity
from milvus_ichash.codes import check_bits
from milvus_ichash.errors import InputError

DEFAULT_METHOD = "unihash"
DEFAULT_BITS = 32


@dataclass(frozen=True)
class Plan:
    """The arguments of `training.train` that say what is made."""

    method: str
    bits: int
    settings: dict[str, Any]
    options: TrainingOptions
    epochs: int
    """As the settings say."""


def make_plan(
    *,
    recipe: Recipe | None = None,
    method: str | None = None,
    bits: int | None = None,
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    going_on: RunIdentity | None = None,
) -> Plan:
    """Put a plan together: defaults < the run that goes on < recipe < flags.

    Args:
        recipe: the recipe to start from.
        method: flag; must be the recipe's where both are given; DEFAULT_METHOD where nothing names one.
        bits: flag.
        settings: flags; settings of the method.
        options: flags; None values do not count.
        going_on: the identity of the run that goes on, if one does. What differs from it is refused later, by name.

    Raises:
        InputError: an unknown method, or settings that it does not take.
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
        epochs=validated(registry.load(chosen).Config, chosen_settings, f"method '{chosen}'").epochs,
    )


def parse_settings(pairs: Sequence[str] | None) -> dict[str, Any]:
    """["alpha=0.5", "hidden=[2048, 1024]"] as a dict; lists, objects and null are JSON, anything else is left to the setting's type.

    Raises:
        InputError: names the pair that is not NAME=VALUE.
    """
    found: dict[str, Any] = {}
    for pair in pairs or ():
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise InputError(f"--set takes NAME=VALUE, such as epochs=20; got '{pair}'.")
        found[name.strip()] = _value(pair, value.strip())
    return found


def _value(pair: str, text: str) -> Any:
    if text != "null" and not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"--set {pair}: a list must be JSON, such as [2048, 1024] ({error.msg}).") from error
