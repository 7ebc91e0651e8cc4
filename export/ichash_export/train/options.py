"""The options of a training run, beside the settings of the method. Nothing here needs torch, so that recipes are read
without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from milvus_ichash.choices import Level
from milvus_ichash.errors import InputError, did_you_mean, first_problem
from milvus_ichash.strict_model import StrictModel

Model = TypeVar("Model", bound=BaseModel)


class TrainingOptions(StrictModel):
    """How a run treats its data and when it stops: the section `[training]` of a recipe."""

    seed: int = Field(0, ge=0, lt=2**32)
    """Random seed: sets the hidden modalities, the validation items, the initial weights and the order of the items."""
    pdr: float = Field(0.0, ge=0, lt=1)
    """Partial data ratio: share of the training items of which one modality is hidden (PMCH, NCH, JCPMH)."""
    level: Level | None = None
    """Easy, medium or hard: shares of paired and single-modality training items (CICH, EGICH)."""
    validation: float = Field(0.1, ge=0, lt=1)
    """Share of the items that are kept for validation, at most 2,000, to choose the epoch that is kept; 0: all are
    trained on."""
    validate_every: int = Field(5, ge=1)
    """Epochs between validations; one takes about as long as half an epoch."""
    patience: int = Field(5, ge=0)
    """Training stops after this many validations without a better one; 0: it never stops before the last epoch."""

    @model_validator(mode="after")
    def _one_mask(self) -> TrainingOptions:
        if self.pdr and self.level:
            raise ValueError("pdr and level are two ways to hide modalities: give one of them")
        return self


def options_elsewhere(**flags: str) -> dict[str, str]:
    """Return what is no setting of a method, but may be taken for one, with where it is said.

    Args:
        flags: the flags of a command by the names that people try, such as `validation="--validation"`. Options of the
            training that it has no flag for are only in recipes.
    """
    in_recipes = "an option of the training: it stands in the section [training] of a recipe"
    return {
        **dict.fromkeys(TrainingOptions.model_fields, in_recipes),
        **{name: f"an option of its own: {flag}" for name, flag in flags.items()},
    }


def validated(
    model: type[Model], values: Mapping[str, Any], what: str, elsewhere: Mapping[str, str] | None = None
) -> Model:
    """Return `model(**values)`, with errors that a person can act on.

    Args:
        model: a pydantic model.
        values: its fields by name.
        what: what the values belong to, for the message.
        elsewhere: names that are no fields, but stand somewhere else, with where that is (`options_elsewhere`).

    Raises:
        InputError: a field is unknown, and the message names the nearest one; or a value cannot be used.
    """
    known = list(model.model_fields)
    for name in values:
        if name not in known and name in (elsewhere or {}):
            raise InputError(f"{what} has no '{name}': that is {(elsewhere or {})[name]}.")
        if name not in known:
            hint = did_you_mean(name, known).lstrip().replace("Did", "did") or f"there are: {', '.join(known)}."
            raise InputError(f"{what} has no '{name}': {hint}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        where, message = first_problem(error)
        raise InputError(
            f"{what}: {where}: {message} (got {error.errors()[0]['input']!r})." if where else f"{what}: {message}."
        ) from error
