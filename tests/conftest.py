"""Fixtures that every part of the tests uses."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# A runner in the background (`make test &`) has SIGINT ignored, and so would have every program that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.append(str(Path(__file__).parent))  # for `support`, which is no package of the project


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data sets; tests that need it are skipped where it isn't there (ICHASH_DATA names another place)."""
    folder = Path(os.environ.get("ICHASH_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the data sets are not at {folder}; set ICHASH_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`make_bundle(**options) -> Path`: a fresh small bundle, without torch. Options: `support.bundles.build_bundle`."""

    from support.bundles import build_bundle

    def make(**options: Any) -> Path:
        return build_bundle(tmp_path_factory.mktemp("bundles") / "bundle", **options)

    return make
