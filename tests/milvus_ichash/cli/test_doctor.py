from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import onnxruntime
import pytest
from support.command import CommandLine, python_path, refused
from support.damage import overwrite_pages

from milvus_ichash.bundle import ENCODER, read_manifest
from milvus_ichash.index.connection import connect
from milvus_ichash.index.hash_index import HashIndex

MakeBundle = Callable[..., Path]


class Doctor(CommandLine):
    """The command in an empty folder, without settings of this machine."""

    def checks(
        self, *words: object, path: Path | None = None, code: int = 0, **settings: str
    ) -> dict[str, dict[str, str]]:
        """The report, by check. With `path` before the installed packages it runs in a process of its own."""
        words = ("doctor", "--format", "json", *words)
        if path is None:
            done = self.run(*words, **settings)
        else:
            done = self.in_a_process(*words, PYTHONPATH=python_path(path), **settings)
        assert done.returncode == code, done.stdout + done.stderr
        return {row["check"]: row for row in json.loads(done.stdout)}


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    (tmp_path / "here").mkdir()
    place = Doctor(tmp_path / "here")
    place.settings.clear()
    return place


def pretend(folder: Path, distribution: str, version: str) -> Path:
    """The record of an installed distribution, found before the real one."""
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    return folder


def test_all_is_well_and_nothing_is_left_behind(doctor: Doctor, make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    done = doctor.in_a_process("doctor", "--format", "json", "--bundle", bundle, MILVUS_TOKEN="root:secret-word")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {row["check"]: row for row in json.loads(done.stdout)}
    assert {row["status"] for row in found.values()} <= {"ok", "warning"}
    assert "not there yet" in found["Milvus"]["found"]
    assert "Lite" in found["Milvus"]["found"]
    assert read_manifest(bundle).fingerprint in found["bundle"]["found"]
    assert found["setting token"]["found"] == "(set)"
    assert "secret-word" not in done.stdout + done.stderr
    assert list(doctor.folder.iterdir()) == []


def test_people_get_a_table(doctor: Doctor) -> None:
    done = doctor.run("doctor")
    assert done.returncode == 0
    for word in ("onnxruntime", "milvus-lite", "pymilvus", "CUDA", "torch"):
        assert word in done.stdout


def test_a_file_that_is_no_database_fails(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("no database")
    assert doctor.checks("--uri", tmp_path / "notes.db", code=3)["Milvus"]["status"] == "failed"
    assert (tmp_path / "notes.db").read_text() == "no database"


def test_a_damaged_file_fails_and_a_whole_one_is_called_whole(doctor: Doctor, make_bundle: MakeBundle) -> None:
    database = doctor.folder / "x.db"
    with connect(uri=str(database)) as connection:
        HashIndex.create(connection, "items", read_manifest(make_bundle()))
    assert doctor.checks("--uri", database)["Milvus"]["found"] == "reached, Lite 2.5.1; its file is whole"
    overwrite_pages(database, 2)
    assert refused(doctor.run("inspect", "-c", "items", "--uri", database), 3, "is damaged (")
    assert "x.db' is damaged (" in doctor.checks("--uri", database, code=3)["Milvus"]["what to do"]


def test_two_onnxruntimes_are_a_warning_as_long_as_they_work(
    doctor: Doctor, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    both = pretend(pretend(tmp_path / "site", "onnxruntime-gpu", "1.31.1"), "onnxruntime", "1.31.1")
    found = doctor.checks("--bundle", make_bundle(), path=both)
    assert found["onnxruntime"]["status"] == "warning"
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in found["onnxruntime"]["what to do"]
    assert "opens on" in found["bundle"]["found"]


def test_an_onnxruntime_that_cannot_be_imported_is_a_missing_backend(
    doctor: Doctor, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    site = pretend(pretend(tmp_path / "site", "onnxruntime-gpu", "1.31.1"), "onnxruntime", "1.31.1")
    (site / "onnxruntime.py").write_text("raise ImportError('libfoo.so')")
    found = doctor.checks("--bundle", make_bundle(), path=site, code=6)
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in found["onnxruntime"]["what to do"]
    assert "files are whole, not opened" in found["bundle"]["found"]


def test_versions_that_training_and_exporting_depend_on_are_listed(doctor: Doctor) -> None:
    found = doctor.checks()
    for name in ("onnx", "onnxscript", "torch"):
        assert f"{name} {version(name)}" in found["optional packages"]["found"]
    assert f"cuda_version {onnxruntime.cuda_version or 'none'}" in found["onnxruntime"]["found"]


def test_milvus_lite_3_is_a_missing_backend(doctor: Doctor, tmp_path: Path) -> None:
    lite3 = pretend(tmp_path / "site", "milvus-lite", "3.1.0")
    found = doctor.checks(path=lite3, code=6)
    assert "no BINARY_VECTOR" in found["milvus-lite"]["what to do"]
    assert "pip install 'milvus-ichash[lite]'" in found["milvus-lite"]["what to do"]
    assert "Milvus" not in found
    elsewhere = doctor.checks("--uri", "http://127.0.0.1:9", "--timeout", 1, path=lite3, code=3)
    assert elsewhere["milvus-lite"]["status"] == "ok"


def test_a_pymilvus_out_of_range_is_a_warning(doctor: Doctor, tmp_path: Path) -> None:
    found = doctor.checks(path=pretend(tmp_path / "site", "pymilvus", "2.4.9"))
    assert (found["pymilvus"]["status"], found["pymilvus"]["found"]) == ("warning", "2.4.9")


@pytest.mark.parametrize(
    ("uri", "code"), [("http://127.0.0.1:9", 3), ("{folder}/nowhere/x.db", 3), ("{folder}/a name.db", 2)]
)
def test_a_milvus_that_is_not_reached_fails(doctor: Doctor, tmp_path: Path, uri: str, code: int) -> None:
    found = doctor.checks("--uri", uri.format(folder=tmp_path), "--timeout", 2, code=code)
    assert found["Milvus"]["status"] == "failed"
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_bundle_fails(doctor: Doctor, make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    (bundle / ENCODER).write_bytes(b"cut off")
    found = doctor.checks("--bundle", bundle, code=2)
    assert "damaged or was changed" in found["bundle"]["what to do"]
    assert found["Milvus"]["status"] == "ok"


def test_a_setting_that_cannot_be_used_fails_without_hiding_the_rest(doctor: Doctor) -> None:
    found = doctor.checks(MILVUS_TIMEOUT="soon", code=2)
    assert "timeout" in found["settings"]["what to do"]
    assert found["onnxruntime"]["status"] == "ok"
