"""Numbers whose small matrix products are exact, so that codes are equal on every processor and in every batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def exact(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the values rounded to multiples of 1/32, as float32.

    Sums of a few hundred products of such numbers need fewer than the 24 bits of a float32, so that they come out the
    same in whatever order a processor adds them up: no bit of a code depends on it.
    """
    return (np.round(values * 32) / 32).astype(np.float32)
