"""A recipe: the settings of a paper, or ours, for a method on a data set. `papers.recipes` finds and reads the
files."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from milvus_ichash.strict_model import StrictModel


class RecipeContent(StrictModel):
    """What a recipe file holds. `settings` are checked against the method's Config when they are used."""

    method: str
    bits: int = 32
    note: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    """The members of TrainingOptions that differ from their defaults."""


class Recipe(RecipeContent):
    """A recipe with the name or path that it was read by."""

    name: str
