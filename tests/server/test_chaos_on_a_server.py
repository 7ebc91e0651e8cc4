"""Some rounds of chaos on a server, always the same; `make chaos` plays them for an hour, with others (`chaos.run`)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from chaos.items import make_bundle
from chaos.places import ServerPlace, connected
from chaos.rounds import Round


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps", [("write_at_once", "write_at_once"), ("replace", "replace"), ("write_at_once", "delete")], ids="-".join
)
def test_no_row_is_lost_doubled_or_stale(steps: tuple[str, ...], uri: str, tmp_path: Path) -> None:
    """Several writers at once, and replacements that are interrupted; the server itself is left alive."""
    place = ServerPlace(uri, None)
    name = f"chaos_{os.getpid()}_{'_'.join(steps)}"
    played = Round(place, tmp_path, make_bundle(tmp_path / "bundle"), "a seed of few rows", collection=name)
    try:
        played.play(*steps)
        assert not played.problems, "\n".join([*played.log, *played.problems])
    finally:
        with connected(place) as connection:
            connection.client.drop_collection(name)
