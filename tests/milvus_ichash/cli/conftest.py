"""Fixtures of the command line's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.tiny import plugin


@pytest.fixture
def tiny_methods() -> Iterator[None]:
    """`tiny` and `tiny-cross` are in the registry."""
    with plugin():
        yield
