"""The process in which files are read: one line of JSON in for each case, one out (`support.fuzzing.reader`)."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_BATCHES = 4
_ROWS = 4096


def features(path: Path) -> None:
    """As `ingest` and `evaluate` do: look at the ids, then at the first batches of each split."""
    from milvus_ichash.io import find_duplicate_ids, open_splits

    for source in open_splits(path).values():
        find_duplicate_ids(source)
        for number, _ in enumerate(source.batches(_ROWS)):
            if number == _BATCHES:
                break


def bundle(path: Path) -> None:
    """As `query` and `doctor` do: open it, encode words, a picture and features, and compare its golden vectors."""
    from milvus_ichash.runtime.encoder import HashEncoder
    from milvus_ichash.runtime.self_test import compare_golden_codes

    encoder = HashEncoder.load(path, device="cpu", threads=1)
    if sum(encoder.manifest.dims.values()) < 1 << 20:
        encoder.encode(**{name: np.ones((2, dim), np.float32) for name, dim in encoder.manifest.dims.items()})
    for name, step in encoder.manifest.raw.items():
        if step.kind == "bag_of_words":
            encoder.raw.words(["word0 word1 " + "a" * 40, "word3"], name)
        else:
            encoder.raw.pictures(Path(__file__).parent / "picture.png", name)
    compare_golden_codes(encoder, path)


def settings(path: Path) -> None:
    """As every command does that needs Milvus, in a working folder with these settings files."""
    from milvus_ichash.settings import load_settings

    os.chdir(path)
    load_settings().shown()


def picture(path: Path) -> None:
    """As `query --image` does."""
    from milvus_ichash.bundle import PictureTower
    from milvus_ichash.runtime.raw_input import load_pixels

    step = PictureTower(tower="x.onnx", size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    load_pixels(path, step)


READERS: dict[str, Callable[[Path], None]] = {
    "features": features,
    "bundle": bundle,
    "settings": settings,
    "picture": picture,
}


def main() -> None:
    """Answer until there are no more cases."""
    # What the libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Reads of this size fail here, and not in the machine that runs the tests.
    resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))
    _load()
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        case = json.loads(line)
        answers.write(json.dumps(_outcome(READERS[case["what"]], Path(case["path"]))) + "\n")
        answers.flush()


def _load() -> None:
    # The first use of a library is not the case's time and memory.
    import h5py
    import onnxruntime
    import PIL.Image
    import pyarrow.parquet
    import scipy.io

    assert all((h5py, onnxruntime, PIL.Image, pyarrow.parquet, scipy.io))


def _outcome(read: Callable[[Path], None], path: Path) -> dict[str, Any]:
    from milvus_ichash.errors import IchashError

    kind, said = "table", ""
    _forget_peak()
    began = time.process_time()
    try:
        read(path)
    except IchashError as error:
        kind, said = "refused", str(error)
    except BaseException:
        kind, said = "traceback", traceback.format_exc()
    return {"kind": kind, "said": said[-4000:], "memory": _peak(), "seconds": time.process_time() - began}


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The most memory since `_forget_peak`, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


if __name__ == "__main__":
    main()
