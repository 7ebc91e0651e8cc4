"""External knowledge: words and their embeddings by a sentence encoder, in one file that methods (EGICH) read.

`knowledge.npz` holds, besides the words, the names of the classes that are to be compared with them, embedded alike:

    names, embeddings              str (n,), float32 (n, d): the words
    class_names, class_embeddings  str (c,), float32 (c, d): the classes' names as the data has them; c may be 0
    record                         str (): JSON with the name of the encoder, the prompts and the number of words

Every row of the embeddings has length 1. No pickle: any program can write such a file, with the embeddings of CLIP,
say.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from milvus_ichash.errors import InputError, writing

PROMPTS = (
    "a photo of a {}.",
    "a picture of a {}.",
    "a drawing of a {}.",
    "a close-up of a {}.",
    "many photos of a {}.",
    "something that has to do with a {}.",
    "{}",
)
"""Seven sentences around a word, as many as the public code of EGICH averages; others can be given."""
_SENTENCES = 512
"""Number of sentences that are embedded between two reports of progress."""
_UNIT = 1e-3

Embeddings = npt.NDArray[np.float32]


class SentenceEncoder(Protocol):
    """Something that turns sentences into vectors; `name` goes into the record."""

    name: str

    def __call__(self, sentences: Sequence[str]) -> npt.NDArray[Any]:
        """Return vectors, float (sentences, d), of any length."""


@dataclass(frozen=True)
class Knowledge:
    """Words and classes with their embeddings.

    Attributes:
        names: the n words.
        embeddings: their embeddings, float32 (n, d), rows of length 1.
        class_names: names of c classes as the data has them.
        class_embeddings: their embeddings, float32 (c, d), rows of length 1.
        record: the name of the encoder, the prompts and the number of words.
    """

    names: tuple[str, ...]
    embeddings: Embeddings
    class_names: tuple[str, ...] = ()
    class_embeddings: Embeddings = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Size d of the embeddings."""
        return int(self.embeddings.shape[1])


def readable(name: str) -> str:
    """Return the words in the name of a class: "flip flops" for "subCategory=Flip_Flops".

    What stands before the last of the signs = : / is left out.
    """
    words = re.split(r"[=:/]", name.rstrip("=:/ "))[-1]
    return " ".join(re.sub(r"[_\-+]", " ", words).lower().split())


def build_knowledge(
    words: Sequence[str],
    classes: Sequence[str],
    encoder: SentenceEncoder,
    prompts: Sequence[str] = PROMPTS,
    *,
    advance: Callable[[int], None] = lambda words: None,
) -> Knowledge:
    """Embed words and the readable names of classes.

    Each prompt with the word in it gives a vector, which is scaled to length 1. An embedding is the mean of these
    vectors, scaled to length 1 again.

    Args:
        words: the words, each once.
        classes: names of classes as the data has them.
        encoder: turns sentences into vectors.
        prompts: sentences with {} in the place of the word.
        advance: called with the number of words and classes that were embedded since the last call.

    Raises:
        InputError: there are no words, or a prompt has not {} once.
    """
    for prompt in prompts:
        if prompt.count("{}") != 1:
            raise InputError(
                f"a prompt needs {{}} once, in the word's place, such as 'a photo of a {{}}.'; got '{prompt}'."
            )
    if not words or not prompts:
        raise InputError("knowledge needs at least one word and one prompt.")
    texts = [*words, *(readable(name) or name for name in classes)]
    step = max(1, _SENTENCES // len(prompts))
    found = []
    for start in range(0, len(texts), step):
        chunk = texts[start : start + step]
        vectors = _unit(encoder([prompt.replace("{}", word) for word in chunk for prompt in prompts]))
        found.append(_unit(vectors.reshape(len(chunk), len(prompts), -1).mean(axis=1)))
        advance(len(chunk))
    embeddings = np.concatenate(found).astype(np.float32)
    record = {"encoder": encoder.name, "prompts": list(prompts), "words": len(words)}
    return Knowledge(tuple(words), embeddings[: len(words)], tuple(classes), embeddings[len(words) :], record)


def save_knowledge(path: Path, knowledge: Knowledge) -> None:
    """Write a knowledge file; a file that was there stays whole until the new one is.

    Raises:
        InputError: the file cannot be written.
    """
    partial = path.with_name(path.name + ".part")
    arrays = {
        "names": np.array(knowledge.names, str),
        "embeddings": knowledge.embeddings,
        "class_names": np.array(knowledge.class_names, str),
        "class_embeddings": knowledge.class_embeddings,
        "record": np.array(json.dumps(knowledge.record)),
    }
    with writing(f"the knowledge file '{path}'"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **arrays)
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def load_knowledge(path: Path) -> Knowledge:
    """Read a knowledge file and check it.

    Raises:
        InputError: the file is not there, or is no knowledge file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise InputError(
            f"there is no knowledge file '{path}': make it with `milvus-ichash knowledge build --words WORDS --classes "
            f"DATA --out {path}`."
        ) from None
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"'{path}' is not a whole knowledge file: expected .npz with names and embeddings, nothing pickled."
        ) from error
    missing = [name for name in ("names", "embeddings") if name not in arrays]
    if missing:
        raise InputError(
            f"the knowledge file '{path}' lacks {' and '.join(missing)}; it has {', '.join(arrays) or 'nothing'}."
        )
    names, embeddings = _named(path, arrays, "names", "embeddings")
    if not len(names):
        raise InputError(f"the knowledge file '{path}' holds no word.")
    classes: tuple[str, ...] = ()
    of_classes = np.zeros((0, embeddings.shape[1]), np.float32)
    if len(arrays.get("class_names", ())):
        classes, of_classes = _named(path, arrays, "class_names", "class_embeddings")
        if of_classes.shape[1] != embeddings.shape[1]:
            raise InputError(
                f"'{path}': class_embeddings have size {of_classes.shape[1]}, embeddings {embeddings.shape[1]}."
            )
    return Knowledge(names, embeddings, classes, of_classes, _record(arrays))


def _unit(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float64)


def _named(
    path: Path, arrays: dict[str, npt.NDArray[Any]], names: str, embeddings: str
) -> tuple[tuple[str, ...], Embeddings]:
    """Return names and their embeddings, after checking both."""
    given, rows = arrays[names], arrays.get(embeddings, np.zeros(0))
    if given.ndim != 1 or given.dtype.kind != "U":
        raise InputError(f"'{path}': {names} must be an array of strings, not {given.dtype} {given.shape}.")
    if rows.ndim != 2 or len(rows) != len(given) or rows.dtype.kind != "f" or not rows.shape[1]:
        raise InputError(
            f"'{path}': {embeddings} are {rows.dtype} {rows.shape}; expected float32 ({len(given)}, size), one row a "
            "name."
        )
    wrong = np.flatnonzero(~(np.abs(np.linalg.norm(rows.astype(np.float64), axis=1) - 1) < _UNIT))
    if len(wrong):
        raise InputError(
            f"'{path}': row {wrong[0]} of {embeddings} ('{given[wrong[0]]}') does not have length 1: normalise the "
            "rows."
        )
    return tuple(map(str, given)), rows.astype(np.float32)


def _record(arrays: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Return the record; files that other programs made may lack it, or hold something else."""
    try:
        found = json.loads(str(arrays["record"]))
    except (KeyError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {"record": found}
