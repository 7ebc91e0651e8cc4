"""Some rounds on Milvus Lite, always the same; `make chaos` plays them for an hour, with others (`chaos.run`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.items import make_bundle
from chaos.places import LitePlace
from chaos.rounds import Round


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps",
    [
        ("replace", "replace", "delete"),
        ("replace", "kill_milvus"),
        ("replace", "recreate"),
        ("replace", "damage", "damage"),
    ],
    ids="-".join,
)
def test_no_row_is_lost_doubled_or_stale(steps: tuple[str, ...], bundle: Path, tmp_path: Path) -> None:
    played = Round(LitePlace(tmp_path), tmp_path, bundle, "a seed of few rows").play(*steps)
    assert not played.problems, "\n".join([*played.log, *played.problems])
