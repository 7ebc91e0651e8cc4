from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from milvus_ichash.bundle import ENCODER, read_manifest

MakeBundle = Callable[..., Path]
Doctor = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    """Run the command in an empty folder, without settings of this machine, with `path` put before the installed packages."""

    def run(*arguments: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MILVUS_", "ZILLIZ_"))}
        env = (
            kept
            | ({"PYTHONPATH": os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH")]))} if path else {})
            | environment
        )
        (tmp_path / "here").mkdir(exist_ok=True)
        command = [sys.executable, "-m", "milvus_ichash", "doctor", *arguments]
        return subprocess.run(command, cwd=tmp_path / "here", env=env, capture_output=True, text=True, timeout=120)

    return run


def checks(result: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    assert "Traceback" not in result.stderr
    return {row["check"]: row for row in json.loads(result.stdout)}


def pretend(folder: Path, distribution: str, version: str) -> Path:
    """The record of an installed distribution, found before the real one."""
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    return folder


def test_all_is_well_and_nothing_is_left_behind(doctor: Doctor, make_bundle: MakeBundle, tmp_path: Path) -> None:
    bundle = make_bundle()
    result = doctor("--format", "json", "--bundle", str(bundle), MILVUS_TOKEN="root:secret-word")
    found = checks(result)
    assert result.returncode == 0, result.stdout + result.stderr
    assert {row["status"] for row in found.values()} <= {"ok", "warning"}
    assert "not there yet" in found["Milvus"]["found"]
    assert "Lite" in found["Milvus"]["found"]
    assert read_manifest(bundle).fingerprint in found["bundle"]["found"]
    assert found["setting token"]["found"] == "(set)"
    assert "secret-word" not in result.stdout + result.stderr
    assert list((tmp_path / "here").iterdir()) == []


def test_people_get_a_table(doctor: Doctor) -> None:
    result = doctor()
    assert result.returncode == 0
    for word in ("onnxruntime", "milvus-lite", "pymilvus", "CUDA", "torch"):
        assert word in result.stdout


def test_a_server_that_is_not_there_is_said_in_time(doctor: Doctor) -> None:
    start = time.monotonic()
    result = doctor("--uri", "http://127.0.0.1:9", "--timeout", "2", "--format", "json")
    assert result.returncode == 3
    assert checks(result)["Milvus"]["status"] == "failed"
    assert time.monotonic() - start < 30


def test_a_file_that_is_no_database_fails(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("no database")
    result = doctor("--uri", str(tmp_path / "notes.db"), "--format", "json")
    assert result.returncode == 3
    assert checks(result)["Milvus"]["status"] == "failed"
    assert (tmp_path / "notes.db").read_text() == "no database"


def test_two_onnxruntimes_are_a_missing_backend(doctor: Doctor, make_bundle: MakeBundle, tmp_path: Path) -> None:
    both = pretend(pretend(tmp_path / "site", "onnxruntime-gpu", "1.31.1"), "onnxruntime", "1.31.1")
    result = doctor("--format", "json", "--bundle", str(make_bundle()), path=both)
    found = checks(result)
    assert result.returncode == 6
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in found["onnxruntime"]["what to do"]
    assert "files are whole, not opened" in found["bundle"]["found"]


def test_milvus_lite_3_is_a_missing_backend(doctor: Doctor, tmp_path: Path) -> None:
    lite3 = pretend(tmp_path / "site", "milvus-lite", "3.1.0")
    result = doctor("--format", "json", path=lite3)
    found = checks(result)
    assert result.returncode == 6
    assert "no BINARY_VECTOR" in found["milvus-lite"]["what to do"]
    assert "pip install 'milvus-ichash[lite]'" in found["milvus-lite"]["what to do"]
    assert "Milvus" not in found
    elsewhere = checks(doctor("--uri", "http://127.0.0.1:9", "--timeout", "1", "--format", "json", path=lite3))
    assert elsewhere["milvus-lite"]["status"] == "ok"


def test_a_pymilvus_out_of_range_is_a_warning(doctor: Doctor, tmp_path: Path) -> None:
    found = checks(doctor("--format", "json", path=pretend(tmp_path / "site", "pymilvus", "2.4.9")))
    assert (found["pymilvus"]["status"], found["pymilvus"]["found"]) == ("warning", "2.4.9")


def test_a_database_that_could_not_be_made_fails(doctor: Doctor, tmp_path: Path) -> None:
    for name, code in (("nowhere/x.db", 3), ("a name.db", 2)):
        result = doctor("--uri", str(tmp_path / name), "--format", "json")
        assert result.returncode == code
        assert checks(result)["Milvus"]["status"] == "failed"
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_bundle_fails(doctor: Doctor, make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    (bundle / ENCODER).write_bytes(b"cut off")
    result = doctor("--bundle", str(bundle), "--format", "json")
    assert result.returncode == 2
    assert "damaged or was changed" in checks(result)["bundle"]["what to do"]
    assert checks(result)["Milvus"]["status"] == "ok"


def test_a_setting_that_cannot_be_used_fails_without_hiding_the_rest(doctor: Doctor) -> None:
    result = doctor("--format", "json", MILVUS_TIMEOUT="soon")
    assert result.returncode == 2
    assert "timeout" in checks(result)["settings"]["what to do"]
    assert checks(result)["onnxruntime"]["status"] == "ok"
