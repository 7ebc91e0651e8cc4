"""A whole pipeline in Python: arrays with gaps, training, an ONNX bundle, Milvus Lite, a search. Takes a minute.

    python examples/pipeline.py

Pictures are described by their colours, titles and tags by their commonest words: crude features, but made on the spot.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import MultiLabelBinarizer

from ichash_export.onnx.to_onnx import export_bundle
from ichash_export.train.training import train
from milvus_ichash import FeatureTable, HashEncoder, HashIndex, connect


def colours(picture: bytes) -> np.ndarray:
    """Share of each of 64 colours, float32 (64,)."""
    levels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).reshape(-1, 3) // 64
    return np.bincount(levels @ np.array([16, 4, 1]), minlength=64).astype(np.float32) / len(levels)


rows = pq.read_table(Path(__file__).parent / "clipart" / "pictures.parquet").to_pylist()[::2]
words = CountVectorizer(token_pattern=r"[a-z]{3,}", max_features=300, binary=True)
text = words.fit_transform(" ".join([row["title"], *row["tags"]]) for row in rows).toarray().astype(np.float32)
text[text.sum(axis=1) == 0] = np.nan  # a row of NaN: the item lacks this modality
classes = MultiLabelBinarizer()

table = FeatureTable.build(
    np.array([row["id"] for row in rows], object),
    {"image": np.stack([colours(row["picture"]) for row in rows]), "text": text},
    labels=classes.fit_transform(row["labels"] for row in rows),
    label_names=list(classes.classes_),
)
trained = train(table, "unihash", 64, settings={"epochs": 5})
print(f"trained on {len(table)} items, {int((~table.present[:, 1]).sum())} of them without words")

with tempfile.TemporaryDirectory() as folder:
    export_bundle(trained, f"{folder}/bundle")
    encoder = HashEncoder.load(f"{folder}/bundle")
    with connect(uri=f"{folder}/milvus.db") as connection:
        index = HashIndex.create(connection, "clipart", encoder.manifest)
        index.upsert(
            table.ids, encoder.encode_table(table), table.present, payload={"title": [row["title"] for row in rows]}
        )

        query = words.transform(["sailing boat"]).toarray().astype(np.float32)
        hits = index.search(encoder.encode(text=query)["code"], top_k=5, output_fields=["title"])
        for distance, entity in zip(hits.distances[0], hits.fields[0], strict=True):
            print(f"distance {distance:2d}  {entity['title']}")
