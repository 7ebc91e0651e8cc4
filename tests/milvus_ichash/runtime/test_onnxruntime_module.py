from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from milvus_ichash.errors import BackendMissingError
from milvus_ichash.runtime import onnxruntime_module as under_test
from milvus_ichash.runtime.onnxruntime_module import load_onnxruntime


def said_when_loaded(path: Path) -> str:
    """What loading onnxruntime writes to stderr where Python looks into this folder first."""
    load = "from milvus_ichash.runtime.onnxruntime_module import load_onnxruntime; load_onnxruntime()"
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run([sys.executable, "-c", load], env=env, capture_output=True, text=True).stderr


def pretend(folder: Path, distribution: str, version: str = "1.31.1") -> None:
    """The record of an installed distribution, found before the real one."""
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")


def module(folder: Path, content: str) -> None:
    """An onnxruntime with this content."""
    (folder / "onnxruntime").mkdir()
    (folder / "onnxruntime" / "__init__.py").write_text(content)


def test_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(under_test, "installed_distributions", dict)
    with pytest.raises(
        BackendMissingError, match=r"not installed: pip install 'milvus-ichash\[cpu\]', or 'milvus-ichash\[gpu\]'"
    ):
        load_onnxruntime()


def test_two_distributions_that_can_be_imported_are_a_note(tmp_path: Path) -> None:
    for name in ("onnxruntime", "onnxruntime-gpu"):
        pretend(tmp_path, name)
    said = said_when_loaded(tmp_path)
    assert said.startswith("onnxruntime and onnxruntime-gpu are both installed") and "Traceback" not in said


def test_two_distributions_that_cannot_be_imported_are_the_reason(tmp_path: Path) -> None:
    for name in ("onnxruntime", "onnxruntime-gpu"):
        pretend(tmp_path, name)
    module(tmp_path, "raise AttributeError('no such symbol')")
    said = said_when_loaded(tmp_path)
    assert "cannot be imported (no such symbol): onnxruntime and onnxruntime-gpu are both installed" in said
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in said


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is damaged"),
        ("raise ImportError('libfoo.so')", "cannot be imported (libfoo.so)"),
        ("raise ImportError from AttributeError('_ARRAY_API not found')", "cannot be imported (_ARRAY_API not found)"),
        ("raise ImportError", "cannot be imported (ImportError)"),
    ],
)
def test_a_module_that_is_not_whole(tmp_path: Path, content: str, problem: str) -> None:
    module(tmp_path, content)
    assert problem in said_when_loaded(tmp_path)


@pytest.mark.parametrize(("version", "works"), [("1.17.0", False), ("1.18.1", False), ("1.19.2", True)])
def test_a_release_that_is_built_for_numpy_1(monkeypatch: pytest.MonkeyPatch, version: str, works: bool) -> None:
    monkeypatch.setattr(under_test, "installed_distributions", lambda: {"onnxruntime": version})
    if works:
        load_onnxruntime()
        return
    with pytest.raises(
        BackendMissingError, match=rf"{version} is built for numpy 1: pip install 'onnxruntime>=1.19.2'"
    ):
        load_onnxruntime()
