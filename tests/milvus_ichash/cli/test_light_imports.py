"""What does not train loads neither torch nor the training package: it works in an installation without them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import CommandLine, environment
from support.labelled_items import items, write_npz

RUN = """
import json, sys
import milvus_ichash
if sys.argv[1:]:
    from milvus_ichash.cli import main
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Path]) -> CommandLine:
    """A folder with a bundle, `items.npz`, and the items in a collection."""
    place = CommandLine(tmp_path_factory.mktemp("place"))
    write_npz(place.folder / "items.npz", items(20))
    make_bundle().rename(place.folder / "bundle")
    place.rows("ingest", "items.npz", "-b", "bundle")
    return place


@pytest.mark.parametrize(
    ("words", "loaded"),
    [
        ((), "milvus_ichash"),
        (("--help",), "typer"),
        (("query", "-b", "bundle", "--features", "items.npz"), "onnxruntime"),
        (("query", "--id", "0"), "pymilvus"),
    ],
)
def test_neither_torch_nor_the_training_package_is_loaded(
    place: CommandLine, words: tuple[str, ...], loaded: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words],
        cwd=place.folder,
        env=environment(**place.settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    modules = json.loads(done.stderr.splitlines()[-1])
    assert loaded in modules
    assert [name for name in modules if name.partition(".")[0] in ("torch", "ichash_export")] == []
