"""`milvus-ichash export`: the same checkpoint gives the same codes again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.command import refused, run_here
from support.tiny import make_table, plugin

from ichash_export.train.options import TrainingOptions
from ichash_export.train.training import train
from milvus_ichash.bundle import verify
from milvus_ichash.errors import InputError

pytestmark = pytest.mark.usefixtures("tiny_methods")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "run"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with plugin():
        train(make_table(), "tiny", 16, run=folder)
    torch.set_num_threads(threads)
    return folder


@pytest.mark.slow
def test_a_checkpoint_has_one_fingerprint(run: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.json"
    words.write_text(json.dumps(list("abcdefgh")))
    rows = []
    for source, out, more in (
        (run, "a", []),
        (run / "checkpoint.safetensors", "b", []),
        (run, "a", ["--vocabulary", f"text={words}", "--overwrite"]),
    ):
        done = run_here("export", source, "--out", tmp_path / out, "-f", "json", *more)
        assert (done.returncode, done.stderr) == (0, "")
        rows.append(json.loads(done.stdout)[0])
    assert rows[0]["fingerprint"] == rows[1]["fingerprint"] == verify(tmp_path / "b").fingerprint
    assert rows[2]["fingerprint"] == verify(tmp_path / "a").fingerprint != rows[0]["fingerprint"]
    assert rows[0]["kept epoch"] == 4


def test_bad_input_is_one_sentence(run: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes((run / "checkpoint.safetensors").read_bytes()[:500])
    for words, message in (
        ((tmp_path / "nowhere", "--out", tmp_path / "b"), "there is no checkpoint at"),
        ((run, "--out", taken), "it is not a bundle, so it is left alone"),
        ((broken, "--out", tmp_path / "b"), "is not a whole checkpoint"),
        (
            (run, "--out", tmp_path / "b", "--vocabulary", "words=x.json"),
            "'x.json' is given for 'words', which is no modality",
        ),
    ):
        done = run_here("export", *words)
        assert refused(done, 2, message)
    assert not (tmp_path / "b").exists()


def test_an_unfinished_run_without_validation_says_so(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(report: object) -> None:
        raise StopError

    with pytest.raises(StopError):
        train(make_table(), "tiny", 16, options=TrainingOptions(validation=0), run=tmp_path / "run", progress=stop)
    done = run_here("export", tmp_path / "run", "--out", tmp_path / "b")
    assert refused(done, 2, "has no validated weights yet: go on with `milvus-ichash train ... --resume`")


@pytest.mark.parametrize("colours", [["0.5,0.25,1"], ["0.5", "0.25", "1"]], ids=["with commas", "with spaces"])
def test_colours_of_pictures(colours: list[str], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def picture_tower(*_: object, mean: object, std: object, **more: object) -> None:
        raise InputError(f"mean {mean}, std {std}")

    monkeypatch.setattr("ichash_export.onnx.attachments.picture_tower", picture_tower)
    words = ("export", run, "--out", tmp_path / "b", "--picture-tower", "image=t.onnx", "--picture-mean", *colours)
    done = run_here(*words, "--picture-std", *colours)
    assert refused(done, 2, "mean (0.5, 0.25, 1.0), std (0.5, 0.25, 1.0)")
    assert refused(run_here(*words, "--picture-std", "1,1,0"), 2, "--picture-std takes numbers greater than 0")


def test_a_word_that_is_no_text_and_a_path_that_is_none(run: Path, tmp_path: Path) -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    done = run_here("export", run, "--out", tmp_path / "b", "--vocabulary", f"text={name}")
    assert refused(done, 2, r"'text=caf\xe9' is not UTF-8: write it in UTF-8.")
    assert refused(run_here("export", tmp_path / name, "--out", tmp_path / "b"), 2, r"caf\xe9")
