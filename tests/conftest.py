"""Fixtures that every part of the tests uses."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, however slow the machine is: no outcome depends on luck or time.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")

# A runner in the background (`make test &`) has SIGINT ignored, and so would have every program that the tests
# interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.append(str(Path(__file__).parent))  # for `support`, which is no package of the project


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data sets (ICHASH_DATA names another); without it, tests that need it are skipped."""
    folder = Path(os.environ.get("ICHASH_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the data sets are not at {folder}; set ICHASH_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a fresh small bundle, without torch: `make_bundle(**options) -> Path` (`support.bundles.build_bundle`)."""

    from support.bundles import build_bundle

    def make(**options: Any) -> Path:
        return build_bundle(tmp_path_factory.mktemp("bundles") / "bundle", **options)

    return make


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Milvus server: that of MILVUS_URI, else one of our own in a closed network (`make test`).

    Where there is neither, tests are skipped with the reason; with ICHASH_SERVER=required, as in CI, they fail.
    """
    from support.milvus_server import MilvusServer

    reason = _no_server()
    if reason and os.environ.get("ICHASH_SERVER") == "required":
        pytest.fail(f"ICHASH_SERVER=required, and {reason}")
    if reason:
        pytest.skip(reason)
    if os.environ.get("MILVUS_URI"):
        yield os.environ["MILVUS_URI"]
        return
    with MilvusServer(tmp_path_factory.mktemp("server")) as server:
        yield server.uri


def _no_server() -> str | None:
    """Why there is none; None where there is one."""
    from support import milvus_server

    if os.environ.get("MILVUS_URI"):
        return None
    if not milvus_server.installed():
        return "the test server is not installed (PyPI milvus==2.3.5, Linux x86-64), and MILVUS_URI is not set"
    if not milvus_server.network_is_closed():
        return (
            "the test server listens on all interfaces, so it starts in a closed network only: "
            "run `make test`, or set MILVUS_URI"
        )
    return None
