"""Vocabularies: the words of a bag of words, in the order of its features."""

from __future__ import annotations

from pathlib import Path

from milvus_ichash.bundle.json_file import read_json
from milvus_ichash.bundle.manifest import MOST_FEATURES
from milvus_ichash.errors import InputError

VOCABULARY_BYTES = 16 << 20


def read_words(path: Path) -> list[str]:
    """Return the words of a vocabulary.

    Raises:
        InputError: the file cannot be read, or is no JSON list of different words.
    """
    words = read_json(path, most_bytes=VOCABULARY_BYTES, most_values=MOST_FEATURES + 1)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or len(set(words)) < len(words):
        raise InputError(f"vocabulary '{path}' must be a JSON list of different words, in the order of the features.")
    return words
