"""StrictModel: the base of what is read from files and options."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """A pydantic model that refuses names it does not know, so that typing errors are seen, and that never changes.

    NaN and infinity are refused as well: no setting and no size means anything with them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
