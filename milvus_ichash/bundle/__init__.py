"""The bundle: a folder with everything that turns features into hash codes, and nothing that runs on loading.

    ichash.json     the manifest (`Manifest`): what the codes are, what the graph takes, sha256 of every other file
    encoder.onnx    encoders, completion and bit packing in one graph
    ...             towers and vocabularies, where the bundle takes pictures or words (`Manifest.raw`), completion
                    networks, golden vectors

docs/bundle.md describes the format. The fingerprint is derived from what decides the codes only (weights, inputs,
outputs, preprocessing, bit rule), so that exporting the same checkpoint again fits the collections that were made with
it.
"""

from milvus_ichash.bundle.file_names import ENCODER, MANIFEST, PlainName
from milvus_ichash.bundle.files import check_file, sha256_of
from milvus_ichash.bundle.manifest import (
    PRESENT,
    CodeOutput,
    CompletionNetwork,
    Manifest,
    Modality,
    modalities_of,
)
from milvus_ichash.bundle.raw_steps import BagOfWords, PictureTower, RawStep
from milvus_ichash.bundle.reading import read_manifest, verify
from milvus_ichash.bundle.vocabulary import read_words
from milvus_ichash.bundle.writing import check_free, save

__all__ = [
    "ENCODER",
    "MANIFEST",
    "PRESENT",
    "BagOfWords",
    "CodeOutput",
    "CompletionNetwork",
    "Manifest",
    "Modality",
    "PictureTower",
    "PlainName",
    "RawStep",
    "check_file",
    "check_free",
    "modalities_of",
    "read_manifest",
    "read_words",
    "save",
    "sha256_of",
    "verify",
]
