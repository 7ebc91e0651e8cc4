"""Lists of words and of class names to build knowledge from: WordNet's nouns, or text files with one name a line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from milvus_ichash.errors import InputError

MOST_WORDS = 8000


def read_words(path: Path, limit: int = MOST_WORDS) -> list[str]:
    """Return words from WordNet's index.noun or data.noun, or from a text file with one word a line.

    From WordNet come single words of three letters or more: from index.noun first those with most senses in WordNet's
        tagged
    texts, then those with most senses (common words have more of both); from data.noun in the order of the file. The
    words of a text file are taken as they are.

    Args:
        path: the file.
        limit: the largest number of words to return; no word is returned twice.

    Raises:
        InputError: the file cannot be read as text, or holds no word.
    """
    lines = _lines(path)
    entries = [line for line in lines if not line.startswith("  ")]  # WordNet's licence is indented
    first = entries[0] if entries else ""
    if re.match(r"\S+ n \d+ \d+ ", first):
        found: Iterable[str] = _by_senses(entries)
    elif re.match(r"\d{8} \d\d n [0-9a-f]{2} ", first):
        found = _of_synsets(entries)
    else:
        found = (line.strip() for line in lines)
    words = list(dict.fromkeys(filter(None, found)))[:limit]
    if not words:
        raise InputError(f"'{path}' holds no word: expected WordNet's index.noun or data.noun, or one word a line.")
    return words


def read_lines(path: Path) -> list[str]:
    """Return names from a text file with one name a line, each once.

    Raises:
        InputError: the file cannot be read as text, or is empty.
    """
    names = list(dict.fromkeys(filter(None, (line.strip() for line in _lines(path)))))
    if not names:
        raise InputError(f"'{path}' holds no name of a class: expected one a line.")
    return names


def _by_senses(entries: Sequence[str]) -> list[str]:
    """Return the words of index.noun. Its lines are: lemma, pos, synsets, p, p pointers, senses, tagged senses,
    offsets."""
    keyed = []
    for entry in entries:
        parts = entry.split()
        if len(parts) > 3 and _single(parts[0]):
            senses, pointers = int(parts[2]), int(parts[3])
            keyed.append((-int(parts[5 + pointers]), -senses, parts[0]))
    return [word for _, _, word in sorted(keyed)]


def _of_synsets(entries: Sequence[str]) -> Iterator[str]:
    """Yield the words of data.noun. Its lines are: offset, file, pos, number of words in hexadecimal, then words with
    ids."""
    for entry in entries:
        parts = entry.split("|")[0].split()
        yield from (word for word in parts[4 : 4 + 2 * int(parts[3], 16) : 2] if _single(word))


def _single(word: str) -> bool:
    return len(word) > 2 and word.isalpha()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' is not a text file in UTF-8 (byte {error.start}).") from error
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from error
