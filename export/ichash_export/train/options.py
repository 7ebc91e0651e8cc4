"""What a training run is told besides the method's own settings. No torch here: recipes are read without it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from milvus_ichash.choices import Level
from milvus_ichash.errors import InputError, first_problem

Model = TypeVar("Model", bound=BaseModel)


class TrainingOptions(BaseModel):
    """How a run treats its data and when it stops; section `[training]` of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0, lt=2**32)
    """Of everything random: the mask, the validation part, the weights, the order of the items."""
    pdr: float = Field(0.0, ge=0, lt=1)
    """Partial data ratio: share of the training items from which one modality is hidden (PMCH, NCH, JCPMH)."""
    level: Level | None = None
    """Easy, medium or hard: shares of paired and single-modality training items (CICH, EGICH)."""
    validation: float = Field(0.1, ge=0, lt=1)
    """Share of the training items held out (at most 2,000 of them) to choose the epoch that is kept; 0: all are trained on."""
    validate_every: int = Field(5, ge=1)
    """Epochs between validations; one takes about as long as half an epoch."""
    patience: int = Field(5, ge=0)
    """Validations without a better one after which training stops; 0: never before the last epoch."""

    @model_validator(mode="after")
    def _one_mask(self) -> TrainingOptions:
        if self.pdr and self.level:
            raise ValueError("pdr and level are two ways to hide modalities: give one of them")
        return self


def validated(model: type[Model], values: Mapping[str, Any], what: str) -> Model:
    """`model(**values)`, with errors that a person can act on.

    Raises:
        InputError: names an unknown setting and the nearest known one, or the value that cannot be used.
    """
    known = list(model.model_fields)
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(known)}."
            raise InputError(f"{what} has no '{name}': {hint}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        where, message = first_problem(error)
        raise InputError(
            f"{what}: {where}: {message} (got {error.errors()[0]['input']!r})." if where else f"{what}: {message}."
        ) from error
