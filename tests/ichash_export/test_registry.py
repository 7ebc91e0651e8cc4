"""The list of methods: derived from files, read without torch."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from ichash_export.methods import registry
from ichash_export.methods.base import Method
from ichash_export.papers.recipes import recipe_names
from milvus_ichash.errors import InputError

METHOD = '''"""{title}: what it does in a line.

More.
"""

from typing import ClassVar


class {title}:
    family: ClassVar[str] = "fused"
    citation = Citation("Hash codes", authors="Somebody", venue="Journal", year=2020)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of methods in place of the real one."""
    shutil.copy(registry._FOLDER / "base.py", tmp_path)
    monkeypatch.setattr(registry, "_FOLDER", tmp_path)
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    return tmp_path


def test_a_method_is_a_file(folder: Path) -> None:
    (folder / "alpha.py").write_text(METHOD.format(title="Alpha"))
    (folder / "_helper.py").write_text("x = 1")
    (folder / "registry.py").write_text("x = 1")
    assert registry.method_names() == ["alpha"]
    info = registry.describe("alpha")
    assert (info.class_name, info.family, info.description) == ("Alpha", "fused", "what it does in a line")
    assert str(info.citation) == "Somebody: Hash codes, Journal 2020"
    assert [s.name for s in info.settings] == ["epochs", "batch_size"]


@pytest.mark.parametrize("text", ["x = 1", METHOD.format(title="A") + METHOD.format(title="B")])
def test_a_file_without_exactly_one_method_is_named(folder: Path, text: str) -> None:
    (folder / "odd.py").write_text(text)
    with pytest.raises(InputError, match=r"odd\.py.*exactly one class"):
        registry.describe("odd")


def test_a_folder_with_a_method_file_is_a_method(folder: Path) -> None:
    (folder / "beta").mkdir()
    (folder / "beta" / "losses.py").write_text("x = 1")
    (folder / "beta" / "method.py").write_text(METHOD.format(title="Beta"))
    (folder / "other").mkdir()
    assert registry.method_names() == ["beta"]
    assert registry.describe("beta").module == "ichash_export.methods.beta.method"


def test_a_file_that_is_not_python_is_named(folder: Path) -> None:
    (folder / "odd.py").write_text("x = 1\ndef f(:")
    with pytest.raises(InputError, match=r"odd\.py' is not Python, line 2: "):
        registry.describe("odd")


@pytest.mark.usefixtures("tiny_methods")
def test_entry_points_are_methods_too() -> None:
    assert {"tiny", "tiny-cross"} <= set(registry.method_names())
    info = registry.describe("tiny")
    assert info.description == "a fused method that is trained in milliseconds and uses all that the frame offers"
    notes = {s.name: (s.default, s.description) for s in info.settings}
    assert notes["width"] == ("16", "Size of the latent space, in numbers.")
    assert notes["learning_rate"] == ("0.01", "Of both optimisers.")
    assert {s.name: s.source for s in info.settings}["learning_rate"] == ""
    assert notes["epochs"] == ("4", "How often all training items are gone through, stages included.")
    assert registry.load("tiny-cross").family == "cross-modal"


@pytest.mark.usefixtures("tiny_methods")
def test_what_is_read_from_the_text_is_what_the_class_says() -> None:
    """For every method: names, order and defaults of the settings, family and paper, as Python sees them."""
    for name in registry.method_names():
        info, method = registry.describe(name), registry.load(name)
        assert issubclass(method, Method)
        assert (info.family, info.citation) == (method.family, method.citation)
        assert info.description
        fields = method.Config.model_fields
        assert [s.name for s in info.settings] == list(fields)
        for setting in info.settings:
            default = fields[setting.name].default
            assert default is not PydanticUndefined
            assert ast.literal_eval(setting.default) == default, (name, setting)
            stated = fields[setting.name].json_schema_extra
            assert setting.source == (stated["source"] if isinstance(stated, dict) else ""), (name, setting)


def test_every_method_has_tests_and_a_recipe() -> None:
    for name in registry.method_names():
        assert (Path(__file__).parent / "methods" / f"test_{name}.py").is_file(), f"{name} has no tests"
        assert recipe_names(name), f"{name} has no recipe"


def test_listing_needs_no_torch() -> None:
    code = """
import sys
from ichash_export.methods import registry
from ichash_export.papers.published import published_figures
for name in registry.method_names():
    registry.describe(name), published_figures(name)
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.usefixtures("tiny_methods")
def test_an_unknown_name_lists_those_that_are_there() -> None:
    with pytest.raises(InputError, match=r"no method 'Tinny'; there are: .*tiny, tiny-cross.* Did you mean 'tiny'\?"):
        registry.load("Tinny")
    with pytest.raises(InputError) as error:
        registry.describe("zzzzzz")
    assert "Did you mean" not in str(error.value)


def test_an_entry_point_without_its_module_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "gone-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gone\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[milvus_ichash.methods]\ngone = ichash_gone\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="'gone' is announced by the entry point 'ichash_gone', which cannot be found"):
        registry.describe("gone")
