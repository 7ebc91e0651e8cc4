"""StrictModel: the base of what is read from files and options."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """A pydantic model that refuses names it does not know, so that typing errors are seen, and that never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
