"""`milvus-ichash train` as a person runs it."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command import PROGRAM, CommandLine, refused, run_here
from support.terminal import read_terminal
from support.tiny import make_table, tiny_environment, write_npz

from ichash_export.train.checkpoint import load_record
from milvus_ichash.bundle import verify
from milvus_ichash.cli import packages

pytestmark = pytest.mark.usefixtures("tiny_methods")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("data") / "items.npz", make_table())


def test_train_writes_a_run_and_a_bundle(data: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.json"
    words.write_text(json.dumps(list("abcdefgh")))
    done = run_here(
        "train",
        *(
            data,
            "--out",
            tmp_path / "run",
            "--method",
            "tiny",
            "--bits",
            24,
            "--epochs",
            6,
            "--set",
            "width=8",
            "--pdr",
            0.5,
            "--seed",
            3,
        ),
        *("--holdout", 40, "--vocabulary", f"text={words}", "--format", "json"),
    )
    assert done.returncode == 0
    first, *_, last = done.stderr.splitlines()  # between them one every 30 seconds, on a slow machine
    assert re.fullmatch(r"tiny, 24 bits: epoch 1/6, .* left, losses: similarity \d.*", first)
    assert re.fullmatch(r"tiny, 24 bits: epoch 6/6, in .*, mAP 0\.\d{4} \(epoch \d\); losses: .*", last)
    (row,) = json.loads(done.stdout)
    manifest = verify(tmp_path / "run" / "bundle")
    assert (row["bundle"], row["fingerprint"], row["bits"]) == (
        str(tmp_path / "run" / "bundle"),
        manifest.fingerprint,
        24,
    )
    assert 0.3 < row["validation mAP"] < 1
    assert (row["epochs"], row["kept epoch"] in (5, 6)) == (6, True)
    assert manifest.training["settings"]["width"] == 8
    assert (manifest.training["options"]["pdr"], manifest.training["options"]["seed"]) == (0.5, 3)
    items = manifest.training["items"]
    assert items["training_items"] + items["validation_items"] == 160
    assert manifest.raw["text"].vocabulary == "text_vocabulary.json"
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "bundle",
        "checkpoint.safetensors",
        "raw.json",
        "text_vocabulary.json",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_names_the_command_that_goes_on(how: signal.Signals, code: int, data: Path, tmp_path: Path) -> None:
    """On a terminal: a bar with loss and validation; a signal; the command in the message then makes the bundle."""
    out = tmp_path / "a run"
    words = (
        "train",
        data,
        "--out",
        out,
        "--method",
        "tiny",
        "--bits",
        16,
        "--epochs",
        60,
        "--set",
        "pause=0.1",
        "--overwrite",
    )
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *map(str, words)],
        env={**tiny_environment(), "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=slave,
        text=True,
    )
    os.close(slave)
    checkpoint = out / "checkpoint.safetensors"
    while process.poll() is None and not (checkpoint.exists() and load_record(checkpoint).log.epoch >= 6):
        time.sleep(0.02)
    process.send_signal(how)
    shown = read_terminal(master)
    stdout, _ = process.communicate()
    assert (process.returncode, stdout) == (code, "")
    for part in ("tiny, 16 bits", "losses: similarity 0.", "mAP 0."):
        assert part in shown, part
    assert re.search(r"epoch [1-9]\d*/60 +\d+:\d\d:\d\d left", shown)
    assert "interrupted; epoch" in shown
    assert "of 60 is kept. Go on with: milvus-ichash train" in shown
    assert "Traceback" not in shown
    assert not (out / "bundle").exists()
    program, *again = shlex.split(shown.split("Go on with: ")[1])
    assert (program, again[-1], "--overwrite" in again) == ("milvus-ichash", "--resume", False)
    done = run_here(*again, "--format", "json")
    assert done.returncode == 0
    assert re.match(r"tiny, 16 bits: epoch ([7-9]|[1-5]\d)/60, ", done.stderr), "it begins where the run was"
    assert verify(out / "bundle").training["finished"]
    assert json.loads(done.stdout)[0]["epochs"] > 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "tinny"], "there is no method 'tinny'"),
        (["--method", "tiny", "--set", "widht=3"], "method 'tiny' has no 'widht': did you mean 'width'?"),
        (["--method", "tiny", "--bits", "12"], "12 bits cannot be stored"),
        (["--method", "tiny", "--pdr", "1"], "pdr: Input should be less than 1"),
        (["--recipe", "nch/nowhere"], "there is no recipe 'nch/nowhere'"),
        (["--method", "tiny", "--resume"], "there is no checkpoint at"),
        (["--method", "tiny", "--bundle", "{out}"], "cannot be the same folder"),
        (["--method", "tiny", "--labels-column", "nolabels"], "nolabels"),
        (["--method", "tiny", "--vocabulary", "text=/no/such.json"], "there is no file '/no/such.json'"),
        (["--method", "tiny", "--set", "width=8", "--set", "width=9"], "--set gives 'width' twice"),
        (["--method", "tiny", "--set", "epochs=8", "--epochs", "9"], "--set with --epochs gives 'epochs' twice"),
        (["--method", "tiny", "-m", "image=image", "-m", "image=text"], "--modality gives 'image' twice"),
        (["--method", "tiny", "--vocabulary", "text=a", "--vocabulary", "text=b"], "--vocabulary gives 'text' twice"),
        (["--method", "tiny", "--picture-size", "64"], "--picture-size would do nothing here: there is no --picture"),
        *(
            (["--set", f"{name}=1"], f"method 'unihash' has no '{name}': that is an option of its own: {flag}.")
            for name, flag in (("validation", "--validation"), ("bits", "--bits"), ("pdr", "--pdr"), ("seed", "--seed"))
        ),
        (["--set", "patience=0"], "an option of the training: it stands in the section [training] of a recipe"),
        (["--set", "widht=3"], "method 'unihash' has no 'widht': did you mean 'width'?"),
    ],
)
def test_bad_input_is_one_sentence(data: Path, tmp_path: Path, words: list[str], message: str) -> None:
    out = tmp_path / "run"
    done = run_here("train", data, "--out", out, *[w.format(out=out) for w in words])
    assert refused(done, 2, message)
    assert not out.exists()


def test_a_file_in_the_place_of_the_run_or_its_bundle(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out, bundle in (("file", "b"), ("file/run", "b"), ("run", "file/b")):
        done = run_here("train", data, "--out", tmp_path / out, "--bundle", tmp_path / bundle, "--method", "tiny")
        assert refused(done, 2, f"cannot be a folder: '{tmp_path / 'file'}' is there, and is none")
    assert (tmp_path / "file").read_text() == "mine" and not (tmp_path / "run").exists()


def test_a_training_set_without_a_label(tmp_path: Path) -> None:
    table = make_table()
    np.savez(tmp_path / "x.npz", id=table.ids, **table.features)
    done = run_here("train", tmp_path / "x.npz", "--out", tmp_path / "run", "--method", "tiny")
    assert refused(done, 2, "none of the 200 training items has a label")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_cuda_that_is_not_there(data: Path, tmp_path: Path) -> None:
    done = run_here("train", data, "--out", tmp_path / "run", "--method", "tiny", "--device", "cuda")
    assert refused(done, 6, "--device cuda: this torch")


def test_without_torch_the_extra_is_named(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = packages.find_spec
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name in ("torch", "safetensors") else real(name))
    for words in (
        ("train", data, "--out", tmp_path / "run", "--method", "tiny"),
        ("export", tmp_path / "run", "--out", tmp_path / "b"),
    ):
        done = run_here(*words)
        assert refused(done, 6, "ing needs torch, safetensors: pip install 'milvus-ichash[train]'.")


def test_evaluate_warns_of_queries_that_were_trained_on(data: Path, tmp_path: Path) -> None:
    place = CommandLine(tmp_path)
    asked = ("--holdout", 40, "-b", tmp_path / "run" / "bundle", "--via", "exact")
    done = place.run(*("train", data, "--out", tmp_path / "run", "--method", "tiny", "--epochs", 1, "--holdout", 40))
    assert done.returncode == 0, done.stderr
    assert verify(tmp_path / "run" / "bundle").training["data"] == {
        "file": "items.npz",
        "holdout": 40,
        "holdout_by": "id",
    }
    assert "trained on" not in place.run("evaluate", data, *asked).stderr
    said = place.run("evaluate", data, *asked, "--holdout-by", "order").stderr.replace("\n", " ")
    assert re.search(
        r"\d\d of 40 queries have exactly the features of items that the bundle was .* --holdout 40 --holdout-by id",
        said,
    )
    assert refused(place.run("evaluate", data, *asked[2:], "--holdout-by", "id"), 2, "give both")
    shown = place.run("inspect", "--bundle", tmp_path / "run" / "bundle").stdout
    assert "holdout_by" in shown and "trained_items" not in shown
